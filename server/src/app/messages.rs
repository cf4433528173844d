//! Chat messages: send, edit, delete, read.

use super::{
    Actor, App, Error, Permission, Result,
    access::permit,
    operations::{Operation, request_hash},
    page::{Cursor, page_limit},
};
use crate::{
    live::{Change, Judge, Refusal, RoomView},
    store::journal::{Entry, HistoryQuery, RequestHash},
};
use chrono::{DateTime, SubsecRound, Utc};
use roost_schema::{
    Body, DeleteItem, DeleteMessage, Direction, EditMessage, ErrorCode, ItemId, Kind, Message,
    MessagePage, MessageState, MessageText, Op, OpId, PageQuery, RoomId, SendMessage, Seq,
};
use serde::{Deserialize, Serialize};
use std::future::Future;

impl App {
    /// Posts a message. The write takes its place in the room's queue before this returns; await the
    /// answer to know what became of it.
    pub fn send_message(
        &self,
        actor: &Actor,
        room: RoomId,
        input: SendMessage,
    ) -> impl Future<Output = Result<Message>> + Send + use<> {
        let request_hash = request_hash("send", &(room, &input.text, input.id));
        let queued = parse_text(&input.text)
            .and_then(|text| PutJudge::new(actor, input.id, text, PutMode::Create, None))
            .map(|judge| self.write(actor, room, judge.into_operation(input.op_id, request_hash)));
        async move { message_of(&queued?.await?) }
    }

    /// Edits one's own message; queued like [`App::send_message`].
    pub fn edit_message(
        &self,
        actor: &Actor,
        room: RoomId,
        message: ItemId,
        input: EditMessage,
    ) -> impl Future<Output = Result<Message>> + Send + use<> {
        let request_hash = request_hash("edit", &(room, message, &input.text, input.if_match));
        let queued = parse_text(&input.text)
            .and_then(|text| {
                PutJudge::new(actor, Some(message), text, PutMode::Edit, input.if_match)
            })
            .map(|judge| self.write(actor, room, judge.into_operation(input.op_id, request_hash)));
        async move { message_of(&queued?.await?) }
    }

    /// Deletes one's own message, or anyone's as an owner; queued like [`App::send_message`].
    pub fn delete_message(
        &self,
        actor: &Actor,
        room: RoomId,
        message: ItemId,
        input: DeleteMessage,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let input = DeleteItem {
            room,
            item: message,
            op_id: input.op_id,
            if_match: input.if_match,
        };
        let deleted = self.delete(actor, input, NO_SUCH_MESSAGE);
        async move { deleted.await.map(drop) }
    }

    pub async fn read_message(
        &self,
        actor: &Actor,
        room: RoomId,
        message: ItemId,
    ) -> Result<Message> {
        let room = self.enter_room(actor, room, Permission::Read).await?;
        let found = self.store.journal.items(room.room_id, &[message]).await?;
        found
            .iter()
            .find(|entry| entry.kind == Kind::Message && entry.op == Op::Put)
            .map_or(Err(NO_SUCH_MESSAGE.into()), message_of)
    }

    /// A page of the room's history by birth, with the head that was read before the first page.
    pub async fn list_messages(
        &self,
        actor: &Actor,
        room: RoomId,
        direction: Direction,
        page: PageQuery,
    ) -> Result<MessagePage> {
        let room = self.enter_room(actor, room, Permission::Read).await?;
        let limit_items = page_limit(&page)?;
        let (beyond, position) = match page.cursor.as_deref() {
            Some(cursor) => {
                let cursor: Cursor = cursor.parse()?;
                (Some(cursor.born), cursor.position)
            }
            None => (None, self.live.room(room.room_id).position().await?),
        };
        let query = HistoryQuery {
            kind: Kind::Message,
            direction,
            beyond,
            limit_items,
        };
        let found = self.store.journal.history(room.room_id, query).await?;
        let last = found.entries.last().filter(|_| found.more);
        Ok(MessagePage {
            next: last.map(|entry| Cursor::new(entry.born, position).to_string()),
            items: found
                .entries
                .iter()
                .map(message_of)
                .collect::<Result<_>>()?,
            position,
        })
    }
}

/// The body of a message item as clients write it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageBody {
    text: String,
}

impl MessageBody {
    pub(super) fn parse(body: &serde_json::Value) -> Result<Self> {
        let body = Self::deserialize(body).map_err(|_| Error::Invalid {
            field: "body",
            problem: "must be {\"text\": …} for a message",
        })?;
        parse_text(&body.text)
    }
}

fn parse_text(text: &str) -> Result<MessageBody> {
    if text.len() > roost_schema::MESSAGE_BYTES_MAX {
        return Err(Error::refused(
            ErrorCode::TooLarge,
            "a message is at most 32 KiB",
        ));
    }
    let text: MessageText =
        text.parse()
            .map_err(|problem: roost_schema::Invalid| Error::Invalid {
                field: "text",
                problem: problem.0,
            })?;
    Ok(MessageBody {
        text: text.into_string(),
    })
}

/// Whether a put may create a message, change one, or either.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PutMode {
    Create,
    Edit,
    Either,
}

/// Judges a message that is sent or edited.
pub(super) struct PutJudge {
    actor: Actor,
    item: ItemId,
    is_new: bool,
    text: String,
    mode: PutMode,
    if_match: Option<Seq>,
    at: DateTime<Utc>,
}

