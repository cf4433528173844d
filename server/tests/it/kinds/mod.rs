//! Data that a later release wrote or that cannot be read: it is kept and never interpreted, and a word that this
//! release does not know gives no rights.

mod corrupt;
mod later;
mod rows;
mod schema;
mod side_by_side;

use crate::support::{
    Instance, World, code, eventually, invitation, journal, new_board, on_each_database, trio,
};
use roost_schema::{
    DeleteItem, Direction, ErrorCode, ItemId, Kind, Message, Op, PageQuery, PatchItem, PutItem,
    RestoreItem, Role, RoomEvent, RoomId, SendMessage, Seq, UserId,
};
use roost_server::app::Actor;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;

on_each_database!(
    an_item_of_another_kind_is_carried_and_only_writing_it_is_refused,
    an_op_of_another_release_changes_no_state,
    a_member_whose_role_cannot_be_read_has_no_rights,
    a_room_whose_state_cannot_be_read_is_archived,
    an_item_that_cannot_be_read_is_overwritten_by_nothing,
);

/// An entry as another release writes it.
pub(super) struct Foreign<'a> {
    pub(super) room: RoomId,
    pub(super) item: ItemId,
    pub(super) kind: &'a str,
    pub(super) op: &'a str,
    pub(super) body: Option<&'a str>,
    pub(super) actor: UserId,
}

impl World {
    /// Writes an entry by SQL, past this release; answers its seq.
    pub(super) async fn append(&self, entry: &Foreign<'_>) -> Seq {
        let find = "SELECT max(seq) AS head, (SELECT min(born) FROM journal WHERE room = $1 AND item = $2) AS born
            FROM journal WHERE room = $1";
        let (room, item) = (entry.room.as_uuid(), entry.item.as_uuid());
        let find =
            Statement::from_sql_and_values(self.sql.backend(), find, [room.into(), item.into()]);
        let found = self.sql.read.query_one_raw(find).await.unwrap().unwrap();
        let head: Option<i64> = found.try_get("", "head").unwrap();
        let born: Option<i64> = found.try_get("", "born").unwrap();
        let seq = head.unwrap_or_default() + 1;
        if matches!(entry.op, "put" | "delete") {
            let clear = "UPDATE journal SET is_current = FALSE WHERE room = $1 AND item = $2";
            self.execute(clear, vec![room.into(), item.into()]).await;
        }
        let insert = "INSERT INTO journal (room, seq, item, kind, op, actor, op_id, request_hash, at_ms, born,
            is_current, size_bytes, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, TRUE, $10, $11)";
        let size = entry.body.map_or(0, str::len);
        let values = vec![
            room.into(),
            seq.into(),
            item.into(),
            entry.kind.into(),
            entry.op.into(),
            entry.actor.as_uuid().into(),
            format!("foreign-{seq}").into(),
            vec![0_u8; 32].into(),
            born.unwrap_or(seq).into(),
            i64::try_from(size).unwrap().into(),
            entry.body.map(str::to_owned).into(),
        ];
        self.execute(insert, values).await;
        Seq(seq.unsigned_abs())
    }
}

fn message(text: &str) -> SendMessage {
    SendMessage {
        text: text.to_owned(),
        id: None,
        op_id: None,
    }
}

fn delete(room: RoomId, item: ItemId) -> DeleteItem {
    DeleteItem {
        room,
        item,
        op_id: None,
        if_match: None,
    }
}

