//! Several instances as one system: rivals for a room's slots, entries that the backplane did not bring, and resuming
//! on another instance.

use crate::support::{Person, Via, Watch, World, in_time, message, on_clusters};
use roost_client::Client;
use roost_schema::{
    Body, ItemId, Kind, MessageState, Op, OpId, Rest, Role, RoomEvent, RoomId, Seq,
};
use roost_server::store::journal::{Entry, Gate, Journal, OpenGate, RequestHash, Terms};
use std::sync::Arc;
use tokio::task::JoinSet;

on_clusters!(
    rivals_on_three_instances_keep_one_order,
    what_nobody_told_is_found,
    a_hole_in_what_is_told_is_filled_from_the_journal,
    a_reader_goes_on_at_another_instance_after_a_kill,
    whoever_was_let_in_is_in_everywhere,
);

/// A person's client at each of the servers.
fn everywhere(person: &Person, server: &crate::support::Server) -> Vec<Client> {
    let endpoints =
        std::iter::once(&server.endpoint).chain(server.others.iter().map(|it| &it.endpoint));
    endpoints
        .map(|endpoint| person.client().at(endpoint))
        .collect()
}

fn seqs(events: &[RoomEvent]) -> Vec<u64> {
    events.iter().map(|event| event.seq.0).collect()
}

async fn rivals_on_three_instances_keep_one_order(world: World) {
    const WRITERS_EACH: usize = 3;
    const MESSAGES_EACH: usize = 20;
    let server = world.serve().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    let places = everywhere(&alice, &server);
    let mut watches = Vec::new();
    for place in &places {
        let mut watch = Watch::Stream(place.stream_room(room, None).await.unwrap());
        watch.next().await.unwrap();
        watches.push(watch);
    }
    let mut writers = JoinSet::new();
    for place in places
        .iter()
        .flat_map(|place| std::iter::repeat_n(place, WRITERS_EACH))
    {
        let place = place.clone();
        writers.spawn(async move {
            for number in 0..MESSAGES_EACH {
                place
                    .send_message(room, &message(&number.to_string()))
                    .await
                    .unwrap();
            }
        });
    }
    let count = places.len() * WRITERS_EACH * MESSAGES_EACH;
    let mut orders = Vec::new();
    for watch in &mut watches {
        orders.push(watch.events(count).await);
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }
    let first = orders[0][0].seq.0;
    let gap_free: Vec<_> = (first..first + count as u64).collect();
    for order in &orders {
        assert_eq!(seqs(order), gap_free);
        assert_eq!(order, &orders[0]);
    }
}

/// Commits an entry without announcing it, as a writer does that is killed between the two.
async fn commit_untold(
    journal: &Arc<dyn Journal>,
    room: RoomId,
    author: &Person,
    text: &str,
) -> Seq {
    let head = journal.heads(&[room]).await.unwrap().rooms[&room].head;
    let at = chrono::DateTime::UNIX_EPOCH;
    let state = MessageState {
        author_id: author.id(),
        text: text.to_owned(),
        created_at: at,
        edited_at: None,
        rest: Rest::default(),
    };
    let op_id: OpId = format!("untold-{}", head.next()).parse().unwrap();
    let entry = Entry {
        room,
        seq: head.next(),
        item: ItemId::generate(),
        kind: Kind::Message,
        op: Op::Put,
        body: Body::encode(&state).unwrap(),
        actor: author.id(),
        op_id: Some(op_id),
        request_hash: RequestHash([0; 32]),
        asked_hash: None,
        at,
        born: head.next(),
        terms: Terms::default(),
        current: true,
    };
    let appended = journal
        .append(room, &[entry], &(Arc::new(OpenGate) as Arc<dyn Gate>))
        .await
        .unwrap();
    assert_eq!(appended.committed, 1);
    head.next()
}

async fn what_nobody_told_is_found(world: World) {
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let room = alice.board("Plan").await.id;
    alice.invite(room, &bob, Role::Viewer).await;
    let journal = world.journal().await;
    for via in Via::ALL {
        let mut watch = bob.watch(via, room, None).await.unwrap();
        watch.next().await.unwrap();
        let seq = commit_untold(&journal, room, &alice, "untold").await;
        assert_eq!(seqs(&watch.events(1).await), [seq.0], "{via:?}");
    }
}

async fn a_hole_in_what_is_told_is_filled_from_the_journal(world: World) {
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let room = alice.board("Plan").await.id;
    alice.invite(room, &bob, Role::Viewer).await;
    let journal = world.journal().await;
    let mut watch = bob.watch(Via::SocketIo, room, None).await.unwrap();
    watch.next().await.unwrap();
    for _ in 0..5 {
        let untold = commit_untold(&journal, room, &alice, "untold").await;
        let told = alice.send(Via::Rest, room, message("told")).await.unwrap();
        assert_eq!(told.seq, untold.next());
        assert_eq!(seqs(&watch.events(2).await), [untold.0, told.seq.0]);
    }
}

async fn a_reader_goes_on_at_another_instance_after_a_kill(world: World) {
    let mut first = world.start_program(&[]).await;
    let second = world.start_program(&[]).await;
    let alice = Person::register(&first.endpoint, "alice").await;
    let elsewhere = alice.at(&second.endpoint);
    let room = alice.board("Plan").await.id;
    for via in Via::ALL {
        let mut watch = alice.watch(via, room, None).await.unwrap();
        // The first frame shows that the reader has begun: an earlier entry would not be sent as a change.
        assert!(watch.next().await.unwrap().events.is_empty(), "{via:?}");
        let before = alice.send(via, room, message("before")).await.unwrap();
        let position = watch.next().await.unwrap().position;
        assert_eq!(position.seq, before.seq, "{via:?}");
        first.kill();
        let meanwhile = elsewhere
            .send(via, room, message("meanwhile"))
            .await
            .unwrap();
        let mut resumed = elsewhere.watch(via, room, Some(position)).await.unwrap();
        assert_eq!(seqs(&resumed.events(1).await), [meanwhile.seq.0], "{via:?}");
        first.start_again().await;
        // The restarted instance has the entries of the meantime, and its announcements reach the other.
        let back = alice.at(&first.endpoint);
        let after = back.send(via, room, message("after")).await.unwrap();
        assert_eq!(after.seq, meanwhile.seq.next(), "{via:?}");
        assert_eq!(seqs(&resumed.events(1).await), [after.seq.0], "{via:?}");
    }
}

async fn whoever_was_let_in_is_in_everywhere(world: World) {
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let room = alice.board("Plan").await.id;
    let places = everywhere(&bob, &server);
    for place in &places {
        place.read_room(room).await.unwrap_err();
    }
    alice.invite(room, &bob, Role::Editor).await;
    for place in &places {
        in_time(place.send_message(room, &message("in")))
            .await
            .unwrap();
        let page = place.list_events(room, None).await.unwrap();
        assert!(page.events.iter().any(|event| event.kind == Kind::Message));
    }
    alice.remove_member(room, bob.id(), None).await.unwrap();
    // The sequencer makes every instance judge at the head, so no write is accepted on any of them.
    for place in &places {
        place.send_message(room, &message("out")).await.unwrap_err();
    }
}
