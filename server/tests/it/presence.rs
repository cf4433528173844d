//! The contract of presence, in process and on a real Redis: each arrival, loss and departure is announced once, with
//! revisions without gaps, and a person who came back is never gone.

mod cluster;

use crate::support::{in_time, redis_url};
use roost_schema::{InstanceId, PresenceChanged, PresenceState, RoomId, UserId};
use roost_server::live::{
    Departure, Link, LocalPresence, MOVING_MAX, Peers, Presence, PresenceChanges, Redis,
    RedisBackplane, RedisPresence,
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::Instant;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Runs each story of presence in process and on Redis.
macro_rules! on_each_presence {
    ($($story:ident),+ $(,)?) => {
        mod local {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::Subject::local()).await;
            })+
        }

        mod redis {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::Subject::on_redis().await).await;
            })+
        }
    };
}

on_each_presence!(
    only_the_first_connection_and_the_end_of_the_last_are_told,
    a_lost_connection_is_moving_and_then_gone,
    who_comes_back_in_time_never_left,
    whoever_listens_before_they_read_misses_nothing,
    rooms_have_nothing_to_do_with_each_other,
);

struct Subject {
    presence: Arc<dyn Presence>,
    _stop: DropGuard,
}

impl Subject {
    fn local() -> Self {
        Self {
            presence: Arc::new(LocalPresence::default()),
            _stop: CancellationToken::new().drop_guard(),
        }
    }

    async fn on_redis() -> Self {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let (redis, instance) = (prefixed_redis(), InstanceId::generate());
        let (backplane, _arrivals) =
            RedisBackplane::start(redis.clone(), instance, &tasks, &cancel);
        let mut link = redis.link();
        let peers = Arc::<Peers>::default();
        let presence =
            RedisPresence::start(redis, instance, backplane, peers, &tasks, cancel.clone());
        let _ = in_time(link.wait_for(|link| Link::is_up(*link)))
            .await
            .unwrap();
        Self {
            presence,
            _stop: cancel.drop_guard(),
        }
    }
}

fn prefixed_redis() -> Redis {
    Redis::open(&redis_url(), &format!("test-{}", RoomId::generate())).unwrap()
}

/// Listens to a room's presence, and checks that the versions have no gap.
struct Listener {
    changes: PresenceChanges,
    version: Option<u64>,
}

impl Listener {
    fn of(presence: &dyn Presence, room: RoomId) -> Self {
        Self {
            changes: presence.listen(room),
            version: None,
        }
    }

    async fn next(&mut self) -> (UserId, PresenceState) {
        let changed = in_time(self.changes.recv()).await.expect("none is missed");
        self.count(&changed);
        (changed.presence.user_id, changed.presence.state)
    }

    fn count(&mut self, changed: &PresenceChanged) {
        let before = self.version.replace(changed.version);
        assert_eq!(before.unwrap_or(changed.version - 1) + 1, changed.version);
    }
}

use PresenceState::{Gone, Here, Moving};

async fn only_the_first_connection_and_the_end_of_the_last_are_told(subject: Subject) {
    let presence = subject.presence.as_ref();
    let (room, bob, carol) = (RoomId::generate(), UserId::generate(), UserId::generate());
    let mut listener = Listener::of(presence, room);
    presence.arrive(room, bob);
    presence.arrive(room, bob);
    presence.depart(room, bob, Departure::OnPurpose);
    presence.depart(room, bob, Departure::OnPurpose);
    presence.arrive(room, carol);
    presence.arrive(room, carol);
    assert_eq!(listener.next().await, (bob, Here));
    assert_eq!(listener.next().await, (bob, Gone));
    assert_eq!(listener.next().await, (carol, Here));
    assert!(presence.is_here(room, carol));
    assert!(!presence.is_here(room, bob));
    presence.depart(room, carol, Departure::Lost);
    presence.arrive(room, bob);
    assert_eq!(listener.next().await, (bob, Here));
    let present = presence.read(room).await;
    let present: Vec<_> = present.iter().map(|person| person.user_id).collect();
    assert_eq!(present, [bob, carol]);
    presence.depart(room, carol, Departure::OnPurpose);
    assert_eq!(listener.next().await, (carol, Gone));
}

