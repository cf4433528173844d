//! Finished operations outside of rooms, so that a repeated operation has one effect. Each is stored in the transaction
//! that does the operation.

use super::{
    Clock, Sql, StoreError,
    entity::{
        Micros,
        operation::{self, Column, Entity},
    },
    journal::RequestHash,
    transaction::reading,
};
use chrono::{DateTime, TimeDelta, Utc};
use roost_schema::{Email, OpId, UserId};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    sea_query::OnConflict,
};
use std::fmt;

/// How long a repeated operation is recognised.
const OPERATION_KEPT: TimeDelta = TimeDelta::hours(48);

/// The owner of an operation: a person or, before a person is registered, an email address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    Person(UserId),
    Address(Email),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(user) => write!(f, "user:{user}"),
            Self::Address(email) => write!(f, "address:{email}"),
        }
    }
}

/// The request of an operation. The hash never covers a password.
#[derive(Clone, Debug)]
pub struct Operation {
    pub owner: Owner,
    pub op_id: OpId,
    pub request_hash: RequestHash,
}

/// An operation that was done before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The same request was done; the answer as JSON, never with a token.
    Same(serde_json::Value),
    /// Another request used this operation id.
    Reused,
}

/// Operations in the relational database.
#[derive(Clone, Debug)]
pub struct Operations {
    sql: Sql,
    clock: Clock,
}

impl Operations {
    pub(super) const fn new(sql: Sql, clock: Clock) -> Self {
        Self { sql, clock }
    }

    /// Looks up an operation that may have been done before.
    pub async fn known(&self, operation: &Operation) -> Result<Option<Known>, StoreError> {
        reading(|| find(&self.sql.read, operation)).await
    }

    /// Deletes operations that are older than `OPERATION_KEPT`.
    pub async fn forget(&self) -> Result<(), StoreError> {
        let before = self.clock.now() - OPERATION_KEPT;
        Entity::delete_many()
            .filter(Column::AtUs.lt(Micros(before)))
            .exec(&self.sql.write)
            .await?;
        Ok(())
    }
}

pub(super) async fn find(
    connection: &impl ConnectionTrait,
    operation: &Operation,
) -> Result<Option<Known>, StoreError> {
    let key = (
        operation.owner.to_string(),
        operation.op_id.as_str().to_owned(),
    );
    let Some(row) = Entity::find_by_id(key).one(connection).await? else {
        return Ok(None);
    };
    if row.request_hash != operation.request_hash.0 {
        return Ok(Some(Known::Reused));
    }
    let result =
        serde_json::from_str(&row.result).map_err(|error| StoreError::Broken(error.into()))?;
    Ok(Some(Known::Same(result)))
}

/// Stores the answer of an operation. [`StoreError::Contended`] when a rival has just done the same operation: the
/// repeated transaction then finds the rival's answer.
pub(super) async fn keep(
    transaction: &DatabaseTransaction,
    operation: &Operation,
    result: &serde_json::Value,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let row = operation::ActiveModel {
        owner: Set(operation.owner.to_string()),
        op_id: Set(operation.op_id.as_str().to_owned()),
        request_hash: Set(operation.request_hash.0.to_vec()),
        result: Set(result.to_string()),
        at_us: Set(Micros(at)),
    };
    let kept = Entity::insert(row)
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(transaction)
        .await?;
    if kept == 0 {
        return Err(StoreError::Contended(anyhow::anyhow!(
            "a rival did the same operation"
        )));
    }
    Ok(())
}
