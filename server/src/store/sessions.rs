//! Sessions: one for each device that signed in. What changes them holds the lock of the person's
//! row, and writes the event that tells it into the outbox of the person's own room.

use super::{
    Clock, Sql, StoreError,
    outbox::{self, OutboxEvent},
    refresh_tokens::{self, TokenHash},
    revocations,
    transaction::{execute, statement, time, transact},
    users,
};
use chrono::{DateTime, TimeDelta, Utc};
use roost_schema::{
    Body, ItemId, Kind, Me, Name, Op, RoomId, Secret, SessionId, SessionState, UserId,
};
use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult};

/// A session ends when it was not refreshed for so long.
pub const SESSION_IDLE_MAX: TimeDelta = TimeDelta::days(30);
/// How many sessions a person may have; another one ends the oldest.
pub const SESSIONS_PER_PERSON_MAX: usize = 100;
/// How many expired sessions one pass of [`Sessions::expire`] ends.
const EXPIRED_PER_PASS: i64 = 100;

/// A session that is about to be, and its first refresh token.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub id: SessionId,
    pub user: UserId,
    pub name: String,
    pub token: TokenHash,
    pub at: DateTime<Utc>,
}

/// A session as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSession {
    pub id: SessionId,
    pub user: UserId,
    pub name: String,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    revoked: bool,
}

/// What became of a sign-in.
#[derive(Debug)]
pub enum Opened {
    /// The sessions that ended, because the person had as many as they may.
    Opened { ended: Vec<SessionId> },
    /// The password that was verified is not the person's any more.
    PasswordChanged,
}

/// What became of a refresh token.
#[derive(Debug)]
pub enum Exchange {
    /// Whose it is comes with it: read later, a store that is away would make a failure of what is done already.
    Exchanged { session: KeptSession, me: Me },
    /// It was used before, and not just now: whoever holds it may have stolen it, so the session
    /// ended.
    Reused { session: SessionId, user: UserId },
    /// Its session has ended.
    Revoked,
    /// It is none of ours, or it has expired.
    Unknown,
}

/// Sessions in the relational database.
#[derive(Clone, Debug)]
pub struct Sessions {
    sql: Sql,
    clock: Clock,
}

impl Sessions {
    pub(super) const fn new(sql: Sql, clock: Clock) -> Self {
        Self { sql, clock }
    }

