//! Who may call which operation: every operation of the `OpenAPI` document needs a line here.

use super::{answered, refused};
use crate::support::{Person, Server, World, message};
use reqwest::{Method, RequestBuilder};
use roost_schema::{ErrorCode, ItemId, Role, RoomId, SessionId, UserId};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Who may call an operation.
enum Access {
    /// Everyone, without a token.
    Public,
    /// Every signed-in person, for themselves.
    Oneself,
    /// Only the person whose session it is; for others the session does not exist.
    Owner,
    /// Members of the room; `viewer` is the status for a viewer. For others the room does not exist.
    Member { viewer: u16 },
    /// Everyone may call it, and each part is refused by itself: to viewers as forbidden, to others as a room that does
    /// not exist.
    EachPart,
}
use Access::{EachPart, Member, Oneself, Owner, Public};

const OPERATIONS: &[(&str, Access)] = &[
    ("readKeys", Public),
    ("register", Public),
    ("login", Public),
    ("refresh", Public),
    ("logout", Oneself),
    ("changePassword", Oneself),
    ("readMe", Oneself),
    ("listSessions", Oneself),
    ("revokeOtherSessions", Oneself),
    ("nameSession", Owner),
    ("revokeSession", Owner),
    ("searchUsers", Oneself),
    ("createBoard", Oneself),
    ("listBoards", Oneself),
    ("openConversation", Oneself),
    ("listConversations", Oneself),
    ("listRooms", Oneself),
    ("readRoom", Member { viewer: 200 }),
    ("changeRoom", Member { viewer: 403 }),
    ("listMembers", Member { viewer: 200 }),
    ("inviteMember", Member { viewer: 403 }),
    ("changeRole", Member { viewer: 403 }),
    ("removeMember", Member { viewer: 403 }),
    ("listItems", Member { viewer: 200 }),
    ("findItems", Oneself),
    ("readItem", Member { viewer: 200 }),
    ("createItem", Member { viewer: 403 }),
    ("putItem", Member { viewer: 403 }),
    ("patchItem", Member { viewer: 403 }),
    ("deleteItem", Member { viewer: 403 }),
    ("restoreItem", Member { viewer: 403 }),
    ("changeItems", EachPart),
    ("listMessages", Member { viewer: 200 }),
    ("sendMessage", Member { viewer: 403 }),
    ("readMessage", Member { viewer: 200 }),
    ("editMessage", Member { viewer: 403 }),
    ("deleteMessage", Member { viewer: 403 }),
    ("listEvents", Member { viewer: 200 }),
    ("streamEvents", Member { viewer: 200 }),
    ("issueStreamTicket", Member { viewer: 201 }),
    ("listPresence", Member { viewer: 200 }),
];

/// The rooms, items and people in the paths of operations.
struct Places {
    room: RoomId,
    message: ItemId,
    /// The owner of the room.
    user: UserId,
    /// The owner's session.
    session: SessionId,
}

/// An operation of the document.
struct Operation {
    id: String,
    method: Method,
    path: String,
    has_body: bool,
}

#[test]
fn every_operation_says_who_may_call_it() {
    let documented: BTreeSet<String> = operations().into_iter().map(|it| it.id).collect();
    let listed: BTreeSet<String> = OPERATIONS.iter().map(|(id, _)| (*id).to_owned()).collect();
    assert_eq!(documented, listed);
    assert_eq!(listed.len(), OPERATIONS.len(), "an operation stands twice");
}

#[tokio::test]
async fn without_a_token_only_what_is_public_answers() {
    let (_world, server, _alice, places) = scene().await;
    for operation in operations() {
        let request = operation.ask(
            server
                .endpoint
                .request(operation.method(), &operation.at(&places)),
        );
        match access(&operation.id) {
            // The request reaches its handler: it succeeds, or its input is refused.
            Public => {
                let status = request.send().await.unwrap().status().as_u16();
                assert!(matches!(status, 200 | 400), "{}: {status}", operation.id);
            }
            _ => assert_eq!(
                refused(request).await,
                ErrorCode::Unauthenticated,
                "{}",
                operation.id
            ),
        }
    }
}

