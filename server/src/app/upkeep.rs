//! What keeps the whole sound: whether the stores can be reached, and what may be forgotten.

use super::{App, Result};
use crate::{
    live::{Link, Vitals},
    store::journal::Trim,
};
use chrono::TimeDelta;
use roost_schema::InstanceId;

/// Superseded entries may be asked for as long as a retry may come.
const SUPERSEDED_KEPT: TimeDelta = TimeDelta::hours(24);
/// A reader that was away for longer gets the full state instead of what changed.
const TOMBSTONES_KEPT: TimeDelta = TimeDelta::days(30);

impl App {
    /// Asks the database and the journal for a trifle: `unavailable` when one does not answer.
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

    /// How this instance is doing.
    pub fn vitals(&self) -> Vitals {
        self.live.vitals()
    }

    /// How far the database's clock is ahead of this host's.
    pub fn clock_offset(&self) -> TimeDelta {
        self.store.clock.offset()
    }

    /// How the way to the other instances is; `None` when this one is meant to be alone.
    pub fn link(&self) -> Option<Link> {
        self.live.link()
    }

    /// Empties journal entries that nobody may ask for any more. For a timer.
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
