//! The people of rooms, members and messages: read together, not by one query each.

use super::ask;
use crate::support::{Program, World, alone_and_on_clusters, message};
use roost_schema::Role;
use serde_json::{Value, json};

#[tokio::test]
async fn fifty_messages_cost_one_read_of_their_authors() {
    let world = World::on_sqlite().await;
    let program = world
        .start_program(&[
            ("address_requests_per_second", "1000"),
            ("account_requests_per_second", "1000"),
        ])
        .await;
    let alice = crate::support::Person::register(&program.endpoint, "alice").await;
    let bob = crate::support::Person::register(&program.endpoint, "bob").await;
    let room = alice.board("Plan").await.id;
    alice.invite(room, &bob, Role::Editor).await;
    for number in 0..50 {
        let author = if number % 2 == 0 { &alice } else { &bob };
        let sent = author.send_message(room, &message("hello")).await;
        sent.unwrap();
    }

    let before = batches(&program).await;
    let query = "query($room: RoomId!) {
        messages(room: $room, limit: 50) { items { authorId author { id name } } }
    }";
    let data: Value = alice.query(query, json!({ "room": room })).await.unwrap();
    assert_eq!(batches(&program).await - before, 1);

    let items = data["messages"]["items"].as_array().unwrap();
    assert_eq!(items.len(), 50);
    for item in items {
        assert_eq!(item["author"]["id"], item["authorId"]);
        let name = if item["authorId"] == json!(alice.id()) {
            "alice"
        } else {
            "bob"
        };
        assert_eq!(item["author"]["name"], name);
    }
}

alone_and_on_clusters!(rooms_and_members_are_joined_with_their_people);

async fn rooms_and_members_are_joined_with_their_people(world: World) {
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let room = alice.board("Plan").await.id;
    alice.invite(room, &bob, Role::Viewer).await;
    let query = "query($room: RoomId!) {
        boards { items { id title role createdById createdBy { name } } next }
        members(room: $room) { items { userId role user { id name } } }
    }";
    let token = super::token(&bob).await;
    let answer = ask(&server, &token, query, json!({ "room": room })).await;
    assert_eq!(
        answer["data"]["boards"],
        json!({ "items": [{
            "id": room, "title": "Plan", "role": "VIEWER",
            "createdById": alice.id(), "createdBy": { "name": "alice" },
        }], "next": null })
    );
    let members = answer["data"]["members"]["items"].as_array().unwrap();
    assert_eq!(members.len(), 2);
    for member in members {
        assert_eq!(member["user"]["id"], member["userId"]);
    }
}

async fn batches(program: &Program) -> u64 {
    let page = program.metrics().await;
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("roost_graphql_people_batches_total "));
    line.map_or(0, |count| count.trim().parse().unwrap())
}
