//! Who restores an item, and its place among the others: where it was, and never that of another.

use crate::support::{Via, World, message, on_each_store};
use reqwest::Method;
use roost_client::Error;
use roost_schema::{
    DeleteMessage, ErrorCode, Item, ItemId, PageQuery, PatchItem, RestoreItem, Role, RoomEvent,
    RoomId,
};
use serde_json::{Value, json};

on_each_store!(
    what_one_person_deleted_only_they_bring_back,
    a_restored_item_is_in_its_place,
    a_new_item_takes_no_others_place,
);

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
