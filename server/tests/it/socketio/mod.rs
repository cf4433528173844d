//! Stories over Socket.IO, by clients that speak the bare protocol, so that they can also misbehave.

mod access;
mod client;
mod commands;
mod fixture;
mod handshakes;
mod hostile;
mod http_proxy;
mod slow_reader;
