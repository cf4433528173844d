//! Who may call which operation, role by role: every operation of the `OpenAPI` document needs a row here. The field of
//! GraphQL for the same use case is asked in `graphql/access.rs`, and answers as its row says.

mod rooms;

use super::refused;
use crate::support::{PASSWORD, Person, World};
use reqwest::{Method, RequestBuilder, Response};
pub(crate) use rooms::{Places, each_role_is_answered};
use roost_schema::{ErrorCode, UserId};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The answers to an owner, an editor, a viewer and a stranger: empty for success, or the code of the refusal.
pub(crate) type Answers = [&'static str; 4];

const EVERYBODY: Answers = ["", "", "", ""];
const MEMBERS: Answers = ["", "", "", "not_found"];
const WRITERS: Answers = ["", "", "forbidden", "not_found"];
const OWNERS: Answers = ["", "forbidden", "forbidden", "not_found"];
/// The answers about an item that only its author, the owner, may change.
const ITS_AUTHOR: Answers = OWNERS;
/// The answers about a session of the owner's: for others it does not exist.
const ITS_PERSON: Answers = ["", "not_found", "not_found", "not_found"];

pub(crate) const OPERATIONS: &[(&str, Answers)] = &[
    ("readKeys", EVERYBODY),
    ("register", EVERYBODY),
    ("login", EVERYBODY),
    ("refresh", EVERYBODY),
    ("logout", EVERYBODY),
    ("changePassword", EVERYBODY),
    ("readMe", EVERYBODY),
    ("listSessions", EVERYBODY),
    ("revokeOtherSessions", EVERYBODY),
    ("nameSession", ITS_PERSON),
    ("revokeSession", ITS_PERSON),
    ("searchUsers", EVERYBODY),
    ("createBoard", EVERYBODY),
    ("listBoards", EVERYBODY),
    ("openConversation", EVERYBODY),
    ("listConversations", EVERYBODY),
    ("listRooms", EVERYBODY),
    ("readRoom", MEMBERS),
    ("changeRoom", WRITERS),
    ("listMembers", MEMBERS),
    ("inviteMember", OWNERS),
    ("changeRole", OWNERS),
    ("removeMember", OWNERS),
    ("listItems", MEMBERS),
    ("findItems", EVERYBODY),
    ("readItem", MEMBERS),
    ("createItem", WRITERS),
    ("putItem", ITS_AUTHOR),
    ("patchItem", ITS_AUTHOR),
    ("deleteItem", ITS_AUTHOR),
    ("restoreItem", ITS_AUTHOR),
    ("changeItems", WRITERS),
    ("listMessages", MEMBERS),
    ("sendMessage", WRITERS),
    ("readMessage", MEMBERS),
    ("editMessage", ITS_AUTHOR),
    ("deleteMessage", ITS_AUTHOR),
    ("listEvents", MEMBERS),
    ("streamEvents", MEMBERS),
    ("issueStreamTicket", MEMBERS),
    ("listPresence", MEMBERS),
];

/// The operations that need no token.
const PUBLIC: [&str; 4] = ["readKeys", "register", "login", "refresh"];

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
async fn each_role_is_answered_as_the_table_says() {
    let operations = operations();
    each_role_is_answered(OPERATIONS, async |id, person, places| {
        let operation = operations.iter().find(|it| it.id == id);
        let request = operation.unwrap().of(person, places).await;
        code(id, request.send().await.unwrap()).await
    })
    .await;
}

#[tokio::test]
async fn without_a_token_only_what_is_public_answers() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let people = rooms::people(&server, "all").await;
    let places = Places::of(&people, &server.person("guest").await).await;
    for operation in operations() {
        let path = operation.at(&places);
        let request = server.endpoint.request(operation.method.clone(), &path);
        let request = operation.with_body(request, &people[0], &places);
        if PUBLIC.contains(&operation.id.as_str()) {
            let status = request.send().await.unwrap().status();
            assert!(status.is_success(), "{}: {status}", operation.id);
        } else {
            let code = refused(request).await;
            assert_eq!(code, ErrorCode::Unauthenticated, "{}", operation.id);
        }
    }
}

/// The code of a refusal, or of the refusal of a batch's only change. The answer of a stream does not end, and is not read.
async fn code(id: &str, answer: Response) -> String {
    let is_success = answer.status().is_success();
    if is_success && id != "changeItems" {
        return String::new();
    }
    let answer: Value = answer.json().await.unwrap();
    let code = if is_success {
        &answer["outcomes"][0]["error"]["code"]
    } else {
        &answer["code"]
    };
    assert!(is_success || code.is_string(), "{id}: {answer}");
    code.as_str().unwrap_or_default().to_owned()
}

impl Operation {
    fn at(&self, places: &Places) -> String {
        let item = match self.id.as_str() {
            "restoreItem" => places.deleted.id,
            _ => places.message,
        };
        let path = self
            .path
            .replace("{roomId}", &places.room.to_string())
            .replace("{messageId}", &item.to_string())
            .replace("{itemId}", &item.to_string())
            .replace("{userId}", &places.guest.to_string())
            .replace("{sessionId}", &places.session.to_string());
        assert!(
            !path.contains('{'),
            "{path} has a part this test does not know"
        );
        match self.id.as_str() {
            "searchUsers" => format!("{path}?query=gu"),
            "listItems" | "findItems" => format!("{path}?kind=message"),
            _ => path,
        }
    }

    async fn of(&self, person: &Person, places: &Places) -> RequestBuilder {
        let request = person.ask(self.method.clone(), &self.at(places)).await;
        self.with_body(request, person, places)
    }

    /// Adds a body that is valid for a permitted caller.
    fn with_body(
        &self,
        request: RequestBuilder,
        person: &Person,
        places: &Places,
    ) -> RequestBuilder {
        if !self.has_body {
            return request;
        }
        let body = match self.id.as_str() {
            "register" | "login" | "refresh" | "changePassword" => account_body(&self.id, person),
            "openConversation" => json!({ "userIds": [places.guest] }),
            "changeRoom" | "createBoard" => json!({ "title": "Changed" }),
            "inviteMember" => json!({ "userId": places.newcomer, "role": "viewer" }),
            "changeRole" => json!({ "role": "editor" }),
            "sendMessage" | "editMessage" => json!({ "text": "changed" }),
            "createItem" | "putItem" | "patchItem" => {
                json!({ "kind": "message", "body": { "text": "changed" } })
            }
            "restoreItem" => json!({ "kind": "message", "body": places.deleted.body }),
            "changeItems" => {
                let put = json!({ "op": "put", "kind": "message", "body": { "text": "changed" } });
                json!({ "ops": [put] })
            }
            "nameSession" => json!({ "name": "changed" }),
            _ => json!({}),
        };
        request.json(&body)
    }
}

/// The input of a use case about the account, which is never a room's.
pub(crate) fn account_body(operation: &str, person: &Person) -> Value {
    let signed_in = person.signed_in();
    match operation {
        "register" => {
            let email = format!("{}@example.org", UserId::generate());
            json!({ "email": email, "password": PASSWORD, "name": "Another" })
        }
        "login" => json!({ "email": signed_in.user.email, "password": PASSWORD }),
        "refresh" => json!({ "refreshToken": signed_in.refresh_token.expose() }),
        "changePassword" => {
            json!({ "currentPassword": PASSWORD, "newPassword": "another password" })
        }
        other => panic!("{other} is not about the account"),
    }
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
