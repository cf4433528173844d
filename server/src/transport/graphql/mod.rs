//! The graphql transport.
