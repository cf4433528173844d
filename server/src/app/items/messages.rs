//! Chat messages: the kind, and what goes by its own name: send, edit, delete, read.

use super::{
    engine::{self, Put},
    kind::ItemKind,
};
use crate::{
    app::{
        Actor, App, Error, Permission, Queued, Result, access::Writing, operations::request_hash,
    },
    live::Refusal,
    store::journal::Entry,
};
use roost_schema::{
    DeleteItem, DeleteMessage, Direction, EditMessage, ErrorCode, ItemId, Kind, Message,
    MessagePage, MessageState, MessageText, PageQuery, RoomId, SendMessage, UserId,
};
use serde::{Deserialize, Serialize};

/// What clients write of a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageBody {
    text: String,
}

impl From<&Self> for MessageBody {
    fn from(draft: &Self) -> Self {
        draft.clone()
    }
}

impl ItemKind for MessageState {
    const KIND: Kind = Kind::Message;
    const WRITE: Permission = Permission::SendMessages;
    const MISSING: Refusal = Refusal {
        code: ErrorCode::NotFound,
        sentence: "there is no such message here",
    };

    type Draft = MessageBody;
    type Patch = MessageBody;

    fn parse(body: &serde_json::Value) -> Result<MessageBody> {
        let body = MessageBody::deserialize(body).map_err(|_| Error::Invalid {
            field: "body",
            problem: "must be {\"text\": …} for a message",
        })?;
        parse_text(&body.text)
    }

    fn create(draft: &MessageBody, by: &Writing) -> Result<Self, Refusal> {
        Ok(Self {
            author_id: by.access.user_id,
            text: draft.text.clone(),
            created_at: by.at,
            edited_at: None,
        })
    }

    fn patch(self, patch: &MessageBody, by: &Writing) -> Result<Self, Refusal> {
        if self.author_id != by.access.user_id {
            return Err(NOT_YOURS);
        }
        Ok(Self {
            text: patch.text.clone(),
            edited_at: Some(by.at),
            ..self
        })
    }

    fn author(&self) -> UserId {
        self.author_id
    }
}

const NOT_YOURS: Refusal = Refusal {
    code: ErrorCode::Forbidden,
    sentence: "only its author may edit a message",
};

impl App {
    /// Posts a message.
    pub fn send_message(&self, actor: &Actor, room: RoomId, input: SendMessage) -> Queued<Message> {
        let request_hash = request_hash("send", &(room, &input.text, input.id));
        let operation = parse_text(&input.text)
            .and_then(|draft| Put::<MessageState>::create(actor, input.id, draft))
            .map(|put| put.into_operation(room, input.op_id, request_hash));
        self.write(actor, room, operation, |entry| message_of(&entry))
    }

    /// Edits one's own message.
    pub fn edit_message(
        &self,
        actor: &Actor,
        room: RoomId,
        message: ItemId,
        input: EditMessage,
    ) -> Queued<Message> {
        let request_hash = request_hash("edit", &(room, message, &input.text, input.if_match));
        let operation = parse_text(&input.text)
            .map(|patch| Put::<MessageState>::change(actor, message, patch, input.if_match))
            .map(|put| put.into_operation(room, input.op_id, request_hash));
        self.write(actor, room, operation, |entry| message_of(&entry))
    }

    /// Deletes one's own message, or anyone's as an owner.
    pub fn delete_message(
        &self,
        actor: &Actor,
        room: RoomId,
        message: ItemId,
        input: DeleteMessage,
    ) -> Queued<()> {
        let input = DeleteItem {
            room,
            item: message,
            op_id: input.op_id,
            if_match: input.if_match,
        };
        self.delete(actor, input, engine::delete::<MessageState>, |_| Ok(()))
    }

    pub async fn read_message(
        &self,
        actor: &Actor,
        room: RoomId,
        message: ItemId,
    ) -> Result<Message> {
        let entry = self.read_item::<MessageState>(actor, room, message).await?;
        message_of(&entry)
    }

    /// A page of the room's messages by birth, with the head that was read before the first page.
    pub async fn list_messages(
        &self,
        actor: &Actor,
        room: RoomId,
        direction: Direction,
        page: PageQuery,
    ) -> Result<MessagePage> {
        let page = self
            .list_items::<MessageState>(actor, room, direction, page)
            .await?;
        Ok(MessagePage {
            items: page.entries.iter().map(message_of).collect::<Result<_>>()?,
            next: page.next,
            position: page.position,
        })
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