    /// Opens a session for a person whose password was verified against this hash.
    pub async fn open(&self, new: &NewSession, verified: &Secret) -> Result<Opened, StoreError> {
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            // Judged under the lock: a change of the password ends the sessions it can see.
            let account = users::lock(transaction, new.user).await?;
            if account.is_none_or(|account| account.password_hash != *verified) {
                return Ok(Opened::PasswordChanged);
            }
            let mut ended = Vec::new();
            let open = open_sessions(transaction, new.user).await?;
            let surplus = (open.len() + 1).saturating_sub(SESSIONS_PER_PERSON_MAX);
            for session in open.into_iter().take(surplus) {
                end(transaction, new.user, session, new.at).await?;
                ended.push(session);
            }
            insert(transaction, new).await?;
            Ok(Opened::Opened { ended })
        })
        .await
    }

    /// Exchanges a refresh token for another one.
    pub async fn exchange(
        &self,
        presented: &TokenHash,
        next: &TokenHash,
    ) -> Result<Exchange, StoreError> {
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            let Some((session, user)) = refresh_tokens::owner(transaction, presented).await? else {
                return Ok(Exchange::Unknown);
            };
            let account = users::lock(transaction, user).await?;
            let kept = find(transaction, user, session).await?;
            let token = refresh_tokens::find(transaction, presented).await?;
            let (Some(account), Some(mut kept), Some(token)) = (account, kept, token) else {
                return Ok(Exchange::Unknown);
            };
            let now = self.clock.now();
            if kept.revoked {
                return Ok(Exchange::Revoked);
            }
            if kept.last_used_at.min(token.issued_at) + SESSION_IDLE_MAX <= now {
                return Ok(Exchange::Unknown);
            }
            if !refresh_tokens::is_good(transaction, session, presented, &token, now).await? {
                end(transaction, user, session, now).await?;
                return Ok(Exchange::Reused { session, user });
            }
            refresh_tokens::mark_used(transaction, presented, now).await?;
            refresh_tokens::insert(transaction, session, next, Some(presented), now).await?;
            refresh_tokens::forget(transaction, session, now - SESSION_IDLE_MAX).await?;
            touch(transaction, session, now).await?;
            kept.last_used_at = now;
            Ok(Exchange::Exchanged {
                session: kept,
                me: account.me,
            })
        })
        .await
    }

    /// A person's sessions, the one used last first.
    pub async fn list(&self, user: UserId) -> Result<Vec<KeptSession>, StoreError> {
        let sql = format!(
            "{SELECT_SESSION} WHERE user_id = $1 AND revoked_us IS NULL AND last_used_us > $2
             ORDER BY last_used_us DESC, id DESC"
        );
        let oldest = self.clock.now() - SESSION_IDLE_MAX;
        let values = [user.as_uuid().into(), oldest.timestamp_micros().into()];
        let query = statement(&self.sql.read, &sql, values);
        let rows = self.sql.read_all(query).await?;
        rows.iter().map(kept_session).collect()
    }

    /// Names one of a person's sessions; `None` when they have no such session.
    pub async fn rename(
        &self,
        user: UserId,
        session: SessionId,
        name: &Name,
    ) -> Result<Option<KeptSession>, StoreError> {
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            users::lock(transaction, user).await?;
            let Some(mut kept) = find(transaction, user, session).await? else {
                return Ok(None);
            };
            if kept.revoked || kept.last_used_at + SESSION_IDLE_MAX <= self.clock.now() {
                return Ok(None);
            }
            if kept.name != name.as_str() {
                execute(
                    transaction,
                    "UPDATE sessions SET name = $2 WHERE id = $1",
                    [session.as_uuid().into(), name.as_str().into()],
                )
                .await?;
                kept.name = name.as_str().to_owned();
                let event = put_event(user, session, &kept.name, kept.created_at)?;
                outbox::push(transaction, &event).await?;
            }
            Ok(Some(kept))
        })
        .await
    }

    /// Ends one of a person's sessions, if it has not ended. False: they never had such a session.
    pub async fn end(&self, user: UserId, session: SessionId) -> Result<bool, StoreError> {
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            users::lock(transaction, user).await?;
            if find(transaction, user, session).await?.is_none() {
                return Ok(false);
            }
            end(transaction, user, session, self.clock.now()).await?;
            Ok(true)
        })
        .await
    }

    /// Ends a person's sessions but one; answers which.
    pub async fn end_others(
        &self,
        user: UserId,
        keep: SessionId,
    ) -> Result<Vec<SessionId>, StoreError> {
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            users::lock(transaction, user).await?;
            end_others(transaction, user, keep, self.clock.now()).await
        })
        .await
    }

    /// Ends some of the sessions that were not refreshed for too long, and forgets those that ended
    /// as long ago. Answers which ended, and whose they were.
    pub async fn expire(&self) -> Result<Vec<(SessionId, UserId)>, StoreError> {
        let before = self.clock.now() - SESSION_IDLE_MAX;
        let query = statement(
            &self.sql.read,
            "SELECT id, user_id FROM sessions WHERE last_used_us < $1 AND revoked_us IS NULL
             ORDER BY last_used_us LIMIT $2",
            [before.timestamp_micros().into(), EXPIRED_PER_PASS.into()],
        );
        let mut ended = Vec::new();
        for row in self.sql.read_all(query).await? {
            let user = UserId::from_uuid(row.try_get("", "user_id")?);
            let session = SessionId::from_uuid(row.try_get("", "id")?);
            self.end(user, session).await?;
            ended.push((session, user));
        }
        self.forget(before).await?;
        Ok(ended)
    }

    async fn forget(&self, revoked_before: DateTime<Utc>) -> Result<(), StoreError> {
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            let before = || revoked_before.timestamp_micros().into();
            execute(
                transaction,
                "DELETE FROM refresh_tokens WHERE session_id IN
                 (SELECT id FROM sessions WHERE revoked_us < $1)",
                [before()],
            )
            .await?;
            execute(
                transaction,
                "DELETE FROM sessions WHERE revoked_us < $1",
                [before()],
            )
            .await?;
            Ok(())
        })
        .await
    }
}

