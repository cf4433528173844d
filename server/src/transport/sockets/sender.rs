//! Sends events and replies to one socket, independent of the carrier.

use crate::app::Result;
use serde::Serialize;
use serde_json::value::RawValue;

/// The socket has ended: the tasks that serve it stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) struct Gone;

/// Sends events to one socket.
pub(in crate::transport) trait Sender: Clone + Send + Sync + 'static {
    /// Waits until the socket takes frames.
    fn ready_for_frames(&self) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Sends a frame of changes, once the socket takes frames. The journal can send it again.
    fn send_frame(
        &self,
        event: &str,
        body: &RawValue,
    ) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Sends an event about the socket itself, also while it lags.
    fn send_control(
        &self,
        event: &str,
        body: &(impl Serialize + Sync),
    ) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Sends an event whose loss does no harm, unless the socket lags.
    fn send_lossy(&self, event: &str, body: &impl Serialize);
}

/// Sends the answer to one command.
pub(in crate::transport) trait Reply: Send + 'static {
    type Sender: Sender;

    fn send(self, result: Result<impl Serialize + Send + Sync>) -> impl Future<Output = ()> + Send;

    /// Sends what follows the reply; `None` when the socket is not connected.
    fn sender(&self) -> Option<Self::Sender>;
}
