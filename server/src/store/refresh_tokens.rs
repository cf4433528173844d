//! Refresh tokens, stored as hashes: a tree for each session, in which each exchange adds a branch.
//!
//! The table has no entity yet, because its columns are to change: see `docs/decisions/0024-sea-orm-entities.md`.

use super::{
    StoreError,
    transaction::{execute, statement, time},
};
use chrono::{DateTime, TimeDelta, Utc};
use roost_schema::{SessionId, UserId};
use sea_orm::{ConnectionTrait, DatabaseTransaction};

/// How long a used token stays good while its successor is unused: two tabs may refresh at once, and an answer may be
/// lost.
pub const PREDECESSOR_GOOD: TimeDelta = TimeDelta::seconds(10);

/// SHA-256 of a refresh token. The token itself is kept nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

/// A stored token.
#[derive(Debug)]
pub(super) struct KeptToken {
    pub(super) issued_at: DateTime<Utc>,
    used_at: Option<DateTime<Utc>>,
}

/// The session and the person that a token belongs to.
pub(super) async fn owner(
    connection: &impl ConnectionTrait,
    token: &TokenHash,
) -> Result<Option<(SessionId, UserId)>, StoreError> {
    // Raw SQL: refresh tokens have no entity yet, so no entity query joins them with sessions.
    let query = statement(
        connection,
        "SELECT s.id, s.user_id FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
         WHERE t.hash = $1",
        [token.0.to_vec().into()],
    );
    let Some(row) = connection.query_one_raw(query).await? else {
        return Ok(None);
    };
    let session = SessionId::from_uuid(row.try_get("", "id")?);
    let user = UserId::from_uuid(row.try_get("", "user_id")?);
    Ok(Some((session, user)))
}

pub(super) async fn find(
    transaction: &DatabaseTransaction,
    token: &TokenHash,
) -> Result<Option<KeptToken>, StoreError> {
    // Raw SQL: refresh tokens have no entity yet.
    let query = statement(
        transaction,
        "SELECT issued_us, used_us FROM refresh_tokens WHERE hash = $1",
        [token.0.to_vec().into()],
    );
    let Some(row) = transaction.query_one_raw(query).await? else {
        return Ok(None);
    };
    let used: Option<i64> = row.try_get("", "used_us")?;
    Ok(Some(KeptToken {
        issued_at: time(&row, "issued_us")?,
        used_at: match used {
            Some(_) => Some(time(&row, "used_us")?),
            None => None,
        },
    }))
}

/// Whether a token may be exchanged: it was never used, or it was used just now and has a successor that was not. An
/// older token is a reuse.
pub(super) async fn is_good(
    transaction: &DatabaseTransaction,
    session: SessionId,
    token: &TokenHash,
    kept: &KeptToken,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    match kept.used_at {
        None => Ok(true),
        Some(used_at) if used_at + PREDECESSOR_GOOD <= now => Ok(false),
        Some(_) => {
            // Raw SQL: refresh tokens have no entity yet.
            let query = statement(
                transaction,
                "SELECT 1 AS one FROM refresh_tokens
                 WHERE session_id = $1 AND parent = $2 AND used_us IS NULL LIMIT 1",
                [session.as_uuid().into(), token.0.to_vec().into()],
            );
            Ok(transaction.query_one_raw(query).await?.is_some())
        }
    }
}

pub(super) async fn insert(
    transaction: &DatabaseTransaction,
    session: SessionId,
    token: &TokenHash,
    parent: Option<&TokenHash>,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    // Raw SQL: refresh tokens have no entity yet.
    execute(
        transaction,
        "INSERT INTO refresh_tokens (hash, session_id, parent, issued_us)
         VALUES ($1, $2, $3, $4)",
        [
            token.0.to_vec().into(),
            session.as_uuid().into(),
            parent.map(|parent| parent.0.to_vec()).into(),
            at.timestamp_micros().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Marks a token as used. A second use does not change the time of the first.
pub(super) async fn mark_used(
    transaction: &DatabaseTransaction,
    token: &TokenHash,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    // Raw SQL: refresh tokens have no entity yet.
    execute(
        transaction,
        "UPDATE refresh_tokens SET used_us = $2 WHERE hash = $1 AND used_us IS NULL",
        [token.0.to_vec().into(), at.timestamp_micros().into()],
    )
    .await?;
    Ok(())
}

/// Deletes a session's tokens that are too old to be exchanged.
pub(super) async fn forget(
    transaction: &DatabaseTransaction,
    session: SessionId,
    issued_before: DateTime<Utc>,
) -> Result<(), StoreError> {
    // Raw SQL: refresh tokens have no entity yet.
    execute(
        transaction,
        "DELETE FROM refresh_tokens WHERE session_id = $1 AND issued_us < $2",
        [
            session.as_uuid().into(),
            issued_before.timestamp_micros().into(),
        ],
    )
    .await?;
    Ok(())
}
