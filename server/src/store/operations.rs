//! Operations outside rooms that were done, so that repeating one has one effect. Each is kept in
//! the transaction that does it.

use super::{
    Clock, Sql, StoreError,
    journal::RequestHash,
    transaction::{execute, reading, statement},
};
use chrono::{DateTime, TimeDelta, Utc};
use roost_schema::{Email, OpId, UserId};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use std::fmt;

/// How long a repeated operation is recognised.
const OPERATION_KEPT: TimeDelta = TimeDelta::hours(48);

/// Whose operation it is: a person's or, while there is no person yet, an address's.
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

/// An operation as it was asked for. The hash never covers a password.
#[derive(Clone, Debug)]
pub struct Operation {
    pub owner: Owner,
    pub op_id: OpId,
    pub request_hash: RequestHash,
}

/// What is known of an operation that was done before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The same request: what it answered, as JSON; never a token.
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

    /// What is known of an operation that was asked for before.
    pub async fn known(&self, operation: &Operation) -> Result<Option<Known>, StoreError> {
        reading(|| find(&self.sql.read, operation)).await
    }

    /// Forgets the old ones.
    pub async fn forget(&self) -> Result<(), StoreError> {
        let before = self.clock.now() - OPERATION_KEPT;
        execute(
            &self.sql.write,
            "DELETE FROM operations WHERE at_us < $1",
            [before.timestamp_micros().into()],
        )
        .await?;
        Ok(())
    }
}

pub(super) async fn find(
    connection: &impl ConnectionTrait,
    operation: &Operation,
) -> Result<Option<Known>, StoreError> {
    let query = statement(
        connection,
        "SELECT request_hash, result FROM operations WHERE owner = $1 AND op_id = $2",
        [
            operation.owner.to_string().into(),
            operation.op_id.as_str().into(),
        ],
    );
    let Some(row) = connection.query_one_raw(query).await? else {
        return Ok(None);
    };
    let request_hash: Vec<u8> = row.try_get("", "request_hash")?;
    if request_hash != operation.request_hash.0 {
        return Ok(Some(Known::Reused));
    }
    let result: String = row.try_get("", "result")?;
    let result = serde_json::from_str(&result).map_err(|error| StoreError::Broken(error.into()))?;
    Ok(Some(Known::Same(result)))
}

/// Keeps what an operation answered. When a rival has just done the same one this is
/// [`StoreError::Contended`]: the transaction is run again and finds it.
pub(super) async fn keep(
    transaction: &DatabaseTransaction,
    operation: &Operation,
    result: &serde_json::Value,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let kept = execute(
        transaction,
        "INSERT INTO operations (owner, op_id, request_hash, result, at_us)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        [
            operation.owner.to_string().into(),
            operation.op_id.as_str().into(),
            operation.request_hash.0.to_vec().into(),
            result.to_string().into(),
            at.timestamp_micros().into(),
        ],
    )
    .await?;
    if kept == 0 {
        return Err(StoreError::Contended(anyhow::anyhow!(
            "a rival did the same operation"
        )));
    }
    Ok(())
}
