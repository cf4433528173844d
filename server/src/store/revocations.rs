//! Ended sessions: every instance reads them here, so that no access token outlives its session.

use super::{
    Sql, StoreError,
    entity::revocation::{Column, Entity},
    transaction::{execute, now, now_us, statement},
};
use chrono::TimeDelta;
use roost_schema::SessionId;
use sea_orm::{
    ColumnTrait, DatabaseTransaction, DbBackend, EntityTrait, ExprTrait, QueryFilter, Value,
};
use uuid::Uuid;

/// How long a revocation is kept, which is far longer than an access token lives.
const REVOCATION_ROWS_KEPT: TimeDelta = TimeDelta::days(1);

/// How far a read of the revocations reached: every transaction with a smaller number had ended. `SQLite` has no use
/// for a horizon, because its rows become visible in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Horizon(i64);

impl Horizon {
    /// The horizon above every transaction.
    pub const MAX: Self = Self(i64::MAX);
}

/// The sessions that one look at the revocations found to have ended, and how far it reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedSessions {
    pub ended: Vec<SessionId>,
    pub horizon: Horizon,
}

/// Revocations in the relational database.
#[derive(Clone, Debug)]
pub struct Revocations {
    sql: Sql,
}

impl Revocations {
    pub(super) const fn new(sql: Sql) -> Self {
        Self { sql }
    }

    /// The sessions that ended within the last `within`.
    pub async fn list(&self, within: TimeDelta) -> Result<RevokedSessions, StoreError> {
        let now = now_us(&self.sql.read);
        let ended = format!("SELECT session_id FROM revocations WHERE at_us >= {now} - $1");
        self.look(&ended, [micros(within).into()]).await
    }

    /// The sessions whose end became visible since an earlier read, and some others. Rows without a transaction number,
    /// from before the column existed, are those of the last `within`.
    pub async fn list_since(
        &self,
        horizon: Horizon,
        within: TimeDelta,
    ) -> Result<RevokedSessions, StoreError> {
        if self.sql.backend() == DbBackend::Sqlite {
            return self.list(within).await;
        }
        let now = now_us(&self.sql.read);
        let ended = format!(
            "SELECT session_id FROM revocations WHERE xact >= $2
             UNION ALL
             SELECT session_id FROM revocations WHERE xact IS NULL AND at_us >= {now} - $1"
        );
        let values = [micros(within).into(), horizon.0.into()];
        self.look(&ended, values).await
    }

    /// Reads the sessions and the horizon. On `PostgreSQL` the horizon is that of the statement's own snapshot: a row
    /// that the snapshot does not show belongs to a transaction at or above the horizon.
    ///
    /// Raw SQL: one statement reads both, by functions and a column that only `PostgreSQL` has.
    async fn look<const N: usize>(
        &self,
        ended: &str,
        values: [Value; N],
    ) -> Result<RevokedSessions, StoreError> {
        let horizon = match self.sql.backend() {
            DbBackend::Sqlite => "0",
            _ => "pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
        };
        let sql = format!(
            "SELECT {horizon} AS horizon, ended.session_id
             FROM (SELECT 1) AS one LEFT JOIN ({ended}) AS ended ON TRUE"
        );
        let query = statement(&self.sql.read, &sql, values);
        let rows = self.sql.read_all(query).await?;
        let mut look = RevokedSessions {
            ended: Vec::with_capacity(rows.len()),
            horizon: Horizon::default(),
        };
        for row in rows {
            look.horizon = Horizon(row.try_get("", "horizon")?);
            let session: Option<Uuid> = row.try_get("", "session_id")?;
            look.ended.extend(session.map(SessionId::from_uuid));
        }
        Ok(look)
    }

    /// Deletes revocations that are older than `REVOCATION_ROWS_KEPT`.
    pub async fn forget(&self) -> Result<(), StoreError> {
        let before = now(&self.sql.write).sub(micros(REVOCATION_ROWS_KEPT));
        Entity::delete_many()
            .filter(Column::AtUs.into_expr().lt(before))
            .exec(&self.sql.write)
            .await?;
        Ok(())
    }
}

/// Writes a revocation in the transaction that ends the session, whose number the row keeps on `PostgreSQL`. The time
/// is the database's: the time of a host with a wrong clock could be too old for any instance to read the row.
pub(super) async fn insert(
    transaction: &DatabaseTransaction,
    session: SessionId,
) -> Result<(), StoreError> {
    let now = now_us(transaction);
    // Raw SQL: an entity inserts values, and this time is an expression.
    let sql = format!("INSERT INTO revocations (session_id, at_us) VALUES ($1, {now})");
    execute(transaction, &sql, [session.as_uuid().into()]).await?;
    Ok(())
}

fn micros(delta: TimeDelta) -> i64 {
    delta.num_microseconds().unwrap_or(i64::MAX)
}
