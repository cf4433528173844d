//! Reading entries: pages cut by bytes, and look-ups by id.

use super::{
    LIST_MAX, MongoJournal, document,
    document::{operation, uuid},
    unavailable, within_deadline,
};
use crate::store::journal::{
    Entry, FindQuery, FindRoom, PAGE_ENTRIES_MAX, Page, Result, check_log, encoding::signed,
};
use bson::{Document, doc};
use futures::TryStreamExt;
use roost_schema::{Direction, ItemId, Op, OpId, RoomId, Seq, Term, UserId};
use std::collections::{BTreeSet, HashMap};

/// How many items one query asks the newest states of: the query takes longer for each listed item.
const STATES_AT_ONCE: usize = 128;
/// Documents fetched at a time; a reply is never larger than 16 MB.
const FETCH_DOCUMENTS: u32 = 256;

pub(super) async fn log(
    journal: &MongoJournal,
    room: RoomId,
    after: Seq,
    limit_bytes: usize,
) -> Result<Page> {
    // Seqs have no gaps, so the last seq that the page can need is known: one more than it may hold.
    let last = after.0.saturating_add(PAGE_ENTRIES_MAX as u64 + 1);
    let filter = doc! {
        "room": uuid(room.as_uuid()),
        "seq": { "$gt": signed(after.0), "$lte": signed(last) },
    };
    let cut = Cut::by_bytes(limit_bytes);
    let page = page(journal, room, filter, cut, |_| true).await?;
    check_log(room, after, page)
}

/// Of two current entries of an item the higher seq is its state, even when it is beyond the page. The command that
/// clears the older entry may have failed, and no reader may get a deleted body.
pub(super) async fn changes(
    journal: &MongoJournal,
    room: RoomId,
    mut since: Seq,
    limit_bytes: usize,
) -> Result<Page> {
    loop {
        let filter = doc! {
            "room": uuid(room.as_uuid()),
            "current": true,
            "seq": { "$gt": signed(since.0) },
        };
        let cut = Cut::by_bytes(limit_bytes);
        let mut page = page(journal, room, filter, cut, |_| true).await?;
        let newest = newest_states(journal, room, &page).await?;
        since = page.entries.last().map_or(since, |entry| entry.seq);
        page.entries.retain(|entry| {
            let newest = newest.get(&entry.item);
            newest.is_none_or(|newest| *newest <= entry.seq)
        });
        // A page with `more` set must not be empty.
        if !page.entries.is_empty() || !page.more {
            return Ok(page);
        }
    }
}

/// The seqs of the newest states of a page's items, which may be beyond the page.
async fn newest_states(
    journal: &MongoJournal,
    room: RoomId,
    page: &Page,
) -> Result<HashMap<ItemId, Seq>> {
    if !page.more {
        return Ok(newest_of(page.entries.iter()));
    }
    let asked: BTreeSet<_> = page.entries.iter().map(|entry| entry.item).collect();
    let asked: Vec<_> = asked.into_iter().collect();
    let mut newest = HashMap::with_capacity(asked.len());
    for asked in asked.chunks(STATES_AT_ONCE) {
        let states = items(journal, room, asked).await?;
        newest.extend(states.iter().map(|entry| (entry.item, entry.seq)));
    }
    Ok(newest)
}

/// The seq of the newest state of each item.
fn newest_of<'a>(entries: impl Iterator<Item = &'a Entry>) -> HashMap<ItemId, Seq> {
    let mut newest = HashMap::new();
    for entry in entries.filter(|entry| entry.op.sets_state()) {
        let known = newest.entry(entry.item).or_insert(entry.seq);
        *known = entry.seq.max(*known);
    }
    newest
}

/// A page of one room's items. The index is ordered by `born`, which two current entries of one item share, so either
/// may come first. The newest is therefore looked up, and tombstones are dropped after that.
pub(super) async fn find(
    journal: &MongoJournal,
    asked: FindRoom,
    query: &FindQuery,
    limit_bytes: usize,
) -> Result<Page> {
    let FindRoom { room, mut beyond } = asked;
    loop {
        let mut last = None;
        let cut = Cut {
            order: order(query.direction),
            limit_entries: query.limit_items,
            limit_bytes,
        };
        let filter = found(room, beyond, query);
        let mut page = page(journal, room, filter, cut, |entry| {
            entry.op == Op::Put && last.replace(entry.item) != Some(entry.item)
        })
        .await?;
        beyond = page.entries.last().map(|entry| entry.born);
        page.entries = newest_found(journal, room, page.entries, query).await?;
        // A page with `more` set must not be empty.
        if !page.entries.is_empty() || !page.more {
            return Ok(page);
        }
    }
}

/// The newest entries of the found items, some of which may have been changed or deleted since.
async fn newest_found(
    journal: &MongoJournal,
    room: RoomId,
    found: Vec<Entry>,
    query: &FindQuery,
) -> Result<Vec<Entry>> {
    let asked: Vec<_> = found.iter().map(|entry| entry.item).collect();
    let mut newest = HashMap::with_capacity(asked.len());
    for asked in asked.chunks(STATES_AT_ONCE) {
        let states = items(journal, room, asked).await?;
        newest.extend(states.into_iter().map(|entry| (entry.item, entry)));
    }
    let is_found = |entry: &Entry| {
        let has = |term: &Term| entry.terms.iter().any(|named| named == term);
        entry.op == Op::Put && entry.kind == query.kind && query.term.as_ref().is_none_or(has)
    };
    let newest = asked.iter().filter_map(|item| newest.remove(item));
    Ok(newest.filter(is_found).collect())
}

