//! What every kind of item shares: how one is written, deleted and read.

use super::kind::ItemKind;
use crate::{
    app::{
        Actor, App, Error, Permission, Result,
        access::permit_writing,
        operations::{Asked, Operation},
        page::{Cursor, page_limit},
    },
    live::{Change, Refusal, RoomView},
    store::journal::{Entry, FindQuery, FindRoom, RequestHash, Terms},
};
use chrono::{DateTime, SubsecRound, Utc};
use roost_schema::{
    Body, Direction, ErrorCode, ItemId, Op, OpId, PageQuery, Position, RoomId, Seq,
};

/// A write of one item, judged by the room's state at the head it would follow.
pub(super) struct Put<K: ItemKind> {
    actor: Actor,
    item: ItemId,
    /// The item's id was made for this write.
    is_new: bool,
    /// Absent: the item has to be there.
    draft: Option<K::Draft>,
    /// Absent: the item must not be there.
    patch: Option<K::Patch>,
    if_match: Option<Seq>,
    at: DateTime<Utc>,
}

impl<K: ItemKind> Put<K> {
    /// Makes an item, with an id of the client's choice or of the server's. Errors: `invalid` for an id that is no
    /// `UUIDv7`.
    pub(super) fn create(actor: &Actor, item: Option<ItemId>, draft: K::Draft) -> Result<Self> {
        check_choice(item)?;
        Ok(Self::new(actor, item, Some(draft), None, None))
    }

    /// Changes an item.
    pub(super) fn change(
        actor: &Actor,
        item: ItemId,
        patch: K::Patch,
        if_match: Option<Seq>,
    ) -> Self {
        Self::new(actor, Some(item), None, Some(patch), if_match)
    }

    /// Makes an item, or changes the one that is there. Errors: as [`Put::create`].
    pub(super) fn either(
        actor: &Actor,
        item: Option<ItemId>,
        draft: K::Draft,
        if_match: Option<Seq>,
    ) -> Result<Self> {
        check_choice(item)?;
        let patch = K::Patch::from(&draft);
        Ok(Self::new(actor, item, Some(draft), Some(patch), if_match))
    }

    fn new(
        actor: &Actor,
        item: Option<ItemId>,
        draft: Option<K::Draft>,
        patch: Option<K::Patch>,
        if_match: Option<Seq>,
    ) -> Self {
        Self {
            actor: *actor,
            item: item.unwrap_or_else(ItemId::generate),
            is_new: item.is_none(),
            draft,
            patch,
            if_match,
            at: Utc::now().trunc_subsecs(3),
        }
    }

    /// `request_hash`: by the route, as earlier releases compare it.
    pub(super) fn into_operation(
        self,
        room: RoomId,
        op_id: Option<OpId>,
        request_hash: RequestHash,
    ) -> Operation {
        let body = match &self.draft {
            Some(draft) => Body::encode(draft).ok(),
            None => Body::encode(&self.patch).ok(),
        };
        let body_bytes = body.as_ref().map_or(0, |body| body.as_str().len());
        // A patch made of a draft holds as much again.
        let copies = usize::from(self.draft.is_some()) + usize::from(self.patch.is_some());
        let asked = Asked {
            room,
            item: (!self.is_new).then_some(self.item),
            kind: Some(K::KIND),
            op: Op::Put,
            body,
            if_match: self.if_match,
        };
        Operation {
            op_id,
            request_hash,
            asked_hash: asked.hash(),
            item: self.item,
            is_new: self.is_new,
            bytes: copies * body_bytes,
            judge: Box::new(move |room| self.judge(room)),
        }
    }

    fn judge(&self, room: &RoomView) -> Result<Change, Refusal> {
        let by = permit_writing(room, &self.actor, K::WRITE, self.at)?;
        let known = room.item(self.item);
        let state = match (living::<K>(known), &self.draft, &self.patch) {
            (Some(_), _, None) => return Err(ID_TAKEN),
            (Some((entry, state)), _, Some(patch)) => {
                refuse_stale(self.if_match, entry)?;
                state.patch(patch, &by)?
            }
            (None, None, _) => return Err(K::MISSING),
            (None, Some(_), _) if known.is_some() => return Err(ID_TAKEN),
            (None, Some(_), _) if self.if_match.is_some() => return Err(STALE),
            (None, Some(draft), _) => K::create(draft, &by)?,
        };
        let body = Body::encode(&state).map_err(|_| UNREADABLE)?;
        Ok(Change {
            item: self.item,
            kind: K::KIND,
            op: Op::Put,
            body,
            terms: Terms::default(),
        })
    }
}

