//! The vocabulary clients and server share: ids, values, views, inputs, events and error codes.
//!
//! Everything here is public contract. Adding a field is fine; renaming one breaks clients.
//! Names are camelCase on the wire, times RFC 3339 in UTC, ids `UUIDv7`.

mod error;
mod event;
mod id;
mod item;
mod kind;
mod member;
mod message;
#[cfg(feature = "openapi")]
mod openapi;
#[cfg(feature = "openapi")]
mod openapi_items;
mod page;
mod position;
mod room;
mod secret;
mod session;
mod todo;
mod user;
mod value;
mod word;

pub use error::{ErrorCode, Failure};
pub use event::{
    AuthExpiring, Awareness, Cursor, InRoom, JoinRoom, JoinedRoom, MoveCursor, PersonAwareness,
    Presence, PresenceChanged, PresenceState, RenewSocket, RoomClosed, RoomEvents, ServerClosing,
};
pub use id::{InstanceId, ItemId, RoomId, SessionId, UserId};
pub use item::{
    BATCH_OPS_MAX, BatchItems, BatchOutcome, Body, DeleteItem, FoundItems, Item, ItemBody, ItemOp,
    ItemOps, ItemOutcome, ItemPage, NewItem, Op, PatchItem, PutItem, RestoreItem, RoomEvent,
};
pub use kind::{ItemDraft, ItemPatch, ItemState, Kind, Patched, Rest};
pub use member::{ChangeRole, InviteMember, Member, MemberState, Role};
pub use message::{
    DeleteMessage, Direction, EditMessage, EditMessageBody, Message, MessageDraft, MessagePage,
    MessagePatch, MessageState, SendMessage, SendMessageToRoom,
};
#[cfg(feature = "openapi")]
pub use openapi_items::{AnyState, PatchedItem, RestoredItem, WrittenItem};
pub use page::{MemberPage, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, PageQuery, RoomPage};
pub use position::{Epoch, InvalidPosition, Position, Seq};
pub use room::{ChangeRoom, CreateBoard, OpenConversation, Room, RoomState, RoomType};
pub use secret::Secret;
pub use session::{NameSession, Session, SessionState};
pub use todo::{TodoDone, TodoDraft, TodoPatch, TodoState};
pub use user::{ChangePassword, Login, Me, Refresh, Register, SignedIn, User};
pub use value::{
    EMAIL_CHARS_MAX, Email, Invalid, MESSAGE_BYTES_MAX, MessageText, NAME_CHARS_MAX, Name,
    OP_ID_CHARS_MAX, OP_ID_RESERVED_PREFIX, OpId, PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN,
    SORT_KEY_CHARS_MAX, SortKey, TERM_CHARS_MAX, TITLE_CHARS_MAX, Term, Title,
};
pub use word::OtherWord;
