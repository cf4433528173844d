//! Todos: every editor of the room may change them, and they are found by assignee and due time.

use crate::support::{World, message, on_each_store};
use roost_schema::{
    DeleteItem, ErrorCode, Item, PageQuery, RestoreItem, Role, RoomEvent, Term, TodoState,
};
use serde_json::{Value, json};

on_each_store!(
    people_do_what_is_to_be_done_together,
    one_deletes_it_and_another_brings_it_back,
    todos_are_found_by_person_and_day_across_rooms,
    a_todo_is_refused_for_what_breaks_a_rule,
);

fn state(event: &RoomEvent) -> TodoState {
    event.body.decode().unwrap()
}

async fn people_do_what_is_to_be_done_together(world: World) {
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let (guest, stranger) = (server.person("guest").await, server.stranger().await);
    let room = alice.board("Plan").await.id;
    alice.invite(room, &bob, Role::Editor).await;
    alice.invite(room, &guest, Role::Viewer).await;

    let body = json!({ "title": " Buy milk ", "assigneeId": bob.id(), "labels": ["shop"] });
    let made = alice.put("todo", room, body).await.unwrap();
    let todo = state(&made);
    assert_eq!(
        (todo.author_id, todo.assignee_id),
        (alice.id(), Some(bob.id()))
    );
    assert_eq!(todo.title, "Buy milk", "as a title is kept");
    assert_eq!((todo.done.as_ref(), todo.order.as_str()), (None, "V"));

    // Bob is not the author, and every editor may mark a todo as done.
    let done = bob
        .patch("todo", room, made.item, json!({ "done": true }))
        .await
        .unwrap();
    let by = state(&done).done.unwrap();
    assert_eq!(by.by_id, bob.id());
    assert!(by.at <= done.at && by.at >= todo.created_at);
    // Marking it done again keeps the time of the first.
    let again = alice.patch(
        "todo",
        room,
        made.item,
        json!({ "done": true, "order": "k" }),
    );
    let again = state(&again.await.unwrap());
    assert_eq!((again.done, again.order.as_str()), (Some(by), "k"));
    let body = json!({ "done": false, "assigneeId": null, "notes": "two litres", "labels": null });
    let undone = state(&bob.patch("todo", room, made.item, body).await.unwrap());
    assert_eq!(
        undone,
        TodoState {
            notes: Some("two litres".into()),
            assignee_id: None,
            labels: Vec::new(),
            order: "k".into(),
            ..todo
        }
    );

    for (person, code) in [
        (&guest, ErrorCode::Forbidden),
        (&stranger, ErrorCode::NotFound),
    ] {
        let refused = person.put("todo", room, json!({ "title": "x" })).await;
        assert_eq!(refused.unwrap_err().code(), Some(code));
        let refused = person.patch("todo", room, made.item, json!({ "done": true }));
        assert_eq!(refused.await.unwrap_err().code(), Some(code));
    }
}

async fn one_deletes_it_and_another_brings_it_back(world: World) {
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let room = alice.board("Plan").await.id;
    alice.invite(room, &bob, Role::Editor).await;
    let body = json!({ "title": "Buy milk", "notes": "two litres", "done": true });
    let made = alice.put("todo", room, body).await.unwrap();
    let held = alice.read_item(room, made.item).await.unwrap();
    let delete = DeleteItem {
        room,
        item: made.item,
        op_id: None,
        if_match: None,
    };
    bob.socket().await.delete_item(&delete).await.unwrap();
    let restore = RestoreItem {
        room,
        kind: "todo".into(),
        item: made.item,
        body: held.body.decode().unwrap(),
        op_id: None,
    };
    let back = alice.socket().await.restore_item(&restore).await.unwrap();
    assert_eq!(state(&back).notes.as_deref(), Some("two litres"));
    let item = alice.read_item(room, made.item).await.unwrap();
    assert_eq!(item.born, held.born);
}

