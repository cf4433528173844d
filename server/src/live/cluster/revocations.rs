//! Sessions that ended before their access tokens did.

use moka::sync::Cache;
use roost_schema::SessionId;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a revocation is remembered: no access token lives longer, so none is valid after that.
pub const REVOCATION_KEPT: Duration = Duration::from_hours(1);

/// How far clocks may differ, and how long closing a connection may take after its token expired.
const SLACK: Duration = Duration::from_mins(1);

/// Which sessions are revoked, and which connections wait for that. Its memory is bounded by the sessions
/// revoked, and those seen, within one token lifetime.
pub struct Revocations {
    revoked: Cache<SessionId, ()>,
    /// Forgotten when no token of the session was shown for a lifetime: a connection that old has
    /// been closed, because its token expired.
    watched: Cache<SessionId, CancellationToken>,
}

impl Default for Revocations {
    fn default() -> Self {
        let kept = REVOCATION_KEPT + SLACK;
        Self {
            revoked: Cache::builder().time_to_live(kept).build(),
            watched: Cache::builder().time_to_idle(kept).build(),
        }
    }
}

impl Revocations {
    /// Cancelled when the session is revoked, or at once if it is already.
    pub fn watch(&self, session: SessionId) -> CancellationToken {
        let token = self.watched.get_with(session, CancellationToken::new);
        // Looked up once the cancellation token is in the map: a revocation in between cancels it either way.
        if self.revoked.contains_key(&session) {
            token.cancel();
        }
        token
    }

    pub fn is_revoked(&self, session: SessionId) -> bool {
        // Marks the session as used: a client has shown a token, so its connection may watch for another lifetime.
        self.watched.get(&session);
        self.revoked.contains_key(&session)
    }

    /// Ends a session on this instance: its tokens are refused, its connections close.
    pub fn revoke(&self, session: SessionId) {
        self.revoked.insert(session, ());
        if let Some(token) = self.watched.get(&session) {
            token.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_is_heard_by_those_who_wait_and_those_who_come_later() {
        let revocations = Revocations::default();
        let (session, other) = (SessionId::generate(), SessionId::generate());
        let before = revocations.watch(session);
        let bystander = revocations.watch(other);
        assert!(!before.is_cancelled());
        revocations.revoke(session);
        assert!(before.is_cancelled());
        assert!(revocations.watch(session).is_cancelled());
        assert!(revocations.is_revoked(session));
        assert!(!bystander.is_cancelled());
        assert!(!revocations.is_revoked(other));
    }
}
