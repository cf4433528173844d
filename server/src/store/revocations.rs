//! Sessions that ended: every instance reads here which, so that no access token outlives its own.

use super::{
    Sql, StoreError,
    transaction::{execute, now_us, statement},
};
use chrono::TimeDelta;
use roost_schema::SessionId;
use sea_orm::DatabaseTransaction;

/// How long a revocation is kept: far longer than any access token lives.
const REVOCATION_ROWS_KEPT: TimeDelta = TimeDelta::days(1);

/// Revocations in the relational database.
#[derive(Clone, Debug)]
pub struct Revocations {
    sql: Sql,
}

impl Revocations {
    pub(super) const fn new(sql: Sql) -> Self {
        Self { sql }
    }

    /// The sessions that ended within the last so long.
    pub async fn list(&self, within: TimeDelta) -> Result<Vec<SessionId>, StoreError> {
        let now = now_us(&self.sql.read);
        let sql = format!("SELECT session_id FROM revocations WHERE at_us >= {now} - $1");
        let query = statement(&self.sql.read, &sql, [micros(within).into()]);
        let rows = self.sql.read_all(query).await?;
        rows.iter()
            .map(|row| Ok(SessionId::from_uuid(row.try_get("", "session_id")?)))
            .collect()
    }

    /// Forgets the old ones.
    pub async fn forget(&self) -> Result<(), StoreError> {
        let now = now_us(&self.sql.write);
        let sql = format!("DELETE FROM revocations WHERE at_us < {now} - $1");
        execute(&self.sql.write, &sql, [micros(REVOCATION_ROWS_KEPT).into()]).await?;
        Ok(())
    }
}

/// Written in the transaction that ends the session. The time is the database's own: by a host's
/// clock that jumped it could be older than what any instance looks at.
pub(super) async fn insert(
    transaction: &DatabaseTransaction,
    session: SessionId,
) -> Result<(), StoreError> {
    let now = now_us(transaction);
    let sql = format!("INSERT INTO revocations (session_id, at_us) VALUES ($1, {now})");
    execute(transaction, &sql, [session.as_uuid().into()]).await?;
    Ok(())
}

fn micros(delta: TimeDelta) -> i64 {
    delta.num_microseconds().unwrap_or(i64::MAX)
}
