//! How a room is changed: once per operation, under the lock of its row, by a member whose role has not changed since
//! the caller read it.

use super::{
    ActingMember, Known, Operation, Sql, StoreError,
    entity::{member, room, user},
    operations, rooms,
    transaction::{commit_shared, retried},
};
use chrono::{DateTime, Utc};
use roost_schema::{Room, UserId};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter,
    QueryOrder, QuerySelect,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeSet, future::Future, sync::Arc};
use uuid::Uuid;

/// How many rooms a person may be a member of.
pub const ROOMS_PER_PERSON_MAX: i64 = 10_000;

/// Why a room was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the operation id was used with another request")]
    OpIdReused,
    #[error("who acts is not what they were any more")]
    RoleChanged,
    #[error("one of the people does not exist")]
    UnknownPerson,
    #[error("the person is a member already")]
    AlreadyMember,
    #[error("the person is not a member")]
    NotMember,
    #[error("the room would be left without an owner")]
    LastOwner,
    #[error("the room is archived")]
    Archived,
    #[error("the room has as many members as it may")]
    RoomFull,
    #[error("one of the people is in as many rooms as they may be")]
    TooManyRooms,
}

impl From<sea_orm::DbErr> for RoomError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Store(error.into())
    }
}

/// Does an operation once, in its own transaction, which is repeated while other transactions are in the way. `Work`
/// owns the transaction instead of borrowing it: the compiler cannot show that a future which borrows from a closure's
/// argument is `Send`.
pub(super) async fn transact<T, Work, Attempt>(
    sql: &Sql,
    operation: Option<&Operation>,
    now: DateTime<Utc>,
    work: Work,
) -> Result<T, RoomError>
where
    T: Serialize + DeserializeOwned,
    Work: Fn(Arc<DatabaseTransaction>) -> Attempt,
    Attempt: Future<Output = Result<T, RoomError>>,
{
    retried(|| async {
        match attempt(sql, operation, now, &work).await {
            Err(RoomError::Store(error)) => Err(error),
            other => Ok(other),
        }
    })
    .await?
}

async fn attempt<T, Work, Attempt>(
    sql: &Sql,
    operation: Option<&Operation>,
    now: DateTime<Utc>,
    work: &Work,
) -> Result<T, RoomError>
where
    T: Serialize + DeserializeOwned,
    Work: Fn(Arc<DatabaseTransaction>) -> Attempt,
    Attempt: Future<Output = Result<T, RoomError>>,
{
    let transaction = Arc::new(sql.begin().await?);
    if let Some(operation) = operation
        && let Some(done) = known(&*transaction, operation).await?
    {
        return Ok(done);
    }
    let done = match work(Arc::clone(&transaction)).await {
        // The refusal may come from an earlier try of this very operation, which was committed in the meantime.
        Err(refusal) if !matches!(refusal, RoomError::Store(_)) => {
            return match operation {
                Some(operation) => known(&*transaction, operation).await?.ok_or(refusal),
                None => Err(refusal),
            };
        }
        done => done?,
    };
    if let Some(operation) = operation {
        let result = serde_json::to_value(&done).map_err(StoreError::unreadable)?;
        operations::keep(&transaction, operation, &result, now).await?;
    }
    commit_shared(transaction).await?;
    Ok(done)
}

/// Locks the room's row, so that changes and their events have one order, and judges the acting member again. Answers
/// the room as this member sees it.
pub(super) async fn lock<Right>(
    transaction: &DatabaseTransaction,
    acting: &ActingMember<Right>,
) -> Result<Room, RoomError> {
    room::Entity::find_by_id(acting.room_id().as_uuid())
        .lock_exclusive()
        .one(transaction)
        .await?;
    rooms::find(transaction, acting.room_id(), acting.user_id())
        .await?
        .filter(|room| room.role == acting.role())
        .ok_or(RoomError::RoleChanged)
}

/// Checks that people exist and may be in one more room. Locks their rows until the transaction ends, smallest id
/// first, so that two new rooms at once count each other.
pub(super) async fn admit(
    transaction: &DatabaseTransaction,
    first: UserId,
    others: &[UserId],
) -> Result<(), RoomError> {
    let people: BTreeSet<UserId> = std::iter::once(first)
        .chain(others.iter().copied())
        .collect();
    let ids = || people.iter().map(UserId::as_uuid);
    let locked = user::Entity::find()
        .select_only()
        .column(user::Column::Id)
        .filter(user::Column::Id.is_in(ids()))
        .order_by_asc(user::Column::Id)
        .lock_exclusive()
        .into_tuple::<Uuid>()
        .all(transaction)
        .await?;
    if locked.len() < people.len() {
        return Err(RoomError::UnknownPerson);
    }
    let full = member::Entity::find()
        .select_only()
        .column(member::Column::UserId)
        .filter(member::Column::UserId.is_in(ids()))
        .group_by(member::Column::UserId)
        .having(member::Column::RoomId.count().gte(ROOMS_PER_PERSON_MAX))
        .into_tuple::<Uuid>()
        .one(transaction)
        .await?;
    match full {
        Some(_) => Err(RoomError::TooManyRooms),
        None => Ok(()),
    }
}

/// The answer of an operation that was done before.
pub(super) async fn known<T: DeserializeOwned>(
    connection: &impl ConnectionTrait,
    operation: &Operation,
) -> Result<Option<T>, RoomError> {
    match operations::find(connection, operation).await? {
        None => Ok(None),
        Some(Known::Reused) => Err(RoomError::OpIdReused),
        Some(Known::Same(result)) => {
            let done = serde_json::from_value(result).map_err(StoreError::unreadable)?;
            Ok(Some(done))
        }
    }
}
