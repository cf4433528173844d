//! Sessions that ended: every instance reads here which, so that no access token outlives its own.

use super::{
    Clock, Sql, StoreError,
    transaction::{execute, statement},
};
use chrono::{DateTime, TimeDelta, Utc};
use roost_schema::SessionId;
use sea_orm::DatabaseTransaction;

/// How long a revocation is kept: far longer than any access token lives.
const REVOCATION_ROWS_KEPT: TimeDelta = TimeDelta::days(1);

/// Revocations in the relational database.
#[derive(Clone, Debug)]
pub struct Revocations {
    sql: Sql,
    clock: Clock,
}

impl Revocations {
    pub(super) const fn new(sql: Sql, clock: Clock) -> Self {
        Self { sql, clock }
    }

    /// The sessions that ended within the last so long.
    pub async fn list(&self, within: TimeDelta) -> Result<Vec<SessionId>, StoreError> {
        let since = self.clock.now() - within;
        let query = statement(
            &self.sql.read,
            "SELECT session_id FROM revocations WHERE at_us >= $1",
            [since.timestamp_micros().into()],
        );
        let rows = self.sql.read_all(query).await?;
        rows.iter()
            .map(|row| Ok(SessionId::from_uuid(row.try_get("", "session_id")?)))
            .collect()
    }

    /// Forgets the old ones.
    pub async fn forget(&self) -> Result<(), StoreError> {
        let before = self.clock.now() - REVOCATION_ROWS_KEPT;
        execute(
            &self.sql.write,
            "DELETE FROM revocations WHERE at_us < $1",
            [before.timestamp_micros().into()],
        )
        .await?;
        Ok(())
    }
}

/// Written in the transaction that ends the session.
pub(super) async fn insert(
    transaction: &DatabaseTransaction,
    session: SessionId,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    execute(
        transaction,
        "INSERT INTO revocations (session_id, at_us) VALUES ($1, $2)",
        [session.as_uuid().into(), at.timestamp_micros().into()],
    )
    .await?;
    Ok(())
}
