//! Chat messages: the kind, and the use cases of its own: send, edit, delete, read.

use super::{
    ItemQuery,
    engine::{
        Ask::{Create, Patch},
        ItemWrite, Rules,
    },
    kind::{ItemKind, check_stays, check_texts},
};
use crate::{
    app::{
        Actor, App, Error, Queued, Result,
        access::{ItemRight, Writing},
        operations::request_hash,
    },
    live::Refusal,
    store::journal::Entry,
};
use roost_schema::{
    DeleteItem, DeleteMessage, Direction, EditMessage, ErrorCode, ItemId, Kind, MESSAGE_BYTES_MAX,
    Message, MessageDraft, MessagePage, MessagePatch, MessageState, MessageText, PageQuery,
    Patched, Rest, RoomId, SendMessage,
};

impl ItemKind for MessageState {
    const WRITE: ItemRight = ItemRight::Write;
    const NOT_YOURS: Option<Refusal> = Some(Refusal {
        code: ErrorCode::Forbidden,
        sentence: "only its author may edit a message",
    });
    const MISSING: Refusal = Refusal {
        code: ErrorCode::NotFound,
        sentence: "there is no such message here",
    };

    type Draft = MessageDraft;
    type Patch = MessagePatch;

    fn check(mut patch: MessagePatch) -> Result<MessagePatch> {
        let text = patch.text.value_mut();
        if text
            .as_ref()
            .is_some_and(|text| text.len() > MESSAGE_BYTES_MAX)
        {
            return Err(TOO_LARGE);
        }
        check_texts::<MessageText>("text", text)?;
        check_stays("text", &patch.text)?;
        Ok(patch)
    }

    fn create(patch: &MessagePatch, by: &Writing) -> Self {
        Self {
            author_id: by.user_id(),
            text: patch.text.clone().or(None).unwrap_or_default(),
            created_at: by.at(),
            edited_at: None,
            rest: Rest::default(),
        }
    }

    fn patch(self, patch: &MessagePatch, by: &Writing) -> Self {
        Self {
            text: patch.text.clone().or(Some(self.text)).unwrap_or_default(),
            edited_at: Some(by.at()),
            ..self
        }
    }

    fn draft(self) -> MessageDraft {
        MessageDraft { text: self.text }
    }
}

impl App {
    /// Posts a message.
    pub fn send_message(&self, actor: &Actor, room: RoomId, input: SendMessage) -> Queued<Message> {
        let request_hash = request_hash("send", &(room, &input.text, input.id));
        let operation = text_of(input.text)
            .and_then(|text| ItemWrite::<MessageState>::new(input.id, (Create, text), None))
            .map(|write| write.into_operation(room, input.op_id, request_hash));
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
        let (item, if_match) = (Some(message), input.if_match);
        let operation = text_of(input.text)
            .and_then(|text| ItemWrite::<MessageState>::new(item, (Patch, text), if_match))
            .map(|write| write.into_operation(room, input.op_id, request_hash));
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
        self.delete(
            actor,
            input,
            |_| Ok(Rules::of::<MessageState>().delete),
            |_| Ok(()),
        )
    }

    pub async fn read_message(
        &self,
        actor: &Actor,
        room: RoomId,
        message: ItemId,
    ) -> Result<Message> {
        let entry = self
            .read_entry::<MessageState>(actor, room, message)
            .await?;
        message_of(&entry)
    }

    /// A page of the room's messages in the order they were made, with the head that was read before the first page.
    pub async fn list_messages(
        &self,
        actor: &Actor,
        room: RoomId,
        direction: Direction,
        page: PageQuery,
    ) -> Result<MessagePage> {
        let query = ItemQuery {
            kind: Kind::Message,
            term: None,
            direction,
        };
        let page = self.list_entries(actor, room, query, page).await?;
        Ok(MessagePage {
            items: page.entries.iter().map(message_of).collect::<Result<_>>()?,
            next: page.next,
            position: page.position,
        })
    }
}

/// The checked text of a message.
fn text_of(text: String) -> Result<MessagePatch> {
    let text = Patched::Is(text);
    MessageState::check(MessagePatch { text })
}

const TOO_LARGE: Error = Error::refused(ErrorCode::TooLarge, "a message is at most 32 KiB");

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
