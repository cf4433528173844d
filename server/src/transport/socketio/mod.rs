//! Socket.IO at `/socket.io`: WebSocket and long-polling, one namespace.

pub mod listener;
