//! Items that are searched for in all rooms of a person, and those that are read with another item.

use crate::support::{Person, World, message, on_each_store};
use roost_schema::{ErrorCode, FoundItems, Item, ItemId, PageQuery, Role, RoomId};
use serde_json::{Value, json};

on_each_store!(
    related_items_are_read_with_an_item,
    items_of_all_rooms_are_found,
    what_is_found_is_what_one_may_read,
);

/// Searches all items of a kind in a person's rooms, page by page.
async fn found_by_pages(person: &Person, kind: &str, limit: u32) -> Vec<(RoomId, ItemId)> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = PageQuery {
            limit: Some(limit),
            cursor,
        };
        let FoundItems { items, next, .. } = person.find_items(kind, None, &page).await.unwrap();
        assert!(items.len() <= limit as usize);
        found.extend(items.iter().map(|item| (item.room_id, item.id)));
        cursor = next;
        if cursor.is_none() {
            return found;
        }
    }
}

/// A person with more rooms than one search looks into.
#[tokio::test]
async fn items_of_many_rooms_are_found() {
    const ROOMS: usize = 120;
    let world = World::on_sqlite().await;
    let server = world
        .serve_with(&[
            ("account_requests_per_second", "100000"),
            ("address_requests_per_second", "100000"),
        ])
        .await;
    let alice = server.alice().await;
    let mut rooms = Vec::new();
    for number in 0..ROOMS {
        rooms.push(alice.board(&format!("Plan {number}")).await.id);
    }
    rooms.sort_unstable();
    // Items in the first room, around the limit of one search, and in the last room.
    let mut expected = Vec::new();
    for index in [0, 49, 50, 51, 99, 100, ROOMS - 1] {
        let made = alice
            .put("todo", rooms[index], json!({ "title": "x" }))
            .await;
        expected.push((rooms[index], made.unwrap().item));
    }
    for limit in [1, 3, 7, 100] {
        let found = found_by_pages(&alice, "todo", limit).await;
        assert_eq!(found, expected, "{limit}");
    }
}

async fn items_of_all_rooms_are_found(world: World) {
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let mut expected = Vec::new();
    for (number, count) in [3, 0, 5, 1].into_iter().enumerate() {
        let board = alice.board(&format!("Plan {number}")).await.id;
        alice.invite(board, &bob, Role::Viewer).await;
        for number in 0..count {
            let sent = alice
                .send_message(board, &message(&number.to_string()))
                .await;
            expected.push((board, sent.unwrap().id));
        }
    }
    // The answer has no item of other people's rooms.
    let other = bob.board("Bob's").await.id;
    bob.send_message(other, &message("mine")).await.unwrap();
    expected.sort_by_key(|(board, _)| *board);

    for limit in [1, 2, 4, 100] {
        let found = found_by_pages(&alice, "message", limit).await;
        assert_eq!(found, expected, "{limit}");
    }
    let query = "{ myItems(kind: \"message\", limit: 4) { next items {
        __typename id roomId author { id } room { title } ... on Message { text }
    } } }";
    let data: Value = alice.query(query, json!({})).await.unwrap();
    let items = data["myItems"]["items"].as_array().unwrap();
    assert_eq!(items.len(), 4);
    for (item, (board, id)) in items.iter().zip(&expected) {
        assert_eq!((&item["roomId"], &item["id"]), (&json!(board), &json!(id)));
        assert_eq!(item["author"]["id"], json!(alice.id()));
        assert_eq!(item["__typename"], "Message");
        assert!(item["text"].is_string() && item["room"]["title"].is_string());
    }
}

/// A todo's assignee, as an example of a relation between items.
async fn related_items_are_read_with_an_item(world: World) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let board = alice.board("Plan").await.id;
    let made = alice.put("todo", board, json!({ "title": "first" })).await;
    let first = made.unwrap().item;
    for title in ["second", "third"] {
        let body = json!({ "title": title, "assigneeId": first });
        alice.put("todo", board, body).await.unwrap();
    }
    let query = "query($room: RoomId!, $item: ItemId!) { item(room: $room, item: $item) {
        room { title } related(relation: \"to\", kind: \"todo\", limit: 1) {
            next items { ... on Todo { title } room { id } }
        }
    } }";
    let variables = json!({ "room": board, "item": first });
    let data: Value = alice.query(query, variables).await.unwrap();
    let item = &data["item"];
    assert_eq!(item["room"]["title"], "Plan");
    assert_eq!(item["related"]["items"][0]["title"], "second");
    assert_eq!(item["related"]["items"][0]["room"]["id"], json!(board));
    assert!(item["related"]["next"].is_string());
}

async fn what_is_found_is_what_one_may_read(world: World) {
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let left = alice.board("Plan").await.id;
    alice.invite(left, &bob, Role::Viewer).await;
    alice.send_message(left, &message("hello")).await.unwrap();
    let in_left = |items: &[Item]| items.iter().any(|item| item.room_id == left);
    let page = PageQuery::default();
    assert!(in_left(
        &bob.find_items("message", None, &page).await.unwrap().items
    ));
    alice.remove_member(left, bob.id(), None).await.unwrap();
    assert!(!in_left(
        &bob.find_items("message", None, &page).await.unwrap().items
    ));
    let nothing = bob.find_items("sculpture", None, &page).await.unwrap();
    assert_eq!((nothing.items, nothing.next), (vec![], None));
    for (kind, cursor) in [
        ("No Kind", None),
        ("", None),
        ("message", Some("x".to_owned())),
    ] {
        let page = PageQuery {
            limit: None,
            cursor,
        };
        let refused = alice.find_items(kind, None, &page).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::Invalid), "{kind}");
    }
}
