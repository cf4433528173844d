//! Items of any kind, by the routes that all kinds share: changed one by one and in batches, restored, listed and
//! found.

mod routes;

use crate::support::{Person, Via, World, message, on_each_store};
use reqwest::Method;
use roost_client::Error;
use roost_schema::{
    BatchItems, BatchOutcome, DeleteMessage, ErrorCode, Failure, FoundItems, Item, ItemId, ItemOp,
    OpId, PageQuery, PatchItem, PutItem, RestoreItem, Role, RoomEvent, RoomId,
};
use serde_json::{Value, json};

on_each_store!(
    a_batch_is_done_in_order_and_each_part_by_itself,
    a_batch_that_is_repeated_on_another_transport_has_one_effect,
    what_one_person_deleted_only_they_bring_back,
    a_restored_item_is_in_its_place,
    a_new_item_takes_no_others_place,
    related_items_are_read_with_an_item,
    items_of_all_rooms_are_found,
    what_is_found_is_what_one_may_read,
);

impl Person {
    async fn batch(&self, via: Via, input: &BatchItems) -> roost_client::Result<BatchOutcome> {
        match via {
            Via::Rest => self.change_items(input).await,
            Via::SocketIo => self.socket().await.change_items(input).await,
            Via::GraphQl => self.batch_by_graphql(input).await,
        }
    }

    async fn batch_by_graphql(&self, input: &BatchItems) -> roost_client::Result<BatchOutcome> {
        let query = "mutation($room: RoomId!, $opId: OpId, $ops: [ItemInput!]!) {
            putItems(room: $room, opId: $opId, ops: $ops) {
                item seq error { code message retryAfterMs }
            }
        }";
        let ops: Vec<_> = input.ops.iter().map(as_graphql).collect();
        let variables = json!({ "room": input.room, "opId": input.op_id, "ops": ops });
        let data: Value = self.query(query, variables).await?;
        let outcomes = data["putItems"].as_array().unwrap().iter();
        // GraphQL answers null for fields that the other routes leave out.
        let outcome = |outcome: &Value| serde_json::from_value(outcome.clone()).unwrap();
        Ok(BatchOutcome {
            outcomes: outcomes.map(outcome).collect(),
        })
    }
}

fn as_graphql(op: &ItemOp) -> Value {
    match op {
        ItemOp::Put {
            kind,
            item,
            body,
            if_match,
        } => json!({ "put": { "item": item, "body": { kind: body }, "ifMatch": if_match } }),
        ItemOp::Patch {
            kind,
            item,
            body,
            if_match,
        } => json!({ "patch": { "item": item, "body": { kind: body }, "ifMatch": if_match } }),
        ItemOp::Delete { item, if_match } => {
            json!({ "delete": { "item": item, "ifMatch": if_match } })
        }
        ItemOp::Restore { kind, item, body } => {
            json!({ "restore": { "kind": kind, "item": item, "body": body } })
        }
    }
}

fn put(item: ItemId, text: &str) -> ItemOp {
    ItemOp::Put {
        kind: "message".into(),
        item: Some(item),
        body: json!({ "text": text }),
        if_match: None,
    }
}

fn patch(item: ItemId, text: &str) -> ItemOp {
    ItemOp::Patch {
        kind: "message".into(),
        item,
        body: json!({ "text": text }),
        if_match: None,
    }
}

const fn delete(item: ItemId) -> ItemOp {
    ItemOp::Delete {
        item,
        if_match: None,
    }
}

fn batch(room: RoomId, op_id: Option<&str>, ops: Vec<ItemOp>) -> BatchItems {
    BatchItems {
        room,
        op_id: op_id.map(|op_id| op_id.parse().unwrap()),
        ops,
    }
}

fn codes(outcome: &BatchOutcome) -> Vec<Option<ErrorCode>> {
    let code = |error: &Failure| error.code;
    let outcomes = outcome.outcomes.iter();
    outcomes
        .map(|outcome| {
            assert_ne!(outcome.seq.is_some(), outcome.error.is_some());
            assert_eq!(outcome.seq.is_some(), outcome.item.is_some());
            outcome.error.as_ref().map(code)
        })
        .collect()
}

