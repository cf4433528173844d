//! Stories over Socket.IO, with clients of the bare protocol, which can also misbehave.

mod access;
mod client;
mod commands;
mod fixture;
mod handshakes;
mod hostile;
mod http_proxy;
mod slow_reader;
