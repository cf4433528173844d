//! Sessions: a person's devices.

use super::{Actor, App, Error, Result, accounts::parse};
use crate::store::KeptSession;
use chrono::{DateTime, Utc};
use roost_schema::{Name, NameSession, RoomId, Session, SessionId, UserId};
use std::{collections::BTreeSet, time::Duration};
use tokio_util::sync::CancellationToken;

impl App {
    /// The time, by the clock of the database.
    pub fn now(&self) -> DateTime<Utc> {
        self.store.now()
    }

    /// How long the actor's access token is still valid, by the clock of the database.
    pub fn time_left(&self, actor: &Actor) -> Duration {
        let left = actor.expires_at - self.store.now();
        left.to_std().unwrap_or(Duration::ZERO)
    }

    /// The person's sessions, the most recently used first.
    pub async fn list_sessions(&self, actor: &Actor) -> Result<Vec<Session>> {
        let kept = self.store.sessions.list(actor.user_id).await?;
        let view = |session| session_view(session, Some(actor.session_id));
        Ok(kept.into_iter().map(view).collect())
    }

    pub async fn name_session(
        &self,
        actor: &Actor,
        session: SessionId,
        input: NameSession,
    ) -> Result<Session> {
        let name: Name = parse("name", &input.name)?;
        let renamed = self
            .store
            .sessions
            .rename(actor.user_id, session, &name)
            .await?;
        let kept = renamed.ok_or_else(no_such_session)?;
        self.relay_sessions(actor.user_id).await;
        actor.api.count_write();
        Ok(session_view(kept, Some(actor.session_id)))
    }

    /// Ends one of one's own sessions, this one included. Its sockets close within a second.
    pub async fn revoke_session(&self, actor: &Actor, session: SessionId) -> Result<()> {
        self.end_session(actor, session).await?;
        actor.api.count_write();
        Ok(())
    }

    /// The same without counting a write, because signing out is none.
    pub(super) async fn end_session(&self, actor: &Actor, session: SessionId) -> Result<()> {
        if !self.store.sessions.end(actor.user_id, session).await? {
            return Err(no_such_session());
        }
        self.end_everywhere(&[session]);
        self.relay_sessions(actor.user_id).await;
        Ok(())
    }

    /// Ends every session but the actor's own; returns how many.
    pub async fn revoke_other_sessions(&self, actor: &Actor) -> Result<u64> {
        let ended = self
            .store
            .sessions
            .end_others(actor.user_id, actor.session_id)
            .await?;
        self.end_everywhere(&ended);
        self.relay_sessions(actor.user_id).await;
        actor.api.count_write();
        Ok(ended.len() as u64)
    }

    /// Cancelled when the session is revoked: every open connection of it closes then.
    pub fn session_end(&self, session: SessionId) -> CancellationToken {
        self.live.revocations.watch(session)
    }

    /// Ends sessions that were not refreshed for too long, some at a time, and deletes rows that are not needed any
    /// more: a chore.
    pub async fn expire_sessions(&self) -> Result<()> {
        let ended = self.store.sessions.expire().await?;
        let sessions: Vec<SessionId> = ended.iter().map(|(session, _)| *session).collect();
        self.end_everywhere(&sessions);
        let people: BTreeSet<UserId> = ended.iter().map(|(_, user)| *user).collect();
        for user in people {
            self.relay_sessions(user).await;
        }
        self.store.revocations.forget().await?;
        self.store.operations.forget().await?;
        self.store.instances.forget().await?;
        Ok(())
    }

    /// Relays the events of a person's sessions into their own room. The change is committed, so a journal that fails
    /// here is no error: the sweep relays them later.
    pub(super) async fn relay_sessions(&self, user: UserId) {
        if let Err(error) = self.relay_room(RoomId::of_user(user), 1).await {
            tracing::warn!(user.id = %user, %error, "session event not relayed yet");
        }
    }
}

pub(super) fn session_view(kept: KeptSession, asking: Option<SessionId>) -> Session {
    Session {
        current: asking == Some(kept.id),
        id: kept.id,
        name: kept.name,
        created_at: kept.created_at,
        last_used_at: kept.last_used_at,
        reused_elsewhere_at: kept.reused_at,
    }
}

fn no_such_session() -> Error {
    Error::not_found("there is no such session among yours")
}