async fn a_batch_is_done_in_order_and_each_part_by_itself(world: World) {
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let board = alice.board("Plan").await.id;
    alice.invite(board, &bob, Role::Viewer).await;
    let stranger = server.stranger().await;
    for via in Via::ALL {
        let mut watch = bob.watch(Via::SocketIo, board, None).await.unwrap();
        let (kept, gone, never) = (ItemId::generate(), ItemId::generate(), ItemId::generate());
        let mut ops = vec![
            put(kept, "one"),
            put(gone, "two"),
            patch(never, "to nothing"),
            patch(kept, "one, changed"),
            put(kept, ""),
            delete(gone),
            put(gone, "again"),
        ];
        let mut refused = vec![
            None,
            None,
            Some(ErrorCode::NotFound),
            None,
            Some(ErrorCode::Invalid),
            None,
            Some(ErrorCode::Conflict),
        ];
        // GraphQL's schema has no field for an unknown kind.
        if via != Via::GraphQl {
            ops.push(ItemOp::Put {
                kind: "sculpture".into(),
                item: None,
                body: json!({}),
                if_match: None,
            });
            refused.push(Some(ErrorCode::UnsupportedKind));
        }
        let done = alice.batch(via, &batch(board, None, ops)).await.unwrap();
        assert_eq!(codes(&done), refused, "{via:?}");
        let seqs = done.outcomes.iter().filter_map(|it| it.seq);
        let seqs: Vec<_> = seqs.map(|seq| seq.0).collect();
        let first = seqs[0];
        assert_eq!(seqs, (first..first + 4).collect::<Vec<_>>(), "{via:?}");
        let seen = watch.events(2).await;
        assert_eq!(seen.last().unwrap().seq.0, first + 3, "{via:?}");
        let item = alice.read_item(board, kept).await.unwrap();
        assert_eq!(item.seq.0, first + 2);
        let body: Value = item.body.decode().unwrap();
        assert_eq!(body["text"], "one, changed");

        for (person, code) in [
            (&bob, ErrorCode::Forbidden),
            (&stranger, ErrorCode::NotFound),
        ] {
            let input = batch(board, None, vec![put(never, "x"), delete(kept)]);
            let refused = person.batch(via, &input).await.unwrap();
            assert_eq!(codes(&refused), [Some(code); 2], "{via:?}");
        }
        for (op_id, count) in [(None, 0), (None, 201), (Some("x".repeat(61)), 2)] {
            let ops = vec![delete(never); count];
            let input = batch(board, op_id.as_deref(), ops);
            let refused = alice.batch(via, &input).await.unwrap_err();
            assert_eq!(refused.code(), Some(ErrorCode::Invalid), "{via:?}");
        }
    }
}

async fn a_batch_that_is_repeated_on_another_transport_has_one_effect(world: World) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let board = alice.board("Plan").await.id;
    for via in Via::ALL {
        let item = ItemId::generate();
        let mut ops: Vec<_> = (0..30)
            .map(|n| put(ItemId::generate(), &n.to_string()))
            .collect();
        ops.extend([put(item, "one"), patch(item, "two"), delete(item)]);
        let op_id = format!("batch-{via:?}");
        let input = batch(board, Some(&op_id), ops);
        let first = alice.batch(via, &input).await.unwrap();
        assert_eq!(codes(&first), vec![None; 33], "{via:?}");
        let before = alice.list_events(board, None).await.unwrap().position;
        for again in Via::ALL {
            let repeated = alice.batch(again, &input).await.unwrap();
            assert_eq!(shown(&repeated), shown(&first), "{again:?}");
        }
        // Each part of a batch has an operation id of its own, and can be repeated alone.
        let ItemOp::Put {
            kind, item, body, ..
        } = input.ops[7].clone()
        else {
            panic!("the eighth puts an item");
        };
        let part = PutItem {
            room: board,
            kind,
            item,
            body,
            op_id: Some(format!("{op_id}:7").parse::<OpId>().unwrap()),
            if_match: None,
        };
        let part = alice.socket().await.put_item(&part).await.unwrap();
        let of_batch = &first.outcomes[7];
        assert_eq!(
            (Some(part.seq), Some(part.item)),
            (of_batch.seq, of_batch.item)
        );
        let after = alice.list_events(board, None).await.unwrap().position;
        assert_eq!(after, before, "{via:?}");
    }
}

/// The outcome as JSON, so that the order of fields does not matter.
fn shown(outcome: &BatchOutcome) -> Value {
    serde_json::to_value(outcome).unwrap()
}

fn restore(room: RoomId, item: &Item) -> RestoreItem {
    RestoreItem {
        room,
        kind: item.kind.to_string(),
        item: item.id,
        body: item.body.decode().unwrap(),
        op_id: None,
    }
}

