//! A room for each question of who may do what, and the people who ask.

use super::Answers;
use crate::support::{Person, Server, World, message};
use roost_schema::{DeleteMessage, Item, ItemId, Position, Role, RoomId, SessionId, UserId};

/// The room, items and people that an operation is about. Room and items are the owner's.
pub(crate) struct Places {
    pub(crate) room: RoomId,
    /// Before the message.
    pub(crate) position: Position,
    pub(crate) message: ItemId,
    /// A message as it was read before the owner deleted it.
    pub(crate) deleted: Item,
    /// A viewer of the room, who asks for nothing.
    pub(crate) guest: UserId,
    /// A person who is not in the room.
    pub(crate) newcomer: UserId,
    /// The owner's session.
    pub(crate) session: SessionId,
}

/// An owner, an editor, a viewer and a stranger.
pub(super) async fn people(server: &Server, name: &str) -> [Person; 4] {
    [
        server.person(&format!("owner-{name}")).await,
        server.person(&format!("editor-{name}")).await,
        server.person(&format!("viewer-{name}")).await,
        server.person(&format!("stranger-{name}")).await,
    ]
}

impl Places {
    pub(super) async fn of(
        [owner, editor, viewer, stranger]: &[Person; 4],
        guest: &Person,
    ) -> Self {
        let room = owner.board("Plan").await.id;
        owner.invite(room, editor, Role::Editor).await;
        owner.invite(room, viewer, Role::Viewer).await;
        owner.invite(room, guest, Role::Viewer).await;
        let position = owner.list_events(room, None).await.unwrap().position;
        let sent = owner.send_message(room, &message("hello")).await.unwrap();
        let other = owner.send_message(room, &message("deleted")).await.unwrap();
        let deleted = owner.read_item(room, other.id).await.unwrap();
        let delete = DeleteMessage::default();
        owner.delete_message(room, other.id, &delete).await.unwrap();
        Self {
            room,
            position,
            message: sent.id,
            deleted,
            guest: guest.id(),
            newcomer: stranger.id(),
            session: owner.signed_in().session.id,
        }
    }
}

/// Operations after which a session or its token is another, so that they have people of their own.
const OF_SESSIONS: [&str; 5] = [
    "refresh",
    "logout",
    "changePassword",
    "revokeSession",
    "revokeOtherSessions",
];

/// Asks for the operation of each row as each role, in a room of its own: the answers are the row's, and who is refused
/// has changed nothing.
pub(crate) async fn each_role_is_answered(
    rows: impl IntoIterator<Item = &'static (&'static str, Answers)>,
    ask: impl AsyncFn(&str, &Person, &Places) -> String,
) {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let guest = server.person("guest").await;
    let regulars = people(&server, "regular").await;
    for (operation, answers) in rows {
        if OF_SESSIONS.contains(operation) {
            let people = people(&server, &operation.to_lowercase()).await;
            each_person_is_answered(operation, answers, &people, &guest, &ask).await;
        } else {
            each_person_is_answered(operation, answers, &regulars, &guest, &ask).await;
        }
    }
}

async fn each_person_is_answered(
    operation: &str,
    answers: &Answers,
    people: &[Person; 4],
    guest: &Person,
    ask: &impl AsyncFn(&str, &Person, &Places) -> String,
) {
    let owner = &people[0];
    // The owner is the last, because each room is made by their session.
    for (person, expected) in people.iter().zip(answers).rev() {
        let places = Places::of(people, guest).await;
        let before = owner.list_events(places.room, None).await.unwrap();
        let sessions = owner.list_sessions().await.unwrap();
        let code = ask(operation, person, &places).await;
        let name = person.signed_in().user.name;
        assert_eq!(code, *expected, "{operation} by {name}");
        if !expected.is_empty() {
            let after = owner.list_events(places.room, None).await.unwrap();
            assert_eq!(after, before, "{operation} by {name}");
            let kept = owner.list_sessions().await.unwrap();
            assert_eq!(kept.len(), sessions.len(), "{operation} by {name}");
        }
    }
}
