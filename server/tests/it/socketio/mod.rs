//! Socket.IO, driven by clients of our own that speak the bare protocol, so that they can also
//! misbehave.

mod access;
mod client;
mod commands;
mod handshakes;
mod hostile;
mod house;
mod proxy;
mod stuck;
