//! Who may ask for which field, role by role: each answers as the operation of REST for the same use case.

use super::parity::PAIRS;
use crate::{
    rest::access::{OPERATIONS, Places, account_body, each_role_is_answered},
    support::{Person, in_time},
};
use roost_client::Result;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// For each operation of REST the same in GraphQL. `$input` is what REST takes about an account.
#[rustfmt::skip]
const DOCUMENTS: &[(&str, &str)] = &[
    ("register", "mutation($input: Register!) { register(input: $input) { session { id } } }"),
    ("login", "mutation($input: Login!) { login(input: $input) { session { id } } }"),
    ("refresh", "mutation($input: Refresh!) { refresh(input: $input) { session { id } } }"),
    ("logout", "mutation { logout }"),
    ("changePassword", "mutation($input: ChangePassword!) { changePassword(input: $input) { accessToken } }"),
    ("readMe", "{ me { id } }"),
    ("listSessions", "{ sessions { id } }"),
    ("nameSession", "mutation($session: SessionId!) { nameSession(session: $session, input: { name: \"x\" }) { id } }"),
    ("revokeSession", "mutation($session: SessionId!) { revokeSession(session: $session) }"),
    ("revokeOtherSessions", "mutation { revokeOtherSessions }"),
    ("searchUsers", "{ searchUsers(query: \"gu\") { id } }"),
    ("listRooms", "{ rooms { items { id } } }"),
    ("listBoards", "{ boards { items { id } } }"),
    ("listConversations", "{ conversations { items { id } } }"),
    ("readRoom", "query($room: RoomId!) { room(room: $room) { id } }"),
    ("createBoard", "mutation { createBoard(input: { title: \"Changed\" }) { id } }"),
    ("openConversation", "mutation($guest: UserId!) { openConversation(input: { userIds: [$guest] }) { id } }"),
    ("changeRoom", "mutation($room: RoomId!) { changeRoom(room: $room, input: { title: \"Changed\" }) { id } }"),
    ("listMembers", "query($room: RoomId!) { members(room: $room) { items { role } } }"),
    ("inviteMember", "mutation($room: RoomId!, $newcomer: UserId!) {
        inviteMember(room: $room, input: { userId: $newcomer, role: VIEWER }) { role } }"),
    ("changeRole", "mutation($room: RoomId!, $guest: UserId!) {
        changeRole(room: $room, user: $guest, input: { role: EDITOR }) { role } }"),
    ("removeMember", "mutation($room: RoomId!, $guest: UserId!) { removeMember(room: $room, user: $guest) }"),
    ("listItems", "query($room: RoomId!) { items(room: $room, kind: \"message\") { items { id } } }"),
    ("findItems", "{ myItems(kind: \"message\") { items { id } } }"),
    ("readItem", "query($room: RoomId!, $message: ItemId!) { item(room: $room, item: $message) { id } }"),
    ("createItem", "mutation($room: RoomId!) {
        putItems(room: $room, ops: [{ put: { body: { message: { text: \"x\" } } } }]) { seq error { code } } }"),
    ("putItem", "mutation($room: RoomId!, $message: ItemId!) {
        putItems(room: $room, ops: [{ put: { item: $message, body: { message: { text: \"x\" } } } }]) { seq error { code } } }"),
    ("patchItem", "mutation($room: RoomId!, $message: ItemId!) {
        putItems(room: $room, ops: [{ patch: { item: $message, body: { message: { text: \"x\" } } } }]) { seq error { code } } }"),
    ("deleteItem", "mutation($room: RoomId!, $message: ItemId!) {
        putItems(room: $room, ops: [{ delete: { item: $message } }]) { seq error { code } } }"),
    ("restoreItem", "mutation($room: RoomId!, $deleted: ItemId!, $state: Json!) {
        putItems(room: $room, ops: [{ restore: { kind: \"message\", item: $deleted, body: $state } }]) { seq error { code } } }"),
    ("changeItems", "mutation($room: RoomId!) {
        putItems(room: $room, ops: [{ put: { body: { message: { text: \"x\" } } } }]) { seq error { code } } }"),
    ("listMessages", "query($room: RoomId!) { messages(room: $room) { items { id } } }"),
    ("readMessage", "query($room: RoomId!, $message: ItemId!) { message(room: $room, message: $message) { id } }"),
    ("sendMessage", "mutation($room: RoomId!) { sendMessage(room: $room, input: { text: \"x\" }) { id } }"),
    ("editMessage", "mutation($room: RoomId!, $message: ItemId!) {
        editMessage(room: $room, message: $message, input: { text: \"x\" }) { id } }"),
    ("deleteMessage", "mutation($room: RoomId!, $message: ItemId!) { deleteMessage(room: $room, message: $message) }"),
    ("listEvents", "query($room: RoomId!) { events(room: $room) { position } }"),
    ("streamEvents", "subscription($room: RoomId!, $position: Position) {
        roomEvents(room: $room, after: $position) { position } }"),
    ("listPresence", "query($room: RoomId!) { presence(room: $room) { userId } }"),
];

#[test]
fn every_field_is_asked() {
    let asked: BTreeSet<&str> = DOCUMENTS.iter().map(|(operation, _)| *operation).collect();
    let paired: BTreeSet<&str> = PAIRS.iter().map(|(operation, _)| *operation).collect();
    assert_eq!(asked, paired);
    for (operation, field) in PAIRS {
        let (_, name) = field.split_once('.').unwrap();
        let document = document(operation).unwrap();
        let named = document
            .split(|it: char| !it.is_alphanumeric())
            .any(|it| it == name);
        assert!(named, "{operation} is not asked by {field}");
    }
    let is_known = |operation: &&str| OPERATIONS.iter().any(|(known, _)| known == operation);
    assert!(asked.iter().all(is_known));
}

#[tokio::test]
async fn each_role_is_answered_as_the_table_of_rest_says() {
    let rows = OPERATIONS
        .iter()
        .filter(|(operation, _)| document(operation).is_some());
    each_role_is_answered(rows, async |operation, person, places| {
        let document = document(operation).unwrap();
        let variables = variables(operation, person, places);
        code(answer(person, document, variables).await)
    })
    .await;
}

/// The document of an operation; `None` for what only REST has.
fn document(operation: &str) -> Option<&'static str> {
    let mut documents = DOCUMENTS.iter();
    let (_, document) = documents.find(|(known, _)| *known == operation)?;
    Some(document)
}

/// What any of the documents may declare.
fn variables(operation: &str, person: &Person, places: &Places) -> Value {
    let mut variables = json!({
        "room": places.room, "position": places.position, "message": places.message,
        "deleted": places.deleted.id, "state": places.deleted.body, "guest": places.guest,
        "newcomer": places.newcomer, "session": places.session,
    });
    if ["register", "login", "refresh", "changePassword"].contains(&operation) {
        variables["input"] = account_body(operation, person);
    }
    variables
}

/// The answer, of a subscription the first.
async fn answer(person: &Person, document: &str, variables: Value) -> Result<Value> {
    if !document.starts_with("subscription") {
        return person.query(document, variables).await;
    }
    let mut subscription = person.subscribe(document, variables).await?;
    let first: Option<Value> = in_time(subscription.next()).await?;
    Ok(first.unwrap())
}

/// The code of a refusal, or of the refusal of the only change in a list; empty for success.
fn code(answer: Result<Value>) -> String {
    match answer {
        Ok(data) => {
            let code = &data["putItems"][0]["error"]["code"];
            code.as_str().unwrap_or_default().to_owned()
        }
        Err(refused) => {
            let code = refused.code();
            code.unwrap_or_else(|| panic!("{refused}"))
                .as_str()
                .to_owned()
        }
    }
}