#[tokio::test]
async fn an_outsider_learns_nothing_and_changes_nothing() {
    let (_world, server, alice, places) = scene().await;
    let stranger = server.stranger().await;
    let before = alice.list_events(places.room, None).await.unwrap();
    for operation in operations() {
        let request = operation.of(&stranger, &places).await;
        match access(&operation.id) {
            Public | Oneself => {}
            EachPart => {
                let answer = answered(request, 200).await;
                let answer: Value = answer.json().await.unwrap();
                assert_eq!(answer["outcomes"][0]["error"]["code"], "not_found");
            }
            Owner | Member { .. } => {
                assert_eq!(
                    refused(request).await,
                    ErrorCode::NotFound,
                    "{}",
                    operation.id
                );
            }
        }
    }
    let after = alice.list_events(places.room, None).await.unwrap();
    assert_eq!(before, after);
    assert_eq!(alice.list_sessions().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_viewer_reads_and_changes_nothing() {
    let (_world, server, alice, places) = scene().await;
    let bob = server.bob().await;
    alice.invite(places.room, &bob, Role::Viewer).await;
    let before = alice.list_events(places.room, None).await.unwrap();
    for operation in operations() {
        let viewer = match access(&operation.id) {
            Member { viewer } => *viewer,
            EachPart => {
                let request = operation.of(&bob, &places).await;
                let answer = answered(request, 200).await;
                let answer: Value = answer.json().await.unwrap();
                assert_eq!(answer["outcomes"][0]["error"]["code"], "forbidden");
                continue;
            }
            _ => continue,
        };
        let request = operation.of(&bob, &places).await;
        if viewer == 403 {
            assert_eq!(
                refused(request).await,
                ErrorCode::Forbidden,
                "{}",
                operation.id
            );
        } else {
            answered(request, viewer).await;
        }
    }
    let after = alice.list_events(places.room, None).await.unwrap();
    assert_eq!(before, after);
}

#[tokio::test]
async fn everybody_may_do_what_concerns_only_themselves() {
    let (_world, server, _alice, places) = scene().await;
    for operation in operations() {
        if matches!(access(&operation.id), Oneself) {
            // Each operation gets its own person, because some of them end the session.
            let person = server.person(&operation.id.to_lowercase()).await;
            let request = operation.of(&person, &places).await;
            let status = request.send().await.unwrap().status();
            assert!(status.is_success(), "{}: {status}", operation.id);
        }
    }
}

async fn scene() -> (World, Server, Person, Places) {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    let sent = alice.send_message(room, &message("hello")).await.unwrap();
    let places = Places {
        room,
        message: sent.id,
        user: alice.id(),
        session: alice.signed_in().session.id,
    };
    (world, server, alice, places)
}

impl Operation {
    fn method(&self) -> Method {
        self.method.clone()
    }

    fn at(&self, places: &Places) -> String {
        let path = self
            .path
            .replace("{roomId}", &places.room.to_string())
            .replace("{messageId}", &places.message.to_string())
            .replace("{itemId}", &places.message.to_string())
            .replace("{userId}", &places.user.to_string())
            .replace("{sessionId}", &places.session.to_string());
        assert!(
            !path.contains('{'),
            "{path} has a part this test does not know"
        );
        match self.id.as_str() {
            "searchUsers" => format!("{path}?query=al"),
            "listItems" | "findItems" => format!("{path}?kind=message"),
            _ => path,
        }
    }

    async fn of(&self, person: &Person, places: &Places) -> RequestBuilder {
        let path = self.at(places);
        match self.id.as_str() {
            "openConversation" => {
                let body = json!({ "userIds": [places.user] });
                person.ask(self.method(), &path).await.json(&body)
            }
            _ => self.ask(person.ask(self.method(), &path).await),
        }
    }

    /// Adds a body that is valid for a permitted caller.
    fn ask(&self, request: RequestBuilder) -> RequestBuilder {
        let body = match self.id.as_str() {
            "changeRoom" | "createBoard" => json!({ "title": "Changed" }),
            "inviteMember" => json!({ "email": "stranger@example.org", "role": "owner" }),
            "changeRole" => json!({ "role": "viewer" }),
            "sendMessage" | "editMessage" => json!({ "text": "changed" }),
            "createItem" | "putItem" | "patchItem" => {
                json!({ "kind": "message", "body": { "text": "changed" } })
            }
            "restoreItem" => {
                let now = chrono::Utc::now();
                let nobody = UserId::generate();
                let state = json!({ "authorId": nobody, "text": "changed", "createdAt": now });
                json!({ "kind": "message", "body": state })
            }
            "changeItems" => {
                let put = json!({ "op": "put", "kind": "message", "body": { "text": "changed" } });
                json!({ "ops": [put] })
            }
            "nameSession" => json!({ "name": "changed" }),
            "changePassword" => json!({
                "currentPassword": crate::support::PASSWORD,
                "newPassword": "another password",
            }),
            _ => json!({}),
        };
        if self.has_body {
            request.json(&body)
        } else {
            request
        }
    }
}

fn access(id: &str) -> &'static Access {
    let found = OPERATIONS.iter().find(|(known, _)| *known == id);
    &found.expect("every operation says who may call it").1
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&roost_server::transport::openapi_json()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.push(Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                has_body: operation["requestBody"].is_object(),
            });
        }
    }
    operations
}
