//! Database time. Tokens, sessions and leases are judged by this one clock, so that all instances agree.

use super::{Sql, StoreError, transaction::statement};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use sea_orm::DbBackend;
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How often the offset to the database's clock is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// How far a host's clock may differ from the database's before the operator should correct it.
pub const CLOCK_DRIFT_MAX: TimeDelta = TimeDelta::seconds(30);

/// This host's clock, corrected by its measured offset to the database's. Clones share the offset.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_us: Arc<AtomicI64>,
}

impl Clock {
    /// A clock that agrees with the database.
    pub async fn measured(sql: &Sql) -> Result<Self, StoreError> {
        let clock = Self::default();
        clock.measure(sql).await?;
        Ok(clock)
    }

    /// Database time in whole microseconds, the precision that every store keeps.
    pub fn now(&self) -> DateTime<Utc> {
        let now = Utc::now() + self.offset();
        now.duration_trunc(TimeDelta::microseconds(1))
            .unwrap_or(now)
    }

    /// How far the database's clock is ahead of this host's; negative when it is behind.
    pub fn offset(&self) -> TimeDelta {
        TimeDelta::microseconds(self.offset_us.load(Ordering::Relaxed))
    }

    /// Whether this host's clock differs from the database's by more than [`CLOCK_DRIFT_MAX`].
    pub fn is_adrift(&self) -> bool {
        self.offset().abs() > CLOCK_DRIFT_MAX
    }

    /// Moves the clock until its next measurement, for tests.
    pub fn advance(&self, by: TimeDelta) {
        let by_us = by.num_microseconds().unwrap_or(i64::MAX);
        self.offset_us.fetch_add(by_us, Ordering::Relaxed);
    }

    /// Measures the offset every 10 s until cancelled. A failed measurement keeps the last one.
    pub async fn keep_measured(&self, sql: &Sql, cancel: &CancellationToken) {
        while cancel
            .run_until_cancelled(tokio::time::sleep(MEASURE_EVERY))
            .await
            .is_some()
        {
            if let Err(error) = self.measure(sql).await {
                tracing::debug!(?error, "database time not measured");
            }
        }
    }

    /// On `SQLite` the offset is 0: the database runs in this process and has this host's clock.
    async fn measure(&self, sql: &Sql) -> Result<(), StoreError> {
        if sql.backend() == DbBackend::Sqlite {
            return Ok(());
        }
        // Raw SQL: the query asks the server for its time and reads no table.
        let question = statement(
            &sql.read,
            "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us",
            [],
        );
        let asked = Utc::now();
        let row = sql.read_one(question).await?;
        let answered = Utc::now();
        let Some(row) = row else { return Ok(()) };
        let now_us: i64 = row.try_get("", "now_us")?;
        // The database read its clock at some moment between the two; their middle has the smallest error.
        let middle_us = i64::midpoint(asked.timestamp_micros(), answered.timestamp_micros());
        self.offset_us.store(now_us - middle_us, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_be_half_a_minute_off_either_way() {
        for direction in [1, -1] {
            let clock = Clock::default();
            clock.advance(CLOCK_DRIFT_MAX * direction);
            assert!(!clock.is_adrift());
            clock.advance(TimeDelta::microseconds(1) * direction);
            assert!(clock.is_adrift());
        }
    }
}
