//! Sessions that ended: every instance reads here which, so that no access token outlives its own.

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

/// How long a revocation is kept: far longer than any access token lives.
const REVOCATION_ROWS_KEPT: TimeDelta = TimeDelta::days(1);

/// How far a look at the revocations reached: every transaction below was over. On `SQLite` rows
/// become visible in order, and this means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Horizon(i64);

impl Horizon {
    /// Above every transaction.
    pub const MAX: Self = Self(i64::MAX);
}

/// What a look at the revocations showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
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

    /// The sessions that ended within the last so long.
    pub async fn list(&self, within: TimeDelta) -> Result<Look, StoreError> {
        let now = now_us(&self.sql.read);
        let ended = format!("SELECT session_id FROM revocations WHERE at_us >= {now} - $1");
        self.look(&ended, [micros(within).into()]).await
    }

    /// The sessions whose end became visible since an earlier look, and some others. Rows of unknown
    /// transactions, as before the column was there, are those of the last so long.
    pub async fn list_since(
        &self,
        horizon: Horizon,
        within: TimeDelta,
    ) -> Result<Look, StoreError> {
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

    /// On `PostgreSQL` the horizon is read by the same statement, from the snapshot it reads by:
    /// whatever that does not show is of a transaction at or above.
    ///
    /// Text: the horizon and the sessions are one statement, whose functions and column `PostgreSQL` alone has.
    async fn look<const N: usize>(
        &self,
        ended: &str,
        values: [Value; N],
    ) -> Result<Look, StoreError> {
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
        let mut look = Look {
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

    /// Forgets the old ones.
    pub async fn forget(&self) -> Result<(), StoreError> {
        let before = now(&self.sql.write).sub(micros(REVOCATION_ROWS_KEPT));
        Entity::delete_many()
            .filter(Column::AtUs.into_expr().lt(before))
            .exec(&self.sql.write)
            .await?;
        Ok(())
    }
}

/// Written in the transaction that ends the session, whose number the row keeps on `PostgreSQL`. The
/// time is the database's own: by a host's clock that jumped it could be older than what any
/// instance looks at.
pub(super) async fn insert(
    transaction: &DatabaseTransaction,
    session: SessionId,
) -> Result<(), StoreError> {
    let now = now_us(transaction);
    // Text: an entity inserts values, and this time is an expression.
    let sql = format!("INSERT INTO revocations (session_id, at_us) VALUES ($1, {now})");
    execute(transaction, &sql, [session.as_uuid().into()]).await?;
    Ok(())
}

fn micros(delta: TimeDelta) -> i64 {
    delta.num_microseconds().unwrap_or(i64::MAX)
}