async fn todos_are_found_by_person_and_day_across_rooms(world: World) {
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let mut of_bob = Vec::new();
    for number in 0..3 {
        let room = alice.board(&format!("Plan {number}")).await.id;
        alice.invite(room, &bob, Role::Editor).await;
        for (person, due) in [
            (&bob, "2026-12-01"),
            (&alice, "2026-12-01"),
            (&bob, "2026-12-02"),
        ] {
            let body = json!({ "title": "Do it", "assigneeId": person.id(), "due": due });
            let made = alice.put("todo", room, body).await.unwrap();
            if person.id() == bob.id() {
                of_bob.push((room, made.item));
            }
        }
    }
    of_bob.sort_by_key(|(room, _)| *room);
    let term = format!("to:{}", bob.id());
    let ids = |items: &[Item]| -> Vec<_> {
        let ids = items.iter().map(|item| (item.room_id, item.id));
        ids.collect()
    };
    assert_eq!(ids(&bob.found("todo", &term).await), of_bob);
    assert_eq!(bob.found("todo", "due:2026-12-01").await.len(), 6);
    assert_eq!(bob.found("todo", "due:2026-12-03").await, []);

    let query = "query($term: Term!) { myItems(kind: \"todo\", term: $term) { items {
        id roomId ... on Todo { title due done { byId } assigneeId author { id } }
    } } }";
    let data: Value = bob.query(query, json!({ "term": term })).await.unwrap();
    let items = data["myItems"]["items"].as_array().unwrap();
    assert_eq!(items.len(), of_bob.len());
    assert_eq!(items[0]["due"], "2026-12-01");
    assert_eq!(items[0]["author"]["id"], json!(alice.id()));

    // A reassigned todo is found by its new assignee only, and a deleted one by no search.
    let (room, item) = of_bob[0];
    let give = json!({ "assigneeId": alice.id(), "due": null });
    bob.patch("todo", room, item, give).await.unwrap();
    assert_eq!(ids(&bob.found("todo", &term).await), of_bob[1..]);
    assert_eq!(bob.found("todo", "due:2026-12-01").await.len(), 5);
    let page = PageQuery::default();
    let term: Term = term.parse().unwrap();
    let listed = bob.list_items(room, "todo", Some(&term), &page).await;
    assert_eq!(ids(&listed.unwrap().items), [of_bob[1]]);
}

async fn a_todo_is_refused_for_what_breaks_a_rule(world: World) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    let made = alice
        .put("todo", room, json!({ "title": "Good" }))
        .await
        .unwrap();
    let twenty_one = vec!["x"; 21];
    for body in [
        json!({ "title": "" }),
        json!({ "title": "x".repeat(201) }),
        json!({ "title": null }),
        json!({ "title": "x", "notes": " " }),
        json!({ "title": "x", "due": "tomorrow" }),
        json!({ "title": "x", "due": "2026-02-30" }),
        json!({ "title": "x", "due": "+12026-02-03" }),
        json!({ "title": "x", "order": "a b" }),
        json!({ "title": "x", "order": "a0" }),
        json!({ "title": "x", "labels": twenty_one }),
        json!({ "title": "x", "labels": [""] }),
        json!({ "title": "x", "assigneeId": "bob" }),
        json!({ "title": "x", "colour": "red" }),
    ] {
        let refused = alice.put("todo", room, body.clone()).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Some(ErrorCode::Invalid),
            "{body}: {refused}"
        );
        let refused = alice.patch("todo", room, made.item, body.clone()).await;
        let code = refused.unwrap_err().code();
        assert_eq!(code, Some(ErrorCode::Invalid), "{body}");
    }
    let unnamed = alice
        .put("todo", room, json!({ "notes": "x" }))
        .await
        .unwrap_err();
    assert!(unnamed.to_string().contains("title"), "{unnamed}");
    // A message's id is not the id of a todo.
    let sent = alice.send_message(room, &message("hello")).await.unwrap();
    let other = alice
        .patch("todo", room, sent.id, json!({ "done": true }))
        .await;
    assert_eq!(other.unwrap_err().code(), Some(ErrorCode::NotFound));
}
