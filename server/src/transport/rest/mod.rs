//! The rest transport.
