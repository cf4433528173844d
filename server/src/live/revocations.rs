//! Sessions that ended before their access tokens did.

use roost_schema::SessionId;
use tokio_util::sync::CancellationToken;

/// Which sessions are revoked, and who waits to hear of it.
#[derive(Default)]
pub struct Revocations {}

impl Revocations {
    /// Cancelled when the session is revoked, or at once if it is already.
    pub fn watch(&self, session: SessionId) -> CancellationToken {
        todo!()
    }

    pub fn is_revoked(&self, session: SessionId) -> bool {
        todo!()
    }

    /// Ends a session on this instance: its tokens are refused, its connections close.
    pub fn revoke(&self, session: SessionId) {
        todo!()
    }
}
