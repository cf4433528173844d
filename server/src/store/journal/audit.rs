//! Checks whole rooms for damage that no single read can notice: a gap below the head, a newest entry that is not
//! marked current, an operation or a term that its index does not find.
//!
//! The audit reads every entry. It keeps the newest state of each item of one room in memory, without bodies. Servers
//! may run beside it.

use super::{Entry, FindQuery, FindRoom, Journal, JournalError, Result, seal};
use roost_schema::{Direction, ItemId, Op, OpId, RoomId, Seq, UserId};
use std::collections::HashMap;

/// How many bytes of bodies one read asks for.
const PAGE_BYTES: usize = 1_024 * 1_024;
/// How many entries are read one by one after a page that cannot be read.
const SINGLE_READS: u32 = 1_024;
/// How many rooms one query lists.
const ROOMS_AT_ONCE: usize = 100;

/// An entry that is not stored as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub room: RoomId,
    pub seq: Seq,
    pub problem: String,
}

/// How much was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    pub rooms: u64,
    pub entries: u64,
    /// Entries of a release that wrote no seals: a changed bit in them cannot be noticed.
    pub unsealed: u64,
    /// Older entries of an item that are still marked current; readers skip them.
    pub left_current: u64,
}

/// Checks every room.
pub async fn audit_all(journal: &dyn Journal, mut found: impl FnMut(Finding)) -> Result<Audited> {
    let mut audited = Audited::default();
    let mut after = None;
    loop {
        let rooms = journal.rooms(after, ROOMS_AT_ONCE).await?;
        for room in &rooms {
            audited.add(audit(journal, *room, &mut found).await?);
        }
        if rooms.len() < ROOMS_AT_ONCE {
            return Ok(audited);
        }
        after = rooms.last().copied();
    }
}

/// Checks one room.
pub async fn audit(
    journal: &dyn Journal,
    room: RoomId,
    found: impl FnMut(Finding),
) -> Result<Audited> {
    let mut walk = Walk {
        journal,
        room,
        found,
        items: HashMap::new(),
        audited: Audited {
            rooms: 1,
            ..Audited::default()
        },
    };
    walk.entries().await?;
    walk.newest().await?;
    Ok(walk.audited)
}

impl Audited {
    /// Adds the counts of another check.
    pub fn add(&mut self, room: Self) {
        self.rooms += room.rooms;
        self.entries += room.entries;
        self.unsealed += room.unsealed;
        self.left_current += room.left_current;
    }
}

struct Walk<'a, Found> {
    journal: &'a dyn Journal,
    room: RoomId,
    found: Found,
    /// The newest state of each item.
    items: HashMap<ItemId, Entry>,
    audited: Audited,
}