/// Writes a session, its first token and its event. The person's row is locked, or was just made.
pub(super) async fn insert(
    transaction: &DatabaseTransaction,
    new: &NewSession,
) -> Result<(), StoreError> {
    execute(
        transaction,
        "INSERT INTO sessions (id, user_id, name, created_us, last_used_us)
         VALUES ($1, $2, $3, $4, $4)",
        [
            new.id.as_uuid().into(),
            new.user.as_uuid().into(),
            new.name.as_str().into(),
            new.at.timestamp_micros().into(),
        ],
    )
    .await?;
    refresh_tokens::insert(transaction, new.id, &new.token, None, new.at).await?;
    let event = put_event(new.user, new.id, &new.name, new.at)?;
    outbox::push(transaction, &event).await
}

/// Ends a person's sessions but one, under the lock of the person's row.
pub(super) async fn end_others(
    transaction: &DatabaseTransaction,
    user: UserId,
    keep: SessionId,
    at: DateTime<Utc>,
) -> Result<Vec<SessionId>, StoreError> {
    let mut others = open_sessions(transaction, user).await?;
    others.retain(|session| *session != keep);
    for session in &others {
        end(transaction, user, *session, at).await?;
    }
    Ok(others)
}

/// Ends a session, under the lock of the person's row, with its revocation and its event.
async fn end(
    transaction: &DatabaseTransaction,
    user: UserId,
    session: SessionId,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let ended = execute(
        transaction,
        "UPDATE sessions SET revoked_us = $2 WHERE id = $1 AND revoked_us IS NULL",
        [session.as_uuid().into(), at.timestamp_micros().into()],
    )
    .await?;
    if ended == 0 {
        return Ok(());
    }
    revocations::insert(transaction, session).await?;
    let event = OutboxEvent {
        room: RoomId::of_user(user),
        item: ItemId::of_session(session),
        kind: Kind::Session,
        op: Op::Delete,
        body: Body::null(),
        actor: user,
    };
    outbox::push(transaction, &event).await
}

async fn touch(
    transaction: &DatabaseTransaction,
    session: SessionId,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    execute(
        transaction,
        "UPDATE sessions SET last_used_us = $2 WHERE id = $1",
        [session.as_uuid().into(), at.timestamp_micros().into()],
    )
    .await?;
    Ok(())
}

/// The person's sessions that have not ended, oldest first.
async fn open_sessions(
    transaction: &DatabaseTransaction,
    user: UserId,
) -> Result<Vec<SessionId>, StoreError> {
    let query = statement(
        transaction,
        "SELECT id FROM sessions WHERE user_id = $1 AND revoked_us IS NULL
         ORDER BY created_us, id",
        [user.as_uuid().into()],
    );
    let rows = transaction.query_all_raw(query).await?;
    rows.iter()
        .map(|row| Ok(SessionId::from_uuid(row.try_get("", "id")?)))
        .collect()
}

const SELECT_SESSION: &str =
    "SELECT id, user_id, name, created_us, last_used_us, revoked_us FROM sessions";

async fn find(
    transaction: &DatabaseTransaction,
    user: UserId,
    session: SessionId,
) -> Result<Option<KeptSession>, StoreError> {
    let sql = format!("{SELECT_SESSION} WHERE id = $1 AND user_id = $2");
    let values = [session.as_uuid().into(), user.as_uuid().into()];
    let query = statement(transaction, &sql, values);
    let row = transaction.query_one_raw(query).await?;
    row.as_ref().map(kept_session).transpose()
}

fn kept_session(row: &QueryResult) -> Result<KeptSession, StoreError> {
    let revoked: Option<i64> = row.try_get("", "revoked_us")?;
    Ok(KeptSession {
        id: SessionId::from_uuid(row.try_get("", "id")?),
        user: UserId::from_uuid(row.try_get("", "user_id")?),
        name: row.try_get("", "name")?,
        created_at: time(row, "created_us")?,
        last_used_at: time(row, "last_used_us")?,
        revoked: revoked.is_some(),
    })
}

fn put_event(
    user: UserId,
    session: SessionId,
    name: &str,
    created_at: DateTime<Utc>,
) -> Result<OutboxEvent, StoreError> {
    let state = SessionState {
        session_id: session,
        name: name.to_owned(),
        created_at,
    };
    Ok(OutboxEvent {
        room: RoomId::of_user(user),
        item: ItemId::of_session(session),
        kind: Kind::Session,
        op: Op::Put,
        body: Body::encode(&state).map_err(StoreError::unreadable)?,
        actor: user,
    })
}
