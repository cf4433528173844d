//! Three instances of this release beside one of a later release, which writes kinds and words that they do not know.

use super::Foreign;
use crate::support::{Person, Program, Via, Watch, World, in_time, message};
use roost_schema::{ChangeRoom, ErrorCode, ItemId, Kind, Role, RoomEvent, RoomId, Seq};
use std::{slice, time::Duration};

const WATCHED: Duration = Duration::from_secs(5);
/// The most reads of a room while it is watched, by all instances together: the promise is fewer than two a second. A
/// rate is no deadline, so it is asserted without a margin.
const READS_MAX: u64 = 2 * WATCHED.as_secs();
const INSTANCES: usize = 3;

#[tokio::test]
async fn a_later_release_costs_the_readers_nothing() {
    let world = World::on_postgres_and_redis().await;
    let mut programs = Vec::new();
    for _ in 0..INSTANCES {
        programs.push(world.start_program(&[]).await);
    }
    let alice = Person::register(&programs[0].endpoint, "alice").await;
    let bob = Person::register(&programs[1].endpoint, "bob").await;
    let room = alice.board("Plan").await.id;
    alice.invite(room, &bob, Role::Owner).await;
    // Bob may write on every instance, so each has loaded the room with him as an owner.
    for program in &programs {
        let there = bob.at(&program.endpoint);
        in_time(there.send(Via::Rest, room, message("as an owner")))
            .await
            .unwrap();
    }
    let mut watches = Vec::new();
    for (program, via) in programs.iter().zip(Via::ALL) {
        let reader = alice.at(&program.endpoint);
        let mut watch = reader.watch(via, room, None).await.unwrap();
        watch.next().await.unwrap();
        watches.push(watch);
    }

    let entry = |item, kind, body| Foreign {
        room,
        item,
        kind,
        op: "put",
        body: Some(body),
        actor: alice.id(),
    };
    let question = r#"{"question":"when?"}"#;
    let first = world
        .append(&entry(ItemId::generate(), "poll", question))
        .await;
    let member = ItemId::of_member(bob.id());
    world
        .append(&entry(member, "member", r#"{"role":"guest"}"#))
        .await;
    world
        .append(&entry(ItemId::generate(), "poll", question))
        .await;
    // No write goes to the last instance from here on, so none makes it read kinds that it does not know.
    let (following, others) = programs.split_last().unwrap();
    he_is_refused_at(others, &bob, room).await;
    let told = alice
        .send(Via::Rest, room, message("it goes on"))
        .await
        .unwrap();
    assert_eq!(told.seq.0, first.0 + 3);
    // The reader at the last instance comes first.
    for watch in watches.iter_mut().rev() {
        let events = what_follows(watch, first).await;
        assert_eq!(events[0].body.as_str(), question);
    }
    he_is_refused_at(slice::from_ref(following), &bob, room).await;

    the_journal_is_left_alone(&programs, &alice, room).await;
    for program in &programs {
        let page = alice
            .at(&program.endpoint)
            .list_events(room, None)
            .await
            .unwrap();
        let is_poll = |event: &&RoomEvent| event.kind == Kind::from("poll");
        assert_eq!(page.events.iter().filter(is_poll).count(), 2);
    }
}

/// Two polls, the entry between them, and a message: promised within 5 s, with a deadline of five times that.
async fn what_follows(watch: &mut Watch, first: Seq) -> Vec<RoomEvent> {
    let events = in_time(watch.events(4)).await;
    let seqs: Vec<_> = events.iter().map(|event| event.seq.0).collect();
    assert_eq!(seqs, (first.0..first.0 + 4).collect::<Vec<_>>());
    assert_eq!(events[0].kind, Kind::from("poll"));
    assert_eq!(events[2].kind, events[0].kind);
    events
}

async fn he_is_refused_at(programs: &[Program], bob: &Person, room: RoomId) {
    for program in programs {
        let there = bob.at(&program.endpoint);
        let refused = in_time(there.send(Via::Rest, room, message("still?"))).await;
        assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::NotFound));
        let change = ChangeRoom {
            title: Some("Mine".into()),
            ..ChangeRoom::default()
        };
        let refused = there.change_room(room, &change).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::NotFound));
    }
}

async fn the_journal_is_left_alone(programs: &[Program], alice: &Person, room: RoomId) {
    let before = reads_of_rooms(programs).await;
    let end = tokio::time::Instant::now() + WATCHED;
    while tokio::time::Instant::now() < end {
        alice
            .send(Via::Rest, room, message("and on"))
            .await
            .unwrap();
        tokio::time::sleep(WATCHED / 20).await;
    }
    let reads = reads_of_rooms(programs).await - before;
    assert!(
        reads < READS_MAX,
        "the journal was read {reads} times in {WATCHED:?}"
    );
    println!("the journal was read {reads} times in {WATCHED:?} by {INSTANCES} instances");
}

/// How often the instances read the room. Heads are not counted: the sweep's query serves all rooms, and a probe's
/// query no room. A mailbox or a feed that reads its room's head also reads the room, which is counted.
async fn reads_of_rooms(programs: &[Program]) -> u64 {
    let mut sum = 0;
    for program in programs {
        for line in program.metrics().await.lines() {
            let is_read = ["log", "changes", "items", "history", "operations"]
                .iter()
                .any(|name| {
                    line.starts_with("roost_journal_operation_duration_seconds_count")
                        && line.contains(&format!("operation=\"{name}\""))
                });
            if is_read {
                sum += line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
            }
        }
    }
    sum
}