impl<Found: FnMut(Finding)> Walk<'_, Found> {
    /// Reads every entry page by page, and one by one after a page that cannot be read.
    async fn entries(&mut self) -> Result<()> {
        let (mut after, mut singles) = (Seq::ZERO, 0_u32);
        loop {
            let limit_bytes = if singles == 0 { PAGE_BYTES } else { 0 };
            singles = singles.saturating_sub(1);
            let unsealed_before = seal::unsealed_read();
            let page = self.journal.log(self.room, after, limit_bytes).await;
            self.audited.unsealed += seal::unsealed_read() - unsealed_before;
            match page {
                Ok(page) => {
                    self.check_operations(&page.entries).await?;
                    after = page.entries.last().map_or(after, |entry| entry.seq);
                    for entry in page.entries {
                        self.follow(entry);
                    }
                    if !page.more {
                        return self.check_head(after).await;
                    }
                }
                Err(error) if error.is_lasting() && limit_bytes > 0 => singles = SINGLE_READS,
                Err(error) if error.is_lasting() => {
                    // Emptied entries have no bytes, so the same read may have passed some before the corrupt one.
                    after = match &error {
                        JournalError::Corrupt { seq, .. } => *seq,
                        _ => after.next(),
                    };
                    self.report(after, problem(error));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn follow(&mut self, mut entry: Entry) {
        self.audited.entries += 1;
        if !entry.op.sets_state() {
            return;
        }
        // The body is dropped to save memory: no later check needs it.
        entry.body = roost_schema::Body::null();
        if let Some(older) = self.items.insert(entry.item, entry) {
            self.audited.left_current += u64::from(older.current);
        }
    }

    /// Checks that operations are found. A retry would repeat an operation that is not found.
    async fn check_operations(&mut self, entries: &[Entry]) -> Result<()> {
        let with_id = |entry: &Entry| Some(((entry.actor, entry.op_id.clone()?), entry.seq));
        let made: HashMap<(UserId, OpId), Seq> = entries.iter().filter_map(with_id).collect();
        if made.is_empty() {
            return Ok(());
        }
        let asked: Vec<_> = made.keys().cloned().collect();
        let found = self.journal.operations(self.room, &asked).await;
        let Some(found) = unless_reported(found)? else {
            return Ok(());
        };
        let found: HashMap<_, _> = found.iter().filter_map(with_id).collect();
        for (operation, seq) in made {
            if found.get(&operation) != Some(&seq) && !self.is_emptied(seq).await? {
                self.report(seq, "it is not found by its operation id".to_owned());
            }
        }
        Ok(())
    }

    async fn check_head(&mut self, last: Seq) -> Result<()> {
        let heads = self.journal.heads(&[self.room]).await?;
        let stands = heads.rooms.get(&self.room).copied().unwrap_or_default();
        if stands.head < last {
            self.report(last, format!("the head is said to be {}", stands.head));
        }
        if stands.floor > stands.head {
            self.report(
                last,
                format!("the floor {} is above the head", stands.floor),
            );
        }
        Ok(())
    }

    /// Checks that the newest entry of each item is marked current and is found by its terms, because readers find it
    /// that way.
    async fn newest(&mut self) -> Result<()> {
        for entry in std::mem::take(&mut self.items).into_values() {
            let is_emptied = entry.op_id.is_none() && entry.op == Op::Delete;
            let checked = if !entry.current && !is_emptied {
                let problem = "it is the newest of its item and not marked current";
                self.report_unless_changed(&entry, problem).await
            } else {
                self.check_terms(&entry).await
            };
            unless_reported(checked)?;
        }
        Ok(())
    }

    async fn check_terms(&mut self, entry: &Entry) -> Result<()> {
        if entry.op != Op::Put {
            return Ok(());
        }
        let beyond = Seq(entry.born.0.saturating_sub(1));
        for term in entry.terms.iter() {
            let asked = FindRoom {
                room: self.room,
                beyond: Some(beyond),
            };
            let query = FindQuery {
                kind: entry.kind.clone(),
                term: Some(term.clone()),
                direction: Direction::Newer,
                limit_items: 1,
            };
            let found = self.journal.find_in(asked, query).await?;
            if found.entries.first().map(|found| found.item) != Some(entry.item) {
                let problem = format!("it is not found by its term {}", term.as_str());
                self.report_unless_changed(entry, &problem).await?;
            }
        }
        Ok(())
    }

    /// Reports a problem, unless a writer has changed the item since it was read.
    async fn report_unless_changed(&mut self, entry: &Entry, problem: &str) -> Result<()> {
        let newest = self.journal.items(self.room, &[entry.item]).await?;
        let is_newest = newest.iter().all(|newest| newest.seq <= entry.seq);
        if is_newest && !self.is_emptied(entry.seq).await? {
            self.report(entry.seq, problem.to_owned());
        }
        Ok(())
    }

    /// Whether a server has cleaned the entry up since it was read.
    async fn is_emptied(&self, seq: Seq) -> Result<bool> {
        let before = Seq(seq.0.saturating_sub(1));
        let page = unless_reported(self.journal.log(self.room, before, 0).await)?;
        let first = page.and_then(|page| page.entries.into_iter().next());
        Ok(first.is_some_and(|entry| entry.op_id.is_none()))
    }

    fn report(&mut self, seq: Seq, problem: String) {
        let room = self.room;
        (self.found)(Finding { room, seq, problem });
    }
}

/// Turns a read error of a damaged entry into `None`, because the walk over all entries reports that entry.
fn unless_reported<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(error) if error.is_lasting() => Ok(None),
        read => read.map(Some),
    }
}

fn problem(error: JournalError) -> String {
    match error {
        JournalError::Corrupt { problem, .. } | JournalError::Unsound(problem) => problem,
        other => other.to_string(),
    }
}