impl PutJudge {
    /// Errors: `invalid` when the chosen id is not a `UUIDv7`.
    pub(super) fn new(
        actor: &Actor,
        item: Option<ItemId>,
        body: MessageBody,
        mode: PutMode,
        if_match: Option<Seq>,
    ) -> Result<Self> {
        if mode != PutMode::Edit && item.is_some_and(|item| !item.is_choosable()) {
            return Err(Error::Invalid {
                field: "id",
                problem: "must be a UUIDv7",
            });
        }
        Ok(Self {
            actor: *actor,
            item: item.unwrap_or_else(ItemId::generate),
            is_new: item.is_none(),
            text: body.text,
            mode,
            if_match,
            at: Utc::now().trunc_subsecs(3),
        })
    }

    pub(super) fn into_operation(
        self,
        op_id: Option<OpId>,
        request_hash: RequestHash,
    ) -> Operation {
        Operation {
            op_id,
            request_hash,
            item: self.item,
            is_new: self.is_new,
            bytes: self.text.len(),
            judge: Box::new(move |room| self.judge(room)),
        }
    }

    fn judge(&self, room: &RoomView) -> Result<Change, Refusal> {
        permit_write(room, &self.actor, Permission::SendMessages)?;
        let known = room.item(self.item);
        let state = match living_message(known) {
            Some((_, _)) if self.mode == PutMode::Create => return Err(ID_TAKEN),
            Some((entry, state)) => {
                self.refuse_stale(entry)?;
                if state.author_id != self.actor.user_id {
                    return Err(NOT_YOURS);
                }
                MessageState {
                    text: self.text.clone(),
                    edited_at: Some(self.at),
                    ..state
                }
            }
            None if self.mode == PutMode::Edit => return Err(NO_SUCH_MESSAGE),
            None if known.is_some() => return Err(ID_TAKEN),
            None if self.if_match.is_some() => return Err(STALE),
            None => MessageState {
                author_id: self.actor.user_id,
                text: self.text.clone(),
                created_at: self.at,
                edited_at: None,
            },
        };
        let body = Body::encode(&state).map_err(|_| UNREADABLE)?;
        Ok(Change {
            item: self.item,
            kind: Kind::Message,
            op: Op::Put,
            body,
        })
    }

    fn refuse_stale(&self, entry: &Entry) -> Result<(), Refusal> {
        refuse_stale(self.if_match, entry)
    }
}

/// Judges a deletion: one's own message, or anyone's by those who may moderate.
pub(super) struct DeleteJudge {
    pub(super) actor: Actor,
    pub(super) item: ItemId,
    pub(super) if_match: Option<Seq>,
    pub(super) of_unknown_kind: Refusal,
}

impl DeleteJudge {
    pub(super) fn into_judge(self) -> Judge {
        Box::new(move |room| self.judge(room))
    }

    fn judge(&self, room: &RoomView) -> Result<Change, Refusal> {
        permit(room, &self.actor, Permission::Read)?;
        let known = room.item(self.item);
        if known.is_some_and(|entry| matches!(entry.kind, Kind::Other(_)) && entry.op == Op::Put) {
            return Err(self.of_unknown_kind);
        }
        let (entry, state) = living_message(known).ok_or(NO_SUCH_MESSAGE)?;
        let needed = if state.author_id == self.actor.user_id {
            Permission::SendMessages
        } else {
            Permission::Moderate
        };
        permit_write(room, &self.actor, needed)?;
        refuse_stale(self.if_match, entry)?;
        Ok(Change {
            item: self.item,
            kind: Kind::Message,
            op: Op::Delete,
            body: Body::null(),
        })
    }
}

fn permit_write(room: &RoomView, actor: &Actor, permission: Permission) -> Result<(), Refusal> {
    permit(room, actor, permission)?;
    if room.is_archived() {
        return Err(ARCHIVED);
    }
    Ok(())
}

fn refuse_stale(if_match: Option<Seq>, entry: &Entry) -> Result<(), Refusal> {
    match if_match {
        Some(seq) if seq != entry.seq => Err(STALE),
        _ => Ok(()),
    }
}

/// The message an entry holds, unless it is deleted or something else.
fn living_message(entry: Option<&Entry>) -> Option<(&Entry, MessageState)> {
    let entry = entry.filter(|entry| entry.kind == Kind::Message && entry.op == Op::Put)?;
    Some((entry, entry.body.decode().ok()?))
}

fn message_of(entry: &Entry) -> Result<Message> {
    let state: MessageState = entry
        .body
        .decode()
        .map_err(|error| Error::Internal(error.into()))?;
    Ok(Message {
        id: entry.item,
        room_id: entry.room,
        seq: entry.seq,
        author_id: state.author_id,
        text: state.text,
        created_at: state.created_at,
        edited_at: state.edited_at,
    })
}

const fn refusal(code: ErrorCode, sentence: &'static str) -> Refusal {
    Refusal { code, sentence }
}

const NO_SUCH_MESSAGE: Refusal = refusal(ErrorCode::NotFound, "there is no such message here");
const ID_TAKEN: Refusal = refusal(
    ErrorCode::Conflict,
    "an item with this id exists or existed",
);
const NOT_YOURS: Refusal = refusal(ErrorCode::Forbidden, "only its author may edit a message");
const STALE: Refusal = refusal(
    ErrorCode::Stale,
    "the item has changed since that version; read it again",
);
const ARCHIVED: Refusal = refusal(ErrorCode::Archived, "the room is archived");
const UNREADABLE: Refusal = refusal(ErrorCode::Internal, "the message cannot be encoded");
