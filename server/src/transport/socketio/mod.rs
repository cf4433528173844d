//! The socketio transport.
