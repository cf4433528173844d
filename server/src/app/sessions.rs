//! Sessions: a person's devices.

use super::{Actor, App, Result};
use roost_schema::{NameSession, Session, SessionId};
use tokio_util::sync::CancellationToken;

impl App {
    pub async fn list_sessions(&self, actor: &Actor) -> Result<Vec<Session>> {
        todo!()
    }

    pub async fn name_session(
        &self,
        actor: &Actor,
        session: SessionId,
        input: NameSession,
    ) -> Result<Session> {
        todo!()
    }

    /// Ends one of one's own sessions, this one included. Its sockets close within a second.
    pub async fn revoke_session(&self, actor: &Actor, session: SessionId) -> Result<()> {
        todo!()
    }

    /// Ends every session but the one that asks; answers how many.
    pub async fn revoke_other_sessions(&self, actor: &Actor) -> Result<u64> {
        todo!()
    }

    /// Cancelled when the session is revoked: whoever holds a connection open closes it then.
    pub fn session_end(&self, session: SessionId) -> CancellationToken {
        self.live.revocations.watch(session)
    }
}