async fn what_one_person_deleted_only_they_bring_back(world: World) {
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let board = alice.board("Plan").await.id;
    alice.invite(board, &bob, Role::Editor).await;
    let sent = bob.send(Via::Rest, board, message("mine")).await.unwrap();
    let item = bob.read_item(board, sent.id).await.unwrap();
    let (of_alice, of_bob) = (alice.socket().await, bob.socket().await);
    let code = |refused: Result<RoomEvent, Error>| refused.unwrap_err().code().unwrap();

    assert_eq!(
        code(of_bob.restore_item(&restore(board, &item)).await),
        ErrorCode::Conflict,
        "it is not deleted"
    );
    let by_nobody = Item {
        id: ItemId::generate(),
        ..item.clone()
    };
    assert_eq!(
        code(of_bob.restore_item(&restore(board, &by_nobody)).await),
        ErrorCode::NotFound
    );
    bob.delete(Via::Rest, board, sent.id, DeleteMessage::default())
        .await
        .unwrap();
    assert_eq!(
        code(of_alice.restore_item(&restore(board, &item)).await),
        ErrorCode::Forbidden,
        "not even by an owner: it would be theirs then"
    );
    of_bob.restore_item(&restore(board, &item)).await.unwrap();

    // The author cannot restore an item that a moderator deleted; the moderator can, as their own.
    alice
        .delete(Via::Rest, board, sent.id, DeleteMessage::default())
        .await
        .unwrap();
    assert_eq!(
        code(of_bob.restore_item(&restore(board, &item)).await),
        ErrorCode::Forbidden
    );
    let back = of_alice.restore_item(&restore(board, &item)).await.unwrap();
    let body: Value = back.body.decode().unwrap();
    assert_eq!(body["authorId"], json!(alice.id()));
}

async fn a_restored_item_is_in_its_place(world: World) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let board = alice.board("Plan").await.id;
    let mut sent = Vec::new();
    for text in ["one", "two", "three"] {
        let one = alice.send(Via::Rest, board, message(text)).await.unwrap();
        sent.push(alice.read_item(board, one.id).await.unwrap());
    }
    alice
        .delete(Via::Rest, board, sent[1].id, DeleteMessage::default())
        .await
        .unwrap();
    let socket = alice.socket().await;
    let mut forged = restore(board, &sent[1]);
    forged.body["authorId"] = json!("01900000-0000-7000-8000-000000000000");
    forged.body["pinned"] = json!(true);
    let restored = socket.restore_item(&forged).await.unwrap();
    let state: Value = restored.body.decode().unwrap();
    assert_eq!(
        (&state["text"], &state["authorId"]),
        (&json!("two"), &json!(alice.id()))
    );
    assert_eq!(
        state["pinned"],
        Value::Null,
        "only what a draft has comes back"
    );
    let page = PageQuery::default();
    let listed = alice
        .list_items(board, "message", None, &page)
        .await
        .unwrap();
    let listed: Vec<_> = listed.items.iter().map(|item| item.id).collect();
    assert_eq!(listed, [sent[2].id, sent[1].id, sent[0].id]);

    // A patch changes the fields that it names, and creates nothing.
    let patch = PatchItem {
        room: board,
        kind: "message".into(),
        item: sent[1].id,
        body: json!({ "text": "two and a half" }),
        op_id: None,
        if_match: Some(restored.seq),
    };
    let patched = socket.patch_item(&patch).await.unwrap();
    let refused = socket.patch_item(&patch).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Stale));
    let item = alice.read_item(board, sent[1].id).await.unwrap();
    assert_eq!((item.seq, item.born), (patched.seq, sent[1].born));
    for body in [
        json!({ "text": null }),
        json!({ "text": 5 }),
        json!({ "text": "x", "title": "y" }),
    ] {
        let broken = PatchItem {
            body,
            if_match: None,
            ..patch.clone()
        };
        let refused = socket.patch_item(&broken).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::Invalid), "{broken:?}");
    }
}

async fn a_new_item_takes_no_others_place(world: World) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let board = alice.board("Plan").await.id;
    let todo = alice
        .put("todo", board, json!({ "title": "Buy milk" }))
        .await;
    let todo = todo.unwrap();
    let path = format!("/api/v1/rooms/{board}/items");
    let post = async |id: ItemId| {
        let body = json!({ "kind": "todo", "id": id, "body": { "title": "Changed" } });
        let asked = alice.ask(Method::POST, &path).await.json(&body);
        asked.send().await.unwrap().status().as_u16()
    };
    assert_eq!(post(todo.item).await, 409);
    assert_eq!(post(ItemId::generate()).await, 201);
    let kept = alice.read_item(board, todo.item).await.unwrap();
    assert_eq!(kept.seq, todo.seq);
}

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
