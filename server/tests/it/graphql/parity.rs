//! REST and GraphQL offer the same use cases, and the served schema is the committed one.

use async_graphql::parser::{
    parse_schema,
    types::{TypeKind, TypeSystemDefinition},
};
use roost_server::transport::{graphql_sdl, openapi_json};
use serde_json::Value;
use std::collections::BTreeSet;

/// Each operation of REST with the GraphQL field for the same use case.
pub(super) const PAIRS: &[(&str, &str)] = &[
    ("register", "Mutation.register"),
    ("login", "Mutation.login"),
    ("refresh", "Mutation.refresh"),
    ("logout", "Mutation.logout"),
    ("changePassword", "Mutation.changePassword"),
    ("readMe", "Query.me"),
    ("listSessions", "Query.sessions"),
    ("nameSession", "Mutation.nameSession"),
    ("revokeSession", "Mutation.revokeSession"),
    ("revokeOtherSessions", "Mutation.revokeOtherSessions"),
    ("searchUsers", "Query.searchUsers"),
    ("listRooms", "Query.rooms"),
    ("listBoards", "Query.boards"),
    ("listConversations", "Query.conversations"),
    ("readRoom", "Query.room"),
    ("createBoard", "Mutation.createBoard"),
    ("openConversation", "Mutation.openConversation"),
    ("changeRoom", "Mutation.changeRoom"),
    ("listMembers", "Query.members"),
    ("inviteMember", "Mutation.inviteMember"),
    ("changeRole", "Mutation.changeRole"),
    ("removeMember", "Mutation.removeMember"),
    ("listItems", "Query.items"),
    ("findItems", "Query.myItems"),
    ("readItem", "Query.item"),
    ("createItem", "Mutation.putItems"),
    ("putItem", "Mutation.putItems"),
    ("patchItem", "Mutation.putItems"),
    ("deleteItem", "Mutation.putItems"),
    ("restoreItem", "Mutation.putItems"),
    ("changeItems", "Mutation.putItems"),
    ("listMessages", "Query.messages"),
    ("readMessage", "Query.message"),
    ("sendMessage", "Mutation.sendMessage"),
    ("editMessage", "Mutation.editMessage"),
    ("deleteMessage", "Mutation.deleteMessage"),
    ("listEvents", "Query.events"),
    ("streamEvents", "Subscription.roomEvents"),
    ("listPresence", "Query.presence"),
];

/// Operations that only REST offers, with the reason.
const REST_ONLY: &[(&str, &str)] = &[
    (
        "issueStreamTicket",
        "a GraphQL subscription carries its token in connection_init; EventSource cannot",
    ),
    (
        "readKeys",
        "other services fetch the keys from their well-known path",
    ),
];

#[test]
fn rest_and_graphql_offer_the_same_use_cases() {
    let (rest, graphql) = (rest_operations(), graphql_fields());
    let paired: BTreeSet<String> = PAIRS
        .iter()
        .chain(REST_ONLY)
        .map(|(operation, _)| (*operation).to_owned())
        .collect();
    assert_eq!(rest, paired, "an operation of REST has no pair here");
    let paired: BTreeSet<String> = PAIRS.iter().map(|(_, field)| (*field).to_owned()).collect();
    assert_eq!(graphql, paired, "a field of GraphQL has no pair here");
}

#[test]
fn the_committed_schema_is_fresh() {
    let committed = include_str!("../../../../schema/schema.graphql");
    assert!(
        graphql_sdl() == committed,
        "schema/schema.graphql is stale: run `cargo xtask schema`"
    );
}

fn rest_operations() -> BTreeSet<String> {
    let document: Value = serde_json::from_str(&openapi_json()).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    operations
        .filter_map(|operation| Some(operation.get("operationId")?.as_str()?.to_owned()))
        .collect()
}

/// The fields of the schema, such as `Query.me`.
fn graphql_fields() -> BTreeSet<String> {
    let document = parse_schema(graphql_sdl()).unwrap();
    let mut fields = BTreeSet::new();
    for definition in document.definitions {
        let TypeSystemDefinition::Type(definition) = definition else {
            continue;
        };
        let name = definition.node.name.node.to_string();
        if !["Query", "Mutation", "Subscription"].contains(&name.as_str()) {
            continue;
        }
        if let TypeKind::Object(object) = definition.node.kind {
            let own = object.fields.into_iter();
            fields.extend(own.map(|field| format!("{name}.{}", field.node.name.node)));
        }
    }
    fields
}