fn order(direction: Direction) -> Document {
    let direction = match direction {
        Direction::Newer => 1,
        Direction::Older => -1,
    };
    doc! { "born": direction }
}

fn found(room: RoomId, beyond: Option<Seq>, query: &FindQuery) -> Document {
    let mut filter = doc! {
        "room": uuid(room.as_uuid()),
        "kind": query.kind.as_str(),
        "current": true,
    };
    if let Some(term) = &query.term {
        filter.insert("terms", term.as_str());
    }
    if let Some(seq) = beyond {
        let passes = match query.direction {
            Direction::Newer => "$gt",
            Direction::Older => "$lt",
        };
        filter.insert("born", doc! { passes: signed(seq.0) });
    }
    filter
}

/// The order of a page and its limits.
struct Cut {
    order: Document,
    limit_entries: usize,
    limit_bytes: usize,
}

impl Cut {
    fn by_bytes(limit_bytes: usize) -> Self {
        Self {
            order: doc! { "seq": 1 },
            limit_entries: PAGE_ENTRIES_MAX,
            limit_bytes,
        }
    }
}

/// Takes matching entries off the cursor until one does not fit: at least one if there is any.
async fn page(
    journal: &MongoJournal,
    room: RoomId,
    filter: Document,
    cut: Cut,
    mut is_wanted: impl FnMut(&Entry) -> bool,
) -> Result<Page> {
    let open = async {
        let find = journal.entries.find(filter).sort(cut.order);
        find.batch_size(FETCH_DOCUMENTS).await
    };
    let mut cursor = within_deadline(open).await.map_err(unavailable)?;
    let (mut entries, mut bytes) = (Vec::new(), 0_usize);
    while let Some(document) = within_deadline(cursor.try_next())
        .await
        .map_err(unavailable)?
    {
        let with_this = bytes.saturating_add(size_bytes(&document));
        let is_full = with_this > cut.limit_bytes || entries.len() >= cut.limit_entries;
        let is_last = is_full && !entries.is_empty();
        match document::entry(room, &document) {
            Ok(entry) if !is_wanted(&entry) => {}
            // The next entry belongs to the next page: it is not decoded here, because it may be corrupt.
            _ if is_last => {
                let more = true;
                return Ok(Page { entries, more });
            }
            entry => {
                entries.push(entry?);
                bytes = with_this;
            }
        }
    }
    let more = false;
    Ok(Page { entries, more })
}

/// The bytes of a body; an emptied entry has none.
fn size_bytes(document: &Document) -> usize {
    document.get_str("body").map_or(0, str::len)
}

pub(super) async fn items(
    journal: &MongoJournal,
    room: RoomId,
    items: &[ItemId],
) -> Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(items.len());
    for items in items.chunks(LIST_MAX) {
        let items: Vec<_> = items.iter().map(|item| uuid(item.as_uuid())).collect();
        let filter = doc! {
            "room": uuid(room.as_uuid()), "item": { "$in": items }, "current": true,
        };
        entries.extend(all(journal, room, filter).await?);
    }
    let newest = newest_of(entries.iter());
    entries.retain(|entry| newest.get(&entry.item) == Some(&entry.seq));
    Ok(entries)
}

pub(super) async fn operations(
    journal: &MongoJournal,
    room: RoomId,
    operations: &[(UserId, OpId)],
) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for operations in operations.chunks(LIST_MAX) {
        let asked: Vec<_> = operations
            .iter()
            .map(|(actor, op_id)| operation(*actor, op_id))
            .collect();
        let filter = doc! { "room": uuid(room.as_uuid()), "operation": { "$in": asked } };
        entries.extend(all(journal, room, filter).await?);
    }
    Ok(entries)
}

/// One step through the index by (room, seq) for each room, however many entries the room has.
pub(super) async fn rooms(
    journal: &MongoJournal,
    mut beyond: Option<RoomId>,
    limit_rooms: usize,
) -> Result<Vec<RoomId>> {
    let mut rooms = Vec::new();
    while rooms.len() < limit_rooms {
        let filter = beyond.map(|room| doc! { "room": { "$gt": uuid(room.as_uuid()) } });
        let next = async {
            let next = journal.entries.find_one(filter.unwrap_or_default());
            let next = next.sort(doc! { "room": 1, "seq": 1 });
            next.projection(doc! { "_id": 0, "room": 1 }).await
        };
        let Some(next) = within_deadline(next).await.map_err(unavailable)? else {
            break;
        };
        let room = RoomId::from_uuid(document::uuid_from(&next, "room")?);
        rooms.push(room);
        beyond = Some(room);
    }
    Ok(rooms)
}

async fn all(journal: &MongoJournal, room: RoomId, filter: Document) -> Result<Vec<Entry>> {
    let read = async {
        journal
            .entries
            .find(filter)
            .await?
            .try_collect::<Vec<_>>()
            .await
    };
    let documents = within_deadline(read).await.map_err(unavailable)?;
    documents
        .iter()
        .map(|document| document::entry(room, document))
        .collect()
}
