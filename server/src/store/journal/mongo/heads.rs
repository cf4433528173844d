//! The heads of rooms: one aggregation for all of them, which starts from the epoch's document.
//!
//! A head only rises, so the query starts from the head that this instance knew last: is its slot still taken, and is
//! the next one taken? Both are looked up by `_id`, whatever the length of the room. The newest entry is read only for
//! rooms that have moved on, or that this instance did not know.

use super::{
    EPOCH, LIST_MAX, MongoJournal, document, document::slot, document::uuid, unavailable,
    within_deadline,
};
use crate::store::journal::{
    Heads, JournalError, Result, RoomHead,
    encoding::{seq_from, signed, unsound},
};
use anyhow::anyhow;
use bson::{Document, doc};
use futures::{StreamExt, TryStreamExt, stream};
use roost_schema::{Epoch, RoomId, Seq};
use std::collections::HashMap;

/// How many rooms' newest entries are read at a time.
const NEWEST_CONCURRENT: usize = 4;

pub(super) async fn heads(journal: &MongoJournal, rooms: &[RoomId]) -> Result<Heads> {
    let (first, rest) = rooms.split_at(rooms.len().min(LIST_MAX));
    let mut heads = heads_of(journal, first).await?;
    for rooms in rest.chunks(LIST_MAX) {
        let further = heads_of(journal, rooms).await?;
        if further.epoch != heads.epoch {
            let error = anyhow!("the epoch changed while the heads were read");
            return Err(JournalError::Unavailable(error));
        }
        heads.rooms.extend(further.rooms);
    }
    Ok(heads)
}

async fn heads_of(journal: &MongoJournal, rooms: &[RoomId]) -> Result<Heads> {
    let known: HashMap<_, _> = rooms
        .iter()
        .map(|room| (*room, journal.known.get(room).unwrap_or_default()))
        .collect();
    let answer = ask(journal, &known).await?;
    let mut stands: HashMap<_, _> = rooms
        .iter()
        .map(|room| (*room, RoomHead::default()))
        .collect();
    for entry in documents(&answer, "entries")? {
        if let Some(room) = stands.get_mut(&RoomId::from_uuid(document::uuid_from(entry, "room")?))
        {
            room.head = room.head.max(seq_of(entry, "seq")?);
        }
    }
    for floor in documents(&answer, "floors")? {
        if let Some(room) = stands.get_mut(&RoomId::from_uuid(document::uuid_from(floor, "_id")?)) {
            room.floor = seq_of(floor, "floor")?;
        }
    }
    // A room found at its known slot has this head. Beyond the slot it has moved on. A known room that was not found at
    // all was restored from a backup, and its known head no longer counts.
    let moved = stands
        .iter()
        .filter(|(room, stand)| stand.head != known[*room]);
    let moved: Vec<_> = moved.map(|(room, stand)| (*room, stand.head)).collect();
    let mut newest = stream::iter(moved)
        .map(async |(room, from)| Ok((room, newest(journal, room, from).await?)))
        .buffer_unordered(NEWEST_CONCURRENT);
    while let Some((room, head)) = newest.try_next().await? {
        stands.entry(room).or_default().head = head;
        journal.known.insert(room, head);
    }
    let epoch = Epoch(seq_of(&answer, "epoch")?.0);
    Ok(Heads {
        epoch,
        rooms: stands,
    })
}

/// The epoch, the floors, and which of the known slots and of the slots after them are taken.
async fn ask(journal: &MongoJournal, known: &HashMap<RoomId, Seq>) -> Result<Document> {
    let rooms: Vec<_> = known.keys().map(|room| uuid(room.as_uuid())).collect();
    let slots: Vec<_> = known
        .iter()
        .flat_map(|(room, seq)| [slot(*room, *seq), slot(*room, seq.next())])
        .collect();
    let pipeline = [
        doc! { "$match": { "_id": EPOCH } },
        doc! { "$project": { "epoch": 1, "rooms": { "$literal": rooms }, "slots": { "$literal": slots } } },
        doc! { "$lookup": { "from": journal.entries.name(), "as": "entries",
        "localField": "slots", "foreignField": "_id",
        "pipeline": [{ "$project": { "_id": 0, "room": 1, "seq": 1 } }] } },
        doc! { "$lookup": { "from": journal.floors.name(), "as": "floors",
        "localField": "rooms", "foreignField": "_id" } },
        doc! { "$project": { "epoch": 1, "entries": 1, "floors": 1 } },
    ];
    let read = async { journal.epochs.aggregate(pipeline).await?.try_next().await };
    let answer = within_deadline(read).await.map_err(unavailable)?;
    answer.ok_or_else(|| unsound("it has no epoch"))
}

async fn newest(journal: &MongoJournal, room: RoomId, from: Seq) -> Result<Seq> {
    let filter = doc! { "room": uuid(room.as_uuid()), "seq": { "$gte": signed(from.0) } };
    let read = async {
        let newest = journal.entries.find_one(filter).sort(doc! { "seq": -1 });
        newest.projection(doc! { "_id": 0, "seq": 1 }).await
    };
    match within_deadline(read).await.map_err(unavailable)? {
        Some(newest) => seq_of(&newest, "seq"),
        None => Ok(Seq::ZERO),
    }
}

fn documents<'a>(answer: &'a Document, array: &str) -> Result<impl Iterator<Item = &'a Document>> {
    let array = answer.get_array(array).map_err(unsound)?;
    Ok(array.iter().filter_map(bson::Bson::as_document))
}

fn seq_of(document: &Document, field: &str) -> Result<Seq> {
    seq_from(document.get_i64(field).map_err(unsound)?)
}