async fn an_item_of_another_kind_is_carried_and_only_writing_it_is_refused(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    let poll = Foreign {
        room,
        item: ItemId::generate(),
        kind: "poll",
        op: "put",
        body: Some(r#"{"question":"when?"}"#),
        actor: alice.user_id,
    };
    world.append(&poll).await;
    let sent = here
        .app
        .send_message(&alice, room, message("soon"))
        .await
        .unwrap();
    for instance in [&here, &world.instance().await] {
        let page = instance.app.list_events(&alice, room, None).await.unwrap();
        let carried = page
            .events
            .iter()
            .find(|event| event.item == poll.item)
            .unwrap();
        assert_eq!(carried.kind, Kind::from("poll"));
        assert_eq!(carried.body.as_str(), poll.body.unwrap());
        assert_eq!(page.position.seq, sent.seq);
        let put = PutItem {
            room,
            kind: "poll".into(),
            item: Some(poll.item),
            body: json!({}),
            op_id: None,
            if_match: None,
        };
        let put = instance.app.put_item::<RoomEvent>(&alice, put).await;
        assert_eq!(code(put), ErrorCode::UnsupportedKind);
        let deleted = instance
            .app
            .delete_item::<RoomEvent>(&alice, delete(room, poll.item))
            .await;
        assert_eq!(code(deleted), ErrorCode::UnsupportedKind);
    }
}

async fn an_op_of_another_release_changes_no_state(world: World) {
    let here = world.instance().await;
    let (alice, bob, _) = trio(&world).await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    let input = invitation(bob.user_id, Role::Editor);
    here.app.invite_member(&alice, room, input).await.unwrap();
    let sent = here
        .app
        .send_message(&bob, room, message("hello"))
        .await
        .unwrap();
    let foreign = |item, kind, op| Foreign {
        room,
        item,
        kind,
        op,
        body: Some("\" world\""),
        actor: alice.user_id,
    };
    let appended = world.append(&foreign(sent.id, "message", "append")).await;
    let member = ItemId::of_member(bob.user_id);
    world.append(&foreign(member, "member", "praise")).await;
    let of_room = ItemId::of_room(room);
    let last = world.append(&foreign(of_room, "room", "praise")).await;
    for instance in [&here, &world.instance().await] {
        let has_heard = async || {
            let page = instance.app.list_events(&alice, room, None).await;
            page.unwrap().position.seq >= last
        };
        eventually(has_heard).await;
        let page = instance.app.list_events(&alice, room, None).await.unwrap();
        let mut of_page = page.events.iter();
        let carried = of_page.find(|event| event.seq == appended).unwrap();
        assert_eq!(carried.op, Op::from("append"));
        let is_sent = |event: &RoomEvent| event.seq == sent.seq;
        assert!(page.events.iter().any(is_sent), "{page:?}");
        it_is_read_as_before(instance, &bob, room, &sent).await;
    }
    // The next state of the item counts for every release, and supersedes the op and the state before.
    let deleted = here
        .app
        .delete_item(&bob, delete(room, sent.id))
        .await
        .unwrap();
    let page = here.app.list_events(&alice, room, None).await.unwrap();
    let of_item: Vec<_> = page
        .events
        .iter()
        .filter(|event| event.item == sent.id)
        .collect();
    assert_eq!(of_item, [&deleted]);
}

async fn it_is_read_as_before(instance: &Instance, bob: &Actor, room: RoomId, sent: &Message) {
    let app = &instance.app;
    assert_eq!(app.read_message(bob, room, sent.id).await.unwrap(), *sent);
    let listed = app.list_messages(bob, room, Direction::Newer, PageQuery::default());
    assert_eq!(listed.await.unwrap().items, std::slice::from_ref(sent));
    let more = app.send_message(bob, room, message("still here"));
    let more = more.await.unwrap();
    app.delete_item::<RoomEvent>(bob, delete(room, more.id))
        .await
        .unwrap();
}

async fn a_member_whose_role_cannot_be_read_has_no_rights(world: World) {
    let (alice, bob, _) = trio(&world).await;
    for kind in ["member", "poll"] {
        an_owner_who_is_a_guest_by(kind, &world, &alice, &bob).await;
    }
}

async fn an_owner_who_is_a_guest_by(kind: &str, world: &World, alice: &Actor, bob: &Actor) {
    let here = world.instance().await;
    let room = new_board(&here.app, alice, "Plan").await.id;
    let input = invitation(bob.user_id, Role::Owner);
    here.app.invite_member(alice, room, input).await.unwrap();
    here.app
        .send_message(bob, room, message("hello"))
        .await
        .unwrap();
    let mut feed = here.app.watch_room(bob, room, None).await.unwrap();
    feed.next().await.unwrap().unwrap();
    let guest = Foreign {
        room,
        item: ItemId::of_member(bob.user_id),
        kind,
        op: "put",
        body: Some(r#"{"role":"guest"}"#),
        actor: alice.user_id,
    };
    let demoted = world.append(&guest).await;
    // This instance has not received the demotion yet; the sequencer makes it read on.
    let refused = here.app.send_message(bob, room, message("still?")).await;
    assert_eq!(code(refused), ErrorCode::NotFound);
    here.app
        .send_message(alice, room, message("between us"))
        .await
        .unwrap();
    let last = feed.next().await.unwrap().unwrap();
    assert_eq!(last.position.seq, demoted);
    assert!(feed.next().await.unwrap().is_none());
    let fresh = world.instance().await;
    for instance in [&here, &fresh] {
        let refused = instance
            .app
            .send_message(bob, room, message("still?"))
            .await;
        assert_eq!(code(refused), ErrorCode::NotFound);
        assert_eq!(
            code(instance.app.list_events(bob, room, None).await),
            ErrorCode::NotFound
        );
        instance
            .app
            .send_message(alice, room, message("we go on"))
            .await
            .unwrap();
    }
}

async fn a_room_whose_state_cannot_be_read_is_archived(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    for (kind, op) in [("room", "put"), ("room", "delete"), ("poll", "put")] {
        let room = new_board(&here.app, &alice, "Plan").await.id;
        here.app
            .send_message(&alice, room, message("hello"))
            .await
            .unwrap();
        let body = match op {
            "put" => r#"{"type":"channel","archived":false}"#,
            _ => "null",
        };
        let strange = Foreign {
            room,
            item: ItemId::of_room(room),
            kind,
            op,
            body: Some(body),
            actor: alice.user_id,
        };
        world.append(&strange).await;
        for instance in [&here, &world.instance().await] {
            let refused = instance
                .app
                .send_message(&alice, room, message("still?"))
                .await;
            assert_eq!(code(refused), ErrorCode::Archived, "{kind} {op}");
            let page = instance.app.list_events(&alice, room, None).await.unwrap();
            assert!(page.events.iter().any(|event| event.kind == Kind::Message));
        }
    }
    // A room without a room item takes no writes, either.
    let room = RoomId::generate();
    let state = json!({ "roomId": room, "userId": alice.user_id, "role": "owner" }).to_string();
    let member = Foreign {
        room,
        item: ItemId::of_member(alice.user_id),
        kind: "member",
        op: "put",
        body: Some(&state),
        actor: alice.user_id,
    };
    world.append(&member).await;
    let refused = here.app.send_message(&alice, room, message("hello?")).await;
    assert_eq!(code(refused), ErrorCode::Archived);
}

async fn an_item_that_cannot_be_read_is_overwritten_by_nothing(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    let strange = Foreign {
        room,
        item: ItemId::generate(),
        kind: "todo",
        op: "put",
        body: Some(r#"{"title":{"of":"a later release"}}"#),
        actor: alice.user_id,
    };
    let seq = world.append(&strange).await;
    let body = json!({ "title": "mine" });
    let put = PutItem {
        room,
        kind: "todo".into(),
        item: Some(strange.item),
        body: body.clone(),
        op_id: None,
        if_match: None,
    };
    let patch = PatchItem {
        room,
        kind: "todo".into(),
        item: strange.item,
        body,
        op_id: None,
        if_match: None,
    };
    let restore = RestoreItem {
        room,
        kind: "todo".into(),
        item: strange.item,
        body: json!({ "authorId": alice.user_id, "createdAt": "2026-01-02T03:04:05Z", "title": "mine",
            "labels": [], "order": "V" }),
        op_id: None,
    };
    let app = &here.app;
    let put = app.put_item::<RoomEvent>(&alice, put).await;
    assert_eq!(code(put), ErrorCode::Conflict);
    let patched = app.patch_item::<RoomEvent>(&alice, patch).await;
    assert_eq!(code(patched), ErrorCode::NotFound);
    let restored = app.restore_item::<RoomEvent>(&alice, restore).await;
    assert_eq!(code(restored), ErrorCode::NotFound);
    let deleted = app
        .delete_item::<RoomEvent>(&alice, delete(room, strange.item))
        .await;
    assert_eq!(code(deleted), ErrorCode::NotFound);
    let log = journal(&here.store, room).await;
    assert_eq!(log.last().unwrap().seq, seq);
}
