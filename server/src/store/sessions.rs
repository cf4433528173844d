//! Sessions: one for each device that signed in. Each change holds the lock of the person's row, and writes its event
//! into the outbox of the person's own room.

mod exchange;
mod expiry;

pub(super) use exchange::replace_tokens;
pub use exchange::{Exchange, Renewed};

use super::{
    Clock, Sql, StoreError,
    entity::{
        Micros,
        session::{self, Column, Entity},
    },
    outbox::{self, OutboxEvent},
    refresh_tokens::{self, FirstToken},
    revocations,
    transaction::{reading, transact},
    users,
};
use chrono::{DateTime, TimeDelta, Utc};
use roost_schema::{Body, ItemId, Kind, Name, Op, RoomId, Secret, SessionId, SessionState, UserId};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
    Select, UpdateMany, Value, sea_query::Expr,
};

/// A session that was not refreshed for this long has expired.
pub const SESSION_IDLE_MAX: TimeDelta = TimeDelta::days(30);
/// How many sessions a person may have; one more ends the oldest.
pub const SESSIONS_PER_PERSON_MAX: usize = 100;

/// A new session, and its first refresh token.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub id: SessionId,
    pub user: UserId,
    pub name: String,
    pub token: FirstToken,
    pub at: DateTime<Utc>,
}

/// A stored session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSession {
    pub id: SessionId,
    pub user: UserId,
    pub name: String,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    /// When a used refresh token of it was last exchanged again from elsewhere.
    pub reused_at: Option<DateTime<Utc>>,
    revoked: bool,
}

/// The result of a sign-in.
#[derive(Debug)]
pub enum Opened {
    /// The session is open. `ended` are the oldest sessions, which ended because the person had too many.
    Opened { ended: Vec<SessionId> },
    /// The verified password is no longer the person's password.
    PasswordChanged,
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

    /// Opens a session for a person whose password was verified against the hash `verified`.
    pub async fn open(&self, new: &NewSession, verified: &Secret) -> Result<Opened, StoreError> {
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            // The hash is compared under the lock: a change of the password ends only the sessions that it can see.
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

    /// A person's sessions, the most recently used first.
    pub async fn list(&self, user: UserId) -> Result<Vec<KeptSession>, StoreError> {
        let oldest = self.clock.now() - SESSION_IDLE_MAX;
        let query = || {
            open_of(user)
                .filter(Column::LastUsedUs.gt(Micros(oldest)))
                .order_by_desc(Column::LastUsedUs)
                .order_by_desc(Column::Id)
        };
        let rows = reading(|| query().all(&self.sql.read)).await?;
        Ok(rows.into_iter().map(KeptSession::from).collect())
    }

    /// Gives one of a person's sessions a name; `None` when the person has no such session.
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
                set(session, Column::Name, name.as_str())
                    .exec(transaction)
                    .await?;
                kept.name = name.as_str().to_owned();
                let event = put_event(&kept)?;
                outbox::push(transaction, &event).await?;
            }
            Ok(Some(kept))
        })
        .await
    }

    /// Ends one of a person's sessions, unless it has ended. False when the person never had such a session.
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

    /// Ends all of a person's sessions but one; answers the ended ones.
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
}

/// Writes a session, its first token and its event. The caller has locked or inserted the person's row.
pub(super) async fn insert(
    transaction: &DatabaseTransaction,
    new: &NewSession,
) -> Result<(), StoreError> {
    let row = session::ActiveModel {
        id: Set(new.id.as_uuid()),
        user_id: Set(new.user.as_uuid()),
        name: Set(new.name.clone()),
        created_us: Set(Micros(new.at)),
        last_used_us: Set(Micros(new.at)),
        revoked_us: Set(None),
        token_key: Set(Some(new.token.key())),
        reused_us: Set(None),
    };
    Entity::insert(row)
        .exec_without_returning(transaction)
        .await?;
    refresh_tokens::insert_first(transaction, new.id, &new.token, new.at).await?;
    outbox::push(transaction, &put_event(&KeptSession::from(new))?).await
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
    let ended = set(session, Column::RevokedUs, Micros(at))
        .filter(Column::RevokedUs.is_null())
        .exec(transaction)
        .await?;
    if ended.rows_affected == 0 {
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

/// An update of one column of a session.
fn set(session: SessionId, column: Column, value: impl Into<Value>) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(column, Expr::value(value))
        .filter(Column::Id.eq(session.as_uuid()))
}

/// The person's sessions that have not ended.
fn open_of(user: UserId) -> Select<Entity> {
    Entity::find()
        .filter(Column::UserId.eq(user.as_uuid()))
        .filter(Column::RevokedUs.is_null())
}

/// The person's sessions that have not ended, oldest first.
async fn open_sessions(
    transaction: &DatabaseTransaction,
    user: UserId,
) -> Result<Vec<SessionId>, StoreError> {
    let rows = open_of(user)
        .order_by_asc(Column::CreatedUs)
        .order_by_asc(Column::Id)
        .all(transaction)
        .await?;
    let ids = rows.into_iter().map(|row| SessionId::from_uuid(row.id));
    Ok(ids.collect())
}

async fn find(
    transaction: &DatabaseTransaction,
    user: UserId,
    session: SessionId,
) -> Result<Option<KeptSession>, StoreError> {
    let row = find_row(transaction, user, session).await?;
    Ok(row.map(KeptSession::from))
}

async fn find_row(
    transaction: &DatabaseTransaction,
    user: UserId,
    session: SessionId,
) -> Result<Option<session::Model>, StoreError> {
    let query = Entity::find_by_id(session.as_uuid()).filter(Column::UserId.eq(user.as_uuid()));
    Ok(query.one(transaction).await?)
}

impl From<&NewSession> for KeptSession {
    fn from(new: &NewSession) -> Self {
        Self {
            id: new.id,
            user: new.user,
            name: new.name.clone(),
            created_at: new.at,
            last_used_at: new.at,
            reused_at: None,
            revoked: false,
        }
    }
}

impl From<session::Model> for KeptSession {
    fn from(row: session::Model) -> Self {
        Self {
            id: SessionId::from_uuid(row.id),
            user: UserId::from_uuid(row.user_id),
            name: row.name,
            created_at: row.created_us.0,
            last_used_at: row.last_used_us.0,
            reused_at: row.reused_us.map(|reused| reused.0),
            revoked: row.revoked_us.is_some(),
        }
    }
}

fn put_event(kept: &KeptSession) -> Result<OutboxEvent, StoreError> {
    let state = SessionState {
        session_id: kept.id,
        name: kept.name.clone(),
        created_at: kept.created_at,
        reused_elsewhere_at: kept.reused_at,
    };
    Ok(OutboxEvent {
        room: RoomId::of_user(kept.user),
        item: ItemId::of_session(kept.id),
        kind: Kind::Session,
        op: Op::Put,
        body: Body::encode(&state).map_err(StoreError::unreadable)?,
        actor: kept.user,
    })
}
