//! Emptying old entries. Their documents are never deleted, because a free slot could be given twice.

use super::{MongoJournal, append, document, document::uuid, unavailable, within_deadline};
use crate::store::journal::{
    Result, Trim,
    encoding::{seq_from, signed, unsound},
    seal::NO_REQUEST,
};
use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use roost_schema::{ItemId, Op, RoomId, Seq};
use std::collections::BTreeMap;

/// How many documents one command empties, so that no command takes long.
const STEP_DOCUMENTS: usize = 500;

/// Empties tombstones, after raising the floor of each room above them.
pub(super) async fn tombstones(journal: &MongoJournal, bounds: Trim) -> Result<u64> {
    let filter = doc! {
        "current": true,
        "op": Op::Delete.as_str(),
        "at": { "$lt": bounds.tombstones_before.timestamp_millis() },
    };
    let mut emptied = 0;
    loop {
        let found = find_step(journal, filter.clone()).await?;
        let mut rooms: BTreeMap<RoomId, BTreeMap<ItemId, Seq>> = BTreeMap::new();
        for document in &found {
            let room = RoomId::from_uuid(document::uuid_from(document, "room")?);
            let item = ItemId::from_uuid(document::uuid_from(document, "item")?);
            let seq = seq_from(document.get_i64("seq").map_err(unsound)?)?;
            let newest = rooms.entry(room).or_default().entry(item).or_default();
            *newest = seq.max(*newest);
        }
        for (room, tombstones) in &rooms {
            raise_floor(journal, *room, tombstones).await?;
            // Otherwise an older entry that is still marked current would become the item's state again.
            append::clear(journal, *room, tombstones).await?;
        }
        emptied += empty(journal, &found).await?;
        if found.len() < STEP_DOCUMENTS {
            return Ok(emptied);
        }
    }
}

/// Empties superseded entries.
pub(super) async fn superseded(journal: &MongoJournal, bounds: Trim) -> Result<u64> {
    let filter = doc! {
        "current": false,
        "body": { "$exists": true },
        "at": { "$lt": bounds.superseded_before.timestamp_millis() },
    };
    let mut emptied = 0;
    loop {
        let found = find_step(journal, filter.clone()).await?;
        emptied += empty(journal, &found).await?;
        if found.len() < STEP_DOCUMENTS {
            return Ok(emptied);
        }
    }
}

async fn find_step(journal: &MongoJournal, filter: Document) -> Result<Vec<Document>> {
    let read = async {
        let find = journal
            .entries
            .find(filter)
            .limit(STEP_DOCUMENTS.try_into().unwrap_or(i64::MAX));
        let find = find.projection(doc! { "room": 1, "item": 1, "seq": 1 });
        find.await?.try_collect().await
    };
    within_deadline(read).await.map_err(unavailable)
}

async fn raise_floor(
    journal: &MongoJournal,
    room: RoomId,
    tombstones: &BTreeMap<ItemId, Seq>,
) -> Result<()> {
    let floor = tombstones.values().max().copied().unwrap_or_default();
    let filter = doc! { "_id": uuid(room.as_uuid()) };
    let raise = doc! { "$max": { "floor": signed(floor.0) } };
    within_deadline(async { journal.floors.update_one(filter, raise).upsert(true).await })
        .await
        .map_err(append::failed_write)?;
    Ok(())
}

async fn empty(journal: &MongoJournal, found: &[Document]) -> Result<u64> {
    if found.is_empty() {
        return Ok(0);
    }
    let ids: Vec<_> = found
        .iter()
        .filter_map(|document| document.get("_id").cloned())
        .collect();
    let filter = doc! { "_id": { "$in": Bson::Array(ids) } };
    // In an entry without an op id the seq takes the operation's place.
    let change = vec![
        doc! { "$set": {
            "current": false, "operation": "$seq", "hash": document::generic(NO_REQUEST.0.to_vec()),
        } },
        doc! { "$unset": ["body", "terms", "asked", "salt"] },
    ];
    let emptied = within_deadline(async { journal.entries.update_many(filter, change).await })
        .await
        .map_err(append::failed_write)?;
    Ok(emptied.modified_count)
}
