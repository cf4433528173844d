//! The program's commands that open the stores as a server would, and serve nobody.

use super::{Background, open_journal, open_sql};
use crate::{
    config::Config,
    store::{
        journal::{self, Audited, Finding, Journal},
        lock_data,
    },
};
use roost_schema::{RoomId, Seq};
use std::sync::Arc;

/// Connects to the database and brings its schema to this release.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    let _lock = lock_data(config.database_url.expose())?;
    open_sql(config).await.map(drop)
}

/// Starts another epoch of the journal, for after a restore by foreign tools. Answers its name.
pub async fn change_epoch(config: &Config) -> anyhow::Result<String> {
    let change = async |journal: Arc<dyn Journal>| {
        let known = journal.heads(&[]).await?.epoch;
        Ok(journal.change_epoch(known).await?.to_string())
    };
    with_journal(config, change).await
}

/// Hands every entry of some rooms to `print`, one line of JSON each, in order.
pub async fn dump_journal(
    config: &Config,
    rooms: &[RoomId],
    mut print: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    const PAGE_BYTES: usize = 1_024 * 1_024;
    let dump = async |journal: Arc<dyn Journal>| {
        for room in rooms {
            let mut after = Seq::ZERO;
            loop {
                let page = journal.log(*room, after, PAGE_BYTES).await?;
                for entry in &page.entries {
                    print(&format!("{}\n", entry.to_json()))?;
                    after = entry.seq;
                }
                if !page.more {
                    break;
                }
            }
        }
        Ok(())
    };
    with_journal(config, dump).await
}

/// Looks through these rooms, or all, for entries that are not as they were written, and hands each to `found`.
pub async fn audit_journal(
    config: &Config,
    rooms: &[RoomId],
    mut found: impl FnMut(Finding),
) -> anyhow::Result<Audited> {
    let audit = async |journal: Arc<dyn Journal>| {
        if rooms.is_empty() {
            return Ok(journal::audit_all(&*journal, &mut found).await?);
        }
        let mut audited = Audited::default();
        for room in rooms {
            audited.add(journal::audit(&*journal, *room, &mut found).await?);
        }
        Ok(audited)
    };
    with_journal(config, audit).await
}

/// Opens the journal as a server would, but serves nobody.
async fn with_journal<T>(
    config: &Config,
    work: impl AsyncFnOnce(Arc<dyn Journal>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let _lock = lock_data(config.database_url.expose())?;
    let stores = Background::default();
    let sql = open_sql(config).await?;
    let journal = open_journal(config, &sql, &stores).await?;
    journal.verify().await?;
    let done = work(journal).await;
    stores.end().await;
    done
}