async fn a_lost_connection_is_moving_and_then_gone(subject: Subject) {
    let presence = subject.presence.as_ref();
    let (room, bob) = (RoomId::generate(), UserId::generate());
    let mut listener = Listener::of(presence, room);
    presence.arrive(room, bob);
    assert_eq!(listener.next().await, (bob, Here));
    let lost = Instant::now();
    presence.depart(room, bob, Departure::Lost);
    assert_eq!(listener.next().await, (bob, Moving));
    assert_eq!(presence.read(room).await[0].state, Moving);
    // The limit is 10 s; the listener's deadline is a little less than five times that, which is enough.
    assert_eq!(listener.next().await, (bob, Gone));
    assert!(lost.elapsed() >= MOVING_MAX, "{:?}", lost.elapsed());
    assert_eq!(presence.read(room).await, []);
}

async fn who_comes_back_in_time_never_left(subject: Subject) {
    let presence = subject.presence.as_ref();
    let (room, bob, carol) = (RoomId::generate(), UserId::generate(), UserId::generate());
    let mut listener = Listener::of(presence, room);
    presence.arrive(room, bob);
    presence.arrive(room, carol);
    presence.depart(room, bob, Departure::Lost);
    presence.arrive(room, bob);
    // Carol is lost after bob, so her time runs out after his would have.
    presence.depart(room, carol, Departure::Lost);
    let mut told = Vec::new();
    while told.last() != Some(&(carol, Gone)) {
        told.push(listener.next().await);
    }
    let expected = [
        (bob, Here),
        (carol, Here),
        (bob, Moving),
        (bob, Here),
        (carol, Moving),
        (carol, Gone),
    ];
    assert_eq!(told, expected);
}

async fn whoever_listens_before_they_read_misses_nothing(subject: Subject) {
    const PEOPLE: usize = 40;
    let (presence, room) = (Arc::clone(&subject.presence), RoomId::generate());
    let people: Vec<_> = std::iter::repeat_with(UserId::generate)
        .take(PEOPLE)
        .collect();
    for person in people.iter().step_by(2) {
        presence.arrive(room, *person);
    }
    let mut listener = Listener::of(presence.as_ref(), room);
    let read = presence.read(room).await;
    let mut seen: BTreeMap<_, _> = read
        .iter()
        .map(|person| (person.user_id, person.state))
        .collect();
    for (number, person) in people.iter().enumerate() {
        if number % 2 == 1 {
            presence.arrive(room, *person);
        } else if number % 4 == 0 {
            presence.depart(room, *person, Departure::OnPurpose);
        }
    }
    let last = UserId::generate();
    presence.arrive(room, last);
    while seen.get(&last) != Some(&Here) {
        let (person, state) = listener.next().await;
        seen.insert(person, state);
    }
    seen.retain(|_, state| *state != Gone);
    let present = presence.read(room).await;
    let present = present.iter().map(|person| (person.user_id, person.state));
    assert_eq!(seen, present.collect());
    assert_eq!(seen.len(), PEOPLE * 3 / 4 + 1);
}

async fn rooms_have_nothing_to_do_with_each_other(subject: Subject) {
    let presence = subject.presence.as_ref();
    let (room, other, bob) = (RoomId::generate(), RoomId::generate(), UserId::generate());
    let mut listener = Listener::of(presence, other);
    presence.arrive(room, bob);
    assert_eq!(presence.read(other).await, []);
    presence.arrive(other, bob);
    presence.depart(room, bob, Departure::OnPurpose);
    presence.depart(other, bob, Departure::Lost);
    assert_eq!(listener.next().await, (bob, Here));
    assert_eq!(listener.next().await, (bob, Moving));
    assert_eq!(presence.read(room).await, []);
}
