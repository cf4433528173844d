//! The relay: committed events reach the journal once and in order, whichever process dies in between.

use crate::support::{
    Instance, World, board_input, code, eventually, invitation, journal, message, new_board,
    on_each_database, op, title, trio,
};
use roost_schema::{
    Body, ChangeRoom, CreateBoard, ErrorCode, ItemId, Kind, Role, Room, RoomId, RoomState, RoomType,
};
use roost_server::{
    app::Actor,
    store::{NewRoom, OutboxRow, Store, journal::Entry},
};
use sea_orm::{ConnectionTrait, Statement};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

on_each_database!(
    what_an_earlier_process_left_is_relayed,
    a_row_that_was_written_before_is_only_deleted,
    who_waits_too_long_for_a_relay_cannot_know,
    what_the_journal_did_not_take_is_not_acknowledged,
    an_event_that_another_release_wrote_is_done,
    a_refused_event_that_gives_rights_closes_its_room,
    another_refused_event_is_set_aside,
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
    let rows = waiting(&here, room).await;
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

async fn an_event_that_another_release_wrote_is_done(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    let room = commit_only(&here.store, &alice).await.id;
    let rows = waiting(&here, room).await;
    relay_all(&here).await;
    let before = journal(&here.store, room).await;
    // Another release writes the same event with a field that this one does not know.
    for mut row in rows {
        let body = row.event.body.as_str().replacen('{', r#"{"later":1,"#, 1);
        row.event.body = Body::from_text(body).unwrap();
        put_back(&world, &row).await;
    }
    relay_all(&here).await;
    assert_eq!(journal(&here.store, room).await, before);
}

async fn a_refused_event_that_gives_rights_closes_its_room(world: World) {
    let here = world.instance().await;
    let (alice, bob, _) = trio(&world).await;
    let room = commit_only(&here.store, &alice).await.id;
    let mut member = waiting(&here, room).await.pop().unwrap();
    assert_eq!(member.event.kind, Kind::Member);
    relay_all(&here).await;
    // The database gave the id once more, for another person's membership.
    member.event.item = ItemId::of_member(bob.user_id);
    put_back(&world, &member).await;

    let refused = here.app.change_room(&alice, room, title("New")).await;
    assert_eq!(code(refused), ErrorCode::OutcomeUnknown);
    let entries = journal(&here.store, room).await;
    assert_eq!(entries.len(), 3);
    let state: RoomState = entries[2].body.decode().unwrap();
    assert!(state.archived);
    let closed = format!("roost.closed.{}", member.id);
    assert_eq!(entries[2].op_id.as_ref().unwrap().as_str(), closed);
    let written = here.app.send_message(&alice, room, message("hello")).await;
    assert_eq!(code(written), ErrorCode::Archived);

    // The row stays the first, and a further try closes nothing further.
    let again = here.app.change_room(&alice, room, title("Newer")).await;
    assert_eq!(code(again), ErrorCode::OutcomeUnknown);
    assert_eq!(journal(&here.store, room).await.len(), 3);
    assert_eq!(waiting(&here, room).await[0], member);
    assert_eq!(world.count("SELECT id FROM outbox_refused").await, 0);
}

async fn another_refused_event_is_set_aside(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    let room = commit_only(&here.store, &alice).await.id;
    let mut row = waiting(&here, room).await.pop().unwrap();
    relay_all(&here).await;
    row.event.item = ItemId::generate();
    row.event.kind = Kind::Session;
    put_back(&world, &row).await;

    let changed = here.app.change_room(&alice, room, title("New")).await;
    assert_eq!(changed.unwrap().title.as_deref(), Some("New"));
    assert!(here.store.outbox.is_empty(room).await.unwrap());
    assert_eq!(journal(&here.store, room).await.len(), 3);
    let kept = format!("SELECT id FROM outbox_refused WHERE id = {}", row.id);
    assert_eq!(world.count(&kept).await, 1);
}

/// Rooms that another instance holds. Only `PostgreSQL` supports two instances.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweep_passes_by_rooms_that_another_instance_holds() {
    const HELD: usize = 6;
    let world = World::on_postgres().await;
    let (east, west) = (world.instance().await, world.instance().await);
    let alice = world.person("alice").await;
    let mut held = Vec::new();
    for _ in 0..HELD {
        let room = commit_only(&east.store, &alice).await.id;
        held.push(east.store.outbox.claim(room).await.unwrap().unwrap());
    }
    let free = commit_only(&east.store, &alice).await.id;

    let cancel = CancellationToken::new();
    let relaying = west.app.run_relay(cancel.clone());
    let done = async {
        let began = tokio::time::Instant::now();
        eventually(|| async { west.store.outbox.is_empty(free).await.unwrap() }).await;
        cancel.cancel();
        began.elapsed()
    };
    let ((), took) = tokio::join!(relaying, done);
    // Not even one of the 5 s that a relay has for a room.
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// What a backlog costs the database, relayed by three instances at once. Only `PostgreSQL` supports them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_relayed_without_a_herd() {
    const ROOMS: i64 = 200;
    /// For the two events of a room: claim, lock, two pages, deletion, commit; and in the journal to load the room and to
    /// write two entries.
    const TRANSACTIONS_EACH_MAX: i64 = 20;
    let world = World::on_postgres().await;
    let instances = [
        world.instance().await,
        world.instance().await,
        world.instance().await,
    ];
    let alice = world.person("alice").await;
    for _ in 0..ROOMS {
        commit_only(&instances[0].store, &alice).await;
    }
    let before = transactions(&world).await;
    let cancel = CancellationToken::new();
    let relaying = instances
        .iter()
        .map(|here| here.app.run_relay(cancel.clone()));
    let done = async {
        while world.count("SELECT id FROM outbox LIMIT 1").await > 0 {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        cancel.cancel();
    };
    tokio::join!(futures::future::join_all(relaying), done);
    let each = (transactions(&world).await - before) / ROOMS;
    println!("{each} transactions for each relayed room");
    assert!(each <= TRANSACTIONS_EACH_MAX, "{each}");
}

/// Transactions of this database until now. A backend reports its own at most once a second, when it is idle.
async fn transactions(world: &World) -> i64 {
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let query = Statement::from_string(
        world.sql.backend(),
        "SELECT xact_commit + xact_rollback AS ended FROM pg_stat_database
         WHERE datname = current_database()",
    );
    let row = world.sql.read.query_one_raw(query).await.unwrap().unwrap();
    row.try_get("", "ended").unwrap()
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

/// The rows of a room that wait to be relayed.
async fn waiting(here: &Instance, room: RoomId) -> Vec<OutboxRow> {
    let claim = here.store.outbox.claim(room).await.unwrap().unwrap();
    let rows = claim.oldest().await.unwrap();
    claim.finish().await.unwrap();
    rows
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
