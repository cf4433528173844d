//! Upkeep: probes of the stores, and the chores of the cluster.

use super::{App, Result};
use crate::{
    live::{BootTime, LiveStats},
    store::{Chore, journal::Trim},
};
use chrono::TimeDelta;
use roost_schema::InstanceId;
use std::time::Duration;
use tokio::time::timeout;

/// Superseded entries are kept for as long as a retry may come.
const SUPERSEDED_KEPT: TimeDelta = TimeDelta::hours(24);
/// A reader that was away for longer gets the full state instead of the changes.
const TOMBSTONES_KEPT: TimeDelta = TimeDelta::days(30);

/// How often each chore is done, and how long it may take.
const EXPIRE_EVERY: Duration = Duration::from_mins(1);
const TRIM_EVERY: Duration = Duration::from_hours(1);
/// When a chore that failed is due again.
const CHORE_RETRY: Duration = Duration::from_mins(1);

/// Stores that have not answered for this long cannot be reached.
pub(super) const CUT_OFF_AFTER: Duration = Duration::from_secs(4);

impl App {
    /// Probes the database and the journal: `unavailable` when one does not answer.
    pub async fn probe_stores(&self) -> Result<()> {
        self.store.sql.ping().await?;
        self.store.journal.heads(&[]).await?;
        Ok(())
    }

    pub async fn probe_database(&self) -> Result<()> {
        Ok(self.store.sql.ping().await?)
    }

    pub async fn probe_journal(&self) -> Result<()> {
        self.store.journal.heads(&[]).await?;
        Ok(())
    }

    /// This run of this instance.
    pub fn instance_id(&self) -> InstanceId {
        self.live.instance_id()
    }

    /// The statistics of this instance.
    pub fn stats(&self) -> LiveStats {
        self.live.stats()
    }

    /// Whether this instance should get no requests, because its stores do not answer. `false` when it
    /// runs alone, or all instances are cut off alike, because no other would do better. While the link to the others
    /// is down their state is unknown, and this instance counts as cut off.
    pub async fn is_cut_off(&self, patience: Duration) -> bool {
        let began = BootTime::now();
        if let Ok(Ok(())) = timeout(patience, self.probe_stores()).await {
            self.live.stores_answered.set(began);
            return false;
        }
        let age = self.live.stores_answered.age();
        age.is_none_or(|age| age > CUT_OFF_AFTER) && !self.are_stores_lost_everywhere()
    }

    /// Does the chores that are due and that no other instance has taken. A timer calls it.
    pub async fn do_chores(&self) {
        let expiring = self.expire_sessions();
        self.do_chore(Chore::ExpireSessions, EXPIRE_EVERY, expiring)
            .await;
        let trimming = self.trim_journal();
        self.do_chore(Chore::TrimJournal, TRIM_EVERY, trimming)
            .await;
    }

    async fn do_chore(
        &self,
        chore: Chore,
        every: Duration,
        work: impl Future<Output = Result<()>>,
    ) {
        let name = chore.name();
        match self.store.chores.take(chore, every).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::warn!(name, ?error, "a chore cannot be taken"),
        }
        // The work ends before another instance may take the chore. What it leaves is done the next time.
        match timeout(every, work).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::warn!(name, ?error, "a chore failed, trying again"),
            Err(_) => tracing::warn!(name, ?every, "a chore took too long, going on with it"),
        }
        if let Err(error) = self.store.chores.put_off(chore, CHORE_RETRY).await {
            tracing::warn!(name, ?error, "a chore cannot be put off");
        }
    }

    /// Empties journal entries that no retry and no reader can need any more: a chore.
    pub async fn trim_journal(&self) -> Result<()> {
        let now = self.store.now();
        let bounds = Trim {
            superseded_before: now - SUPERSEDED_KEPT,
            tombstones_before: now - TOMBSTONES_KEPT,
        };
        let emptied = self.store.journal.trim(bounds).await?;
        if emptied > 0 {
            tracing::info!(emptied, "journal trimmed");
        }
        Ok(())
    }
}
