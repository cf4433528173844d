//! The relay: committed events reach the journal once and in order, whichever process dies in between.

use crate::support::{
    Instance, World, board_input, code, eventually, invitation, journal, new_board,
    on_each_database, op, title, trio,
};
use roost_schema::{ChangeRoom, CreateBoard, ErrorCode, Role, Room, RoomState, RoomType};
use roost_server::{
    app::Actor,
    store::{NewRoom, OutboxRow, Store, journal::Entry},
};
use tokio_util::sync::CancellationToken;

on_each_database!(
    what_an_earlier_process_left_is_relayed,
    a_row_that_was_written_before_is_only_deleted,
    who_waits_too_long_for_a_relay_cannot_know,
    what_the_journal_did_not_take_is_not_acknowledged,
);

async fn what_an_earlier_process_left_is_relayed(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    let mut left = Vec::new();
    for _ in 0..3 {
        left.push(commit_only(&here.store, &alice).await.id);
    }
    assert_eq!(journal(&here.store, left[0]).await.len(), 0);

    let cancel = CancellationToken::new();
    let relay = tokio_util::task::TaskTracker::new();
    let (app, stop) = (here.app.clone(), cancel.clone());
    relay.spawn(async move { app.run_relay(stop).await });
    for room in &left {
        eventually(|| async { here.app.read_room(&alice, *room).await.is_ok() }).await;
    }
    // The relay also finds rows that are committed while it runs.
    let later = commit_only(&here.store, &alice).await.id;
    eventually(|| async { here.app.read_room(&alice, later).await.is_ok() }).await;
    eventually(|| async { here.store.outbox.rooms().await.unwrap().is_empty() }).await;
    cancel.cancel();
    relay.close();
    relay.wait().await;
}

async fn a_row_that_was_written_before_is_only_deleted(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    let room = commit_only(&here.store, &alice).await.id;
    let claim = here.store.outbox.claim(room).await.unwrap().unwrap();
    let rows = claim.oldest().await.unwrap();
    claim.finish().await.unwrap();
    relay_all(&here).await;
    let before = journal(&here.store, room).await;
    assert_eq!(before.len(), 2);
    // As if the relay had died between the journal's commit and its own.
    for row in &rows {
        put_back(&world, row).await;
    }
    assert!(!here.store.outbox.is_empty(room).await.unwrap());
    relay_all(&here).await;
    assert_eq!(journal(&here.store, room).await, before);
}

async fn who_waits_too_long_for_a_relay_cannot_know(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    let input = || CreateBoard {
        op_id: Some(op("op-1")),
        ..board_input("Plan")
    };
    let room = here.app.create_board(&alice, input()).await.unwrap();
    let claim = here.store.outbox.claim(room.id).await.unwrap().unwrap();
    let waited = here.app.create_board(&alice, input()).await;
    assert_eq!(code(waited), ErrorCode::OutcomeUnknown);
    claim.finish().await.unwrap();
    assert_eq!(here.app.create_board(&alice, input()).await.unwrap(), room);
}

async fn what_the_journal_did_not_take_is_not_acknowledged(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    let input = || ChangeRoom {
        op_id: Some(op("op-1")),
        ..title("New")
    };

    let away = "ALTER TABLE journal RENAME TO journal_away";
    world.execute(away, vec![]).await;
    let unknown = here.app.change_room(&alice, room, input()).await;
    assert_eq!(code(unknown), ErrorCode::OutcomeUnknown);
    assert!(!here.store.outbox.is_empty(room).await.unwrap());

    let back = "ALTER TABLE journal_away RENAME TO journal";
    world.execute(back, vec![]).await;
    let healed = here.app.change_room(&alice, room, input()).await.unwrap();
    assert_eq!(healed.title.as_deref(), Some("New"));
    assert!(here.store.outbox.is_empty(room).await.unwrap());
    let entries = journal(&here.store, room).await;
    assert_eq!(entries.len(), 3);
    let state: RoomState = entries[2].body.decode().unwrap();
    assert_eq!(state.title.as_deref(), Some("New"));
}

/// A relay that froze while it held a room. Only `PostgreSQL` supports two instances.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_froze_loses_the_room() {
    let world = World::on_postgres().await;
    let (east, west) = (world.instance().await, world.instance().await);
    let alice = world.person("alice").await;
    let room = commit_only(&east.store, &alice).await.id;
    let frozen = east.store.outbox.claim(room).await.unwrap().unwrap();
    let rows = frozen.oldest().await.unwrap();

    relay_all(&west).await;
    assert_eq!(journal(&west.store, room).await.len(), 2);
    // The frozen relay wakes and has lost its claim.
    frozen.delete_through(rows[1].id).await.unwrap_err();
}

/// Two instances change one room at once. Only `PostgreSQL` supports two instances.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rival_relays_keep_the_order_of_the_commits() {
    let world = World::on_postgres().await;
    let (east, west) = (world.instance().await, world.instance().await);
    let (alice, bob, _) = trio(&world).await;
    let room = new_board(&east.app, &alice, "Plan").await.id;
    let input = invitation(bob.user_id, Role::Editor);
    east.app.invite_member(&alice, room, input).await.unwrap();
    let (app, reader) = (&west.app, &bob);
    eventually(|| async { app.read_room(reader, room).await.is_ok() }).await;

    let changes = (0..20).map(|n| {
        let (app, actor) = match n % 2 {
            0 => (east.app.clone(), alice),
            _ => (west.app.clone(), bob),
        };
        async move {
            app.change_room(&actor, room, title(&format!("Plan {n}")))
                .await
        }
    });
    for changed in futures::future::join_all(changes).await {
        changed.unwrap();
    }

    let entries = journal(&east.store, room).await;
    let ids: Vec<i64> = entries.iter().map(outbox_id).collect();
    assert_eq!(ids.len(), 23);
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    let state: RoomState = entries[22].body.decode().unwrap();
    let kept = east.app.read_room(&alice, room).await.unwrap();
    assert_eq!(state.title, kept.title);
}

fn outbox_id(entry: &Entry) -> i64 {
    let op_id = entry.op_id.as_ref().unwrap().as_str();
    op_id
        .strip_prefix("roost.outbox.")
        .unwrap()
        .parse()
        .unwrap()
}

/// A board whose process ended between its commit and its relay.
async fn commit_only(store: &Store, actor: &Actor) -> Room {
    let new = NewRoom {
        room_type: RoomType::Board,
        title: "Plan".parse().unwrap(),
        creator: actor.user_id,
        others: Vec::new(),
    };
    store.rooms.create(None, &new).await.unwrap()
}

/// Runs the relay until no row waits.
async fn relay_all(here: &Instance) {
    let cancel = CancellationToken::new();
    let running = here.app.run_relay(cancel.clone());
    let done = async {
        eventually(|| async { here.store.outbox.rooms().await.unwrap().is_empty() }).await;
        cancel.cancel();
    };
    tokio::join!(running, done);
}

async fn put_back(world: &World, row: &OutboxRow) {
    let event = &row.event;
    let overriding = match world.sql.backend() {
        sea_orm::DbBackend::Sqlite => "",
        _ => "OVERRIDING SYSTEM VALUE",
    };
    let sql = format!(
        "INSERT INTO outbox (id, room_id, item, kind, op, body, actor) {overriding}
         VALUES ($1, $2, $3, $4, 'put', $5, $6)"
    );
    let values = vec![
        row.id.into(),
        event.room.as_uuid().into(),
        event.item.as_uuid().into(),
        event.kind.as_str().into(),
        event.body.as_str().into(),
        event.actor.as_uuid().into(),
    ];
    world.execute(&sql, values).await;
}
