//! The chores of the cluster: each is done by one instance at a time, the first that asks when it is due.

use super::{
    Sql, StoreError,
    transaction::{execute, now_us},
};
use std::time::Duration;

/// What has to be done now and then, by any instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    ExpireSessions,
    TrimJournal,
}

impl Chore {
    /// The name in the table, for good.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExpireSessions => "expire_sessions",
            Self::TrimJournal => "trim_journal",
        }
    }
}

/// When each chore is due, in the relational database and by its clock.
#[derive(Clone, Debug)]
pub struct Chores {
    sql: Sql,
}

impl Chores {
    pub(super) const fn new(sql: Sql) -> Self {
        Self { sql }
    }

    /// Takes a chore: true for one of all instances that ask while it is due. It is due again after `period`, which is
    /// how long that instance has for it.
    pub async fn take(&self, chore: Chore, period: Duration) -> Result<bool, StoreError> {
        let now = now_us(&self.sql.write);
        // Raw SQL: an entity inserts values, and these times are expressions.
        let sql = format!(
            "INSERT INTO chores (name, due_us) VALUES ($1, {now} + $2)
             ON CONFLICT (name) DO UPDATE SET due_us = excluded.due_us WHERE chores.due_us <= {now}"
        );
        let values = [chore.name().into(), micros(period).into()];
        Ok(execute(&self.sql.write, &sql, values).await? > 0)
    }

    /// Makes a chore due after `pause`, because the instance that took it has failed.
    pub async fn put_off(&self, chore: Chore, pause: Duration) -> Result<(), StoreError> {
        let now = now_us(&self.sql.write);
        // Raw SQL: the time is an expression.
        let sql = format!("UPDATE chores SET due_us = {now} + $2 WHERE name = $1");
        let values = [chore.name().into(), micros(pause).into()];
        execute(&self.sql.write, &sql, values).await?;
        Ok(())
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
