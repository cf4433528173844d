//! Rows of the relational store that a later release wrote, and one that cannot be read at all.

use crate::support::{
    World, code, eventually, invitation, journal, new_board, on_each_database, op, trio,
};
use roost_schema::{ErrorCode, ItemId, PageQuery, Role, RoomId};

on_each_database!(
    an_outbox_row_of_another_kind_is_relayed,
    an_outbox_row_that_cannot_be_read_keeps_no_other_waiting,
    lists_are_not_lost_to_one_foreign_row,
);

async fn leave_row(world: &World, room: RoomId, item: ItemId, kind: &str, body: &str) {
    let sql = "INSERT INTO outbox (room_id, item, kind, op, body, actor) VALUES ($1, $2, $3, 'put', $4, $1)";
    let values = vec![
        room.as_uuid().into(),
        item.as_uuid().into(),
        kind.into(),
        body.into(),
    ];
    world.execute(sql, values).await;
}

async fn an_outbox_row_of_another_kind_is_relayed(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    let item = ItemId::generate();
    leave_row(&world, room, item, "poll", r#"{"question":"when?"}"#).await;
    let input = invitation(world.person("bob").await.user_id, Role::Viewer);
    here.app.invite_member(&alice, room, input).await.unwrap();
    let entries = journal(&here.store, room).await;
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, ["room", "member", "poll", "member"]);
    assert_eq!(entries[2].item, item);
}

async fn an_outbox_row_that_cannot_be_read_keeps_no_other_waiting(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    let mut broken = Vec::new();
    // More rooms than are relayed at once.
    for _ in 0..8 {
        let room = new_board(&here.app, &alice, "Plan").await.id;
        leave_row(&world, room, ItemId::generate(), "poll", "{}").await;
        leave_row(&world, room, ItemId::generate(), "poll", "{").await;
        broken.push(room);
    }
    let good = new_board(&here.app, &alice, "Good").await.id;
    let cancel = tokio_util::sync::CancellationToken::new();
    let relay = tokio_util::task::TaskTracker::new();
    let (app, stop) = (here.app.clone(), cancel.clone());
    relay.spawn(async move { app.run_relay(stop).await });
    // The rows before the unreadable one are relayed.
    for room in &broken {
        eventually(async || journal(&here.store, *room).await.len() == 3).await;
    }
    for number in 0..5 {
        let item = ItemId::generate();
        leave_row(&world, good, item, "poll", &number.to_string()).await;
        let relayed = async || {
            journal(&here.store, good)
                .await
                .iter()
                .any(|entry| entry.item == item)
        };
        let begun = std::time::Instant::now();
        eventually(relayed).await;
        // Five times what the sweep needs to find the row; a sweep that waits for the broken rooms takes 10 s.
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    }
    cancel.cancel();
    relay.close();
    relay.wait().await;
}

async fn lists_are_not_lost_to_one_foreign_row(world: World) {
    let here = world.instance().await;
    let (alice, bob, carol) = trio(&world).await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    let channel = new_board(&here.app, &alice, "Channel").await.id;
    for person in [&bob, &carol] {
        let input = invitation(person.user_id, Role::Editor);
        here.app.invite_member(&alice, room, input).await.unwrap();
    }
    let guest = "UPDATE members SET role = 'guest' WHERE room_id = $1 AND user_id = $2";
    let values = vec![room.as_uuid().into(), bob.user_id.as_uuid().into()];
    world.execute(guest, values).await;
    let strange = "UPDATE rooms SET type = 'channel' WHERE id = $1";
    world.execute(strange, vec![channel.as_uuid().into()]).await;

    let query = PageQuery {
        limit: Some(1),
        cursor: None,
    };
    let first = here.app.list_members(&alice, room, query).await.unwrap();
    let query = PageQuery {
        limit: Some(1),
        cursor: first.next.clone(),
    };
    let second = here.app.list_members(&alice, room, query).await.unwrap();
    let listed: Vec<_> = first
        .items
        .iter()
        .chain(&second.items)
        .map(|it| it.user_id)
        .collect();
    assert_eq!(listed, [carol.user_id, alice.user_id]);
    assert!(second.next.is_none());
    let rooms = here
        .app
        .list_rooms(&alice, &[], PageQuery::default())
        .await
        .unwrap();
    assert_eq!(
        rooms.items.iter().map(|it| it.id).collect::<Vec<_>>(),
        [room]
    );
    assert!(
        here.app
            .list_rooms(&bob, &[], PageQuery::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert_eq!(
        code(here.app.read_room(&alice, channel).await),
        ErrorCode::NotFound
    );
    // A person whose role is unknown here is still a member, who can get another role or be removed.
    let again = here
        .app
        .invite_member(&alice, room, invitation(bob.user_id, Role::Editor))
        .await;
    assert_eq!(code(again), ErrorCode::Conflict);
    here.app
        .remove_member(&alice, room, bob.user_id, Some(op("op-1")))
        .await
        .unwrap();
    here.app
        .invite_member(&alice, room, invitation(bob.user_id, Role::Editor))
        .await
        .unwrap();
}
