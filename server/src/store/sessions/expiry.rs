//! Ending sessions that were not used for too long, and deleting those that ended long ago: so many at a time.

use super::{Column, Entity, SESSION_IDLE_MAX, Sessions};
use crate::store::{
    StoreError,
    entity::Micros,
    refresh_tokens,
    transaction::{reading, transact},
};
use chrono::{DateTime, Utc};
use roost_schema::{SessionId, UserId};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

/// How many expired sessions one call of [`Sessions::expire`] ends.
const EXPIRED_PER_CALL: u64 = 100;
/// How many transactions of deletions it makes, and how many rows one of them deletes.
const DELETIONS_PER_CALL: usize = 20;
const SESSIONS_PER_DELETION: u64 = 100;
const TOKENS_PER_DELETION: u64 = 1_000;

impl Sessions {
    /// Ends up to `EXPIRED_PER_CALL` expired sessions, and deletes sessions that ended as long ago. Answers the ended
    /// sessions with their people.
    pub async fn expire(&self) -> Result<Vec<(SessionId, UserId)>, StoreError> {
        let before = self.clock.now() - SESSION_IDLE_MAX;
        let query = || {
            Entity::find()
                .filter(Column::LastUsedUs.lt(Micros(before)))
                .filter(Column::RevokedUs.is_null())
                .order_by_asc(Column::LastUsedUs)
                .limit(EXPIRED_PER_CALL)
        };
        let mut ended = Vec::new();
        for row in reading(|| query().all(&self.sql.read)).await? {
            let (session, user) = (SessionId::from_uuid(row.id), UserId::from_uuid(row.user_id));
            self.end(user, session).await?;
            ended.push((session, user));
        }
        for _ in 0..DELETIONS_PER_CALL {
            if !self.forget_some(before).await? {
                break;
            }
        }
        Ok(ended)
    }

    /// Deletes some sessions that ended before a time. A session goes after its tokens, of which the release before
    /// left thousands. Answers whether more may be left.
    async fn forget_some(&self, revoked_before: DateTime<Utc>) -> Result<bool, StoreError> {
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            let sessions: Vec<Uuid> = Entity::find()
                .select_only()
                .column(Column::Id)
                .filter(Column::RevokedUs.lt(Micros(revoked_before)))
                .order_by_asc(Column::RevokedUs)
                .limit(SESSIONS_PER_DELETION)
                .into_tuple()
                .all(transaction)
                .await?;
            if sessions.is_empty() {
                return Ok(false);
            }
            let limit = TOKENS_PER_DELETION;
            if refresh_tokens::delete_some(transaction, &sessions, limit).await? == limit {
                return Ok(true);
            }
            let is_full = sessions.len() as u64 == SESSIONS_PER_DELETION;
            Entity::delete_many()
                .filter(Column::Id.is_in(sessions))
                .exec(transaction)
                .await?;
            Ok(is_full)
        })
        .await
    }
}
