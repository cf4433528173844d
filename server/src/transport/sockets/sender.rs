//! The way out to one socket, as commands see it.

use crate::app::Result;
use serde::Serialize;
use serde_json::value::RawValue;

/// The socket has ended; whoever serves it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) struct Gone;

/// Sends to one socket.
pub(in crate::transport) trait Sender: Clone + Send + Sync + 'static {
    /// Waits until the socket takes frames.
    fn clear(&self) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Sends what the journal still has, once the socket takes frames.
    fn frame(&self, event: &str, body: &RawValue) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Sends the server's word about this socket, also while it lags.
    fn tell(
        &self,
        event: &str,
        body: &(impl Serialize + Sync),
    ) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Sends what nobody misses, unless the socket lags.
    fn mention(&self, event: &str, body: &impl Serialize);
}

/// Where the answer to one command goes.
pub(in crate::transport) trait Reply: Send + 'static {
    type Sender: Sender;

    fn send(self, result: Result<impl Serialize + Send + Sync>) -> impl Future<Output = ()> + Send;

    /// For what goes on after the reply; none when the socket is not connected.
    fn sender(&self) -> Option<Self::Sender>;
}