/// Deletes an item of this kind as of a head: one's own, or anyone's by those who may moderate.
pub(super) fn delete<K: ItemKind>(
    room: &RoomView,
    actor: &Actor,
    known: Option<&Entry>,
    if_match: Option<Seq>,
) -> Result<Change, Refusal> {
    let (entry, state) = living::<K>(known).ok_or(K::MISSING)?;
    let needed = if state.author() == actor.user_id {
        K::WRITE
    } else {
        Permission::Moderate
    };
    permit_writing(room, actor, needed, Utc::now())?;
    refuse_stale(if_match, entry)?;
    Ok(Change {
        item: entry.item,
        kind: K::KIND,
        op: Op::Delete,
        body: Body::null(),
        terms: Terms::default(),
    })
}

/// A page of a room's items of one kind.
pub(super) struct EntryPage {
    pub(super) entries: Vec<Entry>,
    /// Where the next page begins; absent on the last one.
    pub(super) next: Option<String>,
    /// The room's position before the first page was read.
    pub(super) position: Position,
}

impl App {
    /// The newest entry of an item of this kind.
    pub(super) async fn read_item<K: ItemKind>(
        &self,
        actor: &Actor,
        room: RoomId,
        item: ItemId,
    ) -> Result<Entry> {
        let room = self.enter_room(actor, room, Permission::Read).await?;
        let found = self.store.journal.items(room.room_id, &[item]).await?;
        let is_one = |entry: &Entry| entry.kind == K::KIND && entry.op == Op::Put;
        found
            .into_iter()
            .find(is_one)
            .ok_or_else(|| K::MISSING.into())
    }

    /// A page of the room's items of this kind by birth, with the head that was read before the first page.
    pub(super) async fn list_items<K: ItemKind>(
        &self,
        actor: &Actor,
        room: RoomId,
        direction: Direction,
        page: PageQuery,
    ) -> Result<EntryPage> {
        let room = self.enter_room(actor, room, Permission::Read).await?;
        let limit_items = page_limit(&page)?;
        let (beyond, position) = match page.cursor.as_deref() {
            Some(cursor) => {
                let cursor: Cursor = cursor.parse()?;
                (Some(cursor.born), cursor.position)
            }
            None => (None, self.live.room(room.room_id).position().await?),
        };
        let query = FindQuery::all(K::KIND, direction, limit_items);
        let asked = FindRoom {
            room: room.room_id,
            beyond,
        };
        let found = self.store.journal.find_in(asked, query).await?;
        let last = found.entries.last().filter(|_| found.more);
        Ok(EntryPage {
            next: last.map(|entry| Cursor::new(entry.born, position).to_string()),
            entries: found.entries,
            position,
        })
    }
}

/// The item an entry holds, unless it is deleted or of another kind.
fn living<K: ItemKind>(entry: Option<&Entry>) -> Option<(&Entry, K)> {
    let entry = entry.filter(|entry| entry.kind == K::KIND && entry.op == Op::Put)?;
    Some((entry, entry.body.decode().ok()?))
}

fn check_choice(item: Option<ItemId>) -> Result<()> {
    match item {
        Some(item) if !item.is_choosable() => Err(Error::Invalid {
            field: "id",
            problem: "must be a UUIDv7",
        }),
        _ => Ok(()),
    }
}

fn refuse_stale(if_match: Option<Seq>, entry: &Entry) -> Result<(), Refusal> {
    match if_match {
        Some(seq) if seq != entry.seq => Err(STALE),
        _ => Ok(()),
    }
}

const fn refusal(code: ErrorCode, sentence: &'static str) -> Refusal {
    Refusal { code, sentence }
}

const ID_TAKEN: Refusal = refusal(
    ErrorCode::Conflict,
    "an item with this id exists or existed",
);
const STALE: Refusal = refusal(
    ErrorCode::Stale,
    "the item has changed since that version; read it again",
);
const UNREADABLE: Refusal = refusal(ErrorCode::Internal, "the item cannot be encoded");
