//! People on several instances that share PostgreSQL and Redis see each other arrive, move and leave, and no person
//! leaves because an instance, a message or all of Redis was lost.

use crate::support::{Person, Server, TcpProxy, World, eventually, in_time, redis_url};
use fred::interfaces::LuaInterface;
use roost_client::{Endpoint, Socket};
use roost_schema::{Awareness, MoveCursor, PresenceChanged, PresenceState, Role, RoomId, UserId};
use roost_server::live::{LEASE, MOVING_MAX, Redis};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{Instant, timeout};

use PresenceState::{Gone, Here, Moving};

/// Five times the longest limit: the people of a dead instance are gone after 15 s.
const LONG: Duration = Duration::from_secs(75);

struct Cluster {
    world: World,
    prefix: String,
    redis: Redis,
}

impl Cluster {
    async fn new() -> Self {
        let prefix = format!("test-{}", RoomId::generate());
        Self {
            world: World::on_postgres().await,
            redis: Redis::open(&redis_url(), &prefix).unwrap(),
            prefix,
        }
    }

    async fn serve(&self) -> Server {
        self.serve_through(&redis_url()).await
    }

    async fn serve_through(&self, redis: &str) -> Server {
        self.world.serve_one_with(&self.keys(redis)).await
    }

    fn keys<'a>(&'a self, redis: &'a str) -> [(&'static str, &'a str); 2] {
        [("redis_url", redis), ("redis_prefix", &self.prefix)]
    }

    /// Does what FLUSHALL does, for this cluster alone.
    async fn empty_redis(&self) {
        const EMPTY: &str =
            "for _, key in ipairs(redis.call('KEYS', KEYS[1] .. '*')) do redis.call('DEL', key) end
            return {}";
        self.ask_redis(EMPTY, &[]).await;
    }

    /// The instances that have a lease.
    async fn leases(&self) -> Vec<String> {
        const LEASES: &str = "return redis.call('ZRANGE', KEYS[1] .. 'presence:leases', 0, -1)";
        self.ask_redis(LEASES, &[]).await
    }

    /// Ends the leases of some instances repeatedly.
    async fn keep_ended(&self, instances: &[String]) {
        const END: &str = "for _, instance in ipairs(ARGV) do
                redis.call('ZADD', KEYS[1] .. 'presence:leases', 'XX', 1, instance)
            end
            return {}";
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            self.ask_redis(END, instances).await;
        }
    }

    async fn ask_redis(&self, script: &str, arguments: &[String]) -> Vec<String> {
        let redis = self.redis.commands();
        let answer = redis.eval(script, self.redis.name(""), arguments.to_vec());
        in_time(answer).await.unwrap()
    }
}

/// Alice's board, with bob and carol in it.
async fn board(server: &Server) -> (RoomId, [Person; 3]) {
    let (alice, bob) = (server.alice().await, server.bob().await);
    let carol = server.person("carol").await;
    let room = alice.board("ours").await.id;
    for other in [&bob, &carol] {
        alice.invite(room, other, Role::Editor).await;
    }
    (room, [alice, bob, carol])
}

/// A socket in a room, and the presence that it has received.
struct Seat {
    socket: Socket,
    room: RoomId,
    /// The people in the room, as far as the socket knows.
    here: BTreeSet<UserId>,
    version: Option<u64>,
}

impl Seat {
    async fn take(person: &Person, at: &Endpoint, room: RoomId) -> Self {
        let person = person.at(at);
        let socket = Socket::connect(person.client()).await.unwrap();
        let joined = socket.join(room, None).await.unwrap();
        let here = joined.presence.iter().map(|person| person.user_id);
        Self {
            here: here.collect(),
            socket,
            room,
            version: None,
        }
    }

    /// Reads all presence changes until this one, and checks that no version is missing.
    async fn until(&mut self, user: &Person, state: PresenceState) -> Vec<(UserId, PresenceState)> {
        let mut told = Vec::new();
        let telling = async {
            while told.last() != Some(&(user.id(), state)) {
                let event = self.socket.next_event().await.expect("it stays connected");
                if event.name == "presence:changed" {
                    let changed: PresenceChanged = event.read().unwrap();
                    let before = self.version.replace(changed.version);
                    assert_eq!(before.unwrap_or(changed.version - 1) + 1, changed.version);
                    let (user, state) = (changed.presence.user_id, changed.presence.state);
                    match state {
                        Here => self.here.insert(user),
                        Moving | Gone => self.here.remove(&user),
                    };
                    told.push((user, state));
                }
            }
        };
        let is_told = timeout(LONG, telling).await.is_ok();
        assert!(is_told, "{} is never {state:?}: {told:?}", user.id());
        told
    }

    /// Waits until the socket knows of a person, from its join or from a change.
    async fn sees(&mut self, person: &Person) {
        if !self.here.contains(&person.id()) {
            self.until(person, Here).await;
        }
    }

    async fn leave(&self) {
        self.socket.leave(self.room).await.unwrap();
    }
}

async fn list(person: &Person, at: &Endpoint, room: RoomId) -> BTreeSet<UserId> {
    let person = person.at(at);
    let present = person.list_presence(room).await.unwrap();
    present.iter().map(|person| person.user_id).collect()
}

fn ids<const N: usize>(people: [&Person; N]) -> BTreeSet<UserId> {
    people.into_iter().map(Person::id).collect()
}

#[tokio::test]
async fn people_on_other_instances_come_and_go() {
    let cluster = Cluster::new().await;
    let (one, two, three) = (
        cluster.serve().await,
        cluster.serve().await,
        cluster.serve().await,
    );
    let (room, [alice, bob, carol]) = board(&one).await;
    let mut at_one = Seat::take(&alice, &one.endpoint, room).await;
    at_one.until(&alice, Here).await;
    let mut at_two = Seat::take(&bob, &two.endpoint, room).await;
    at_two.sees(&alice).await;
    at_one.until(&bob, Here).await;
    eventually(async || list(&carol, &three.endpoint, room).await == ids([&alice, &bob])).await;

    // Another connection of bob's changes nothing, and its end neither.
    let at_three = Seat::take(&bob, &three.endpoint, room).await;
    let carol_at_three = Seat::take(&carol, &three.endpoint, room).await;
    assert_eq!(at_one.until(&carol, Here).await, [(carol.id(), Here)]);
    at_two.leave().await;
    carol_at_three.leave().await;
    assert_eq!(at_one.until(&carol, Gone).await, [(carol.id(), Gone)]);
    at_three.leave().await;
    assert_eq!(at_one.until(&bob, Gone).await, [(bob.id(), Gone)]);
    eventually(async || list(&carol, &three.endpoint, room).await == ids([&alice])).await;
}

#[tokio::test]
async fn who_moves_to_another_instance_never_leaves() {
    let cluster = Cluster::new().await;
    let (one, two, three) = (
        cluster.serve().await,
        cluster.serve().await,
        cluster.serve().await,
    );
    let (room, [alice, bob, carol]) = board(&one).await;
    let mut watcher = Seat::take(&alice, &one.endpoint, room).await;
    let at_two = Seat::take(&bob, &two.endpoint, room).await;
    let carol_at_two = Seat::take(&carol, &two.endpoint, room).await;
    watcher.sees(&bob).await;
    watcher.sees(&carol).await;
    drop(at_two.socket);
    assert_eq!(watcher.until(&bob, Moving).await, [(bob.id(), Moving)]);
    let _at_three = Seat::take(&bob, &three.endpoint, room).await;
    assert_eq!(watcher.until(&bob, Here).await, [(bob.id(), Here)]);
    // Carol is lost after bob and does not come back; by then he would be gone, too.
    let lost = Instant::now();
    drop(carol_at_two.socket);
    let told = watcher.until(&carol, Gone).await;
    assert_eq!(told, [(carol.id(), Moving), (carol.id(), Gone)]);
    assert!(lost.elapsed() >= MOVING_MAX);
}

#[tokio::test]
async fn people_of_a_drained_instance_are_moving() {
    let cluster = Cluster::new().await;
    let (one, two, three) = (
        cluster.serve().await,
        cluster.serve().await,
        cluster.serve().await,
    );
    let (room, [alice, bob, carol]) = board(&one).await;
    let mut watcher = Seat::take(&alice, &one.endpoint, room).await;
    let _at_two = Seat::take(&bob, &two.endpoint, room).await;
    let _carol_at_two = Seat::take(&carol, &two.endpoint, room).await;
    watcher.sees(&bob).await;
    watcher.sees(&carol).await;
    two.stop().await;
    let told = watcher.until(&bob, Moving).await;
    assert!(told.iter().all(|(_, state)| *state == Moving), "{told:?}");
    let _at_three = Seat::take(&bob, &three.endpoint, room).await;
    let told = watcher.until(&carol, Gone).await;
    assert!(!told.contains(&(bob.id(), Gone)), "{told:?}");
    // The third instance may receive the changes a moment later.
    eventually(async || list(&alice, &three.endpoint, room).await == ids([&alice, &bob])).await;
}

#[tokio::test]
async fn people_of_a_killed_instance_are_gone_when_its_lease_is() {
    let cluster = Cluster::new().await;
    let (one, three) = (cluster.serve().await, cluster.serve().await);
    eventually(async || cluster.leases().await.len() == 2).await;
    let living = cluster.leases().await;
    let redis = redis_url();
    let mut two = cluster.world.start_program(&cluster.keys(&redis)).await;
    let (room, [alice, bob, carol]) = board(&one).await;
    let mut watcher = Seat::take(&alice, &one.endpoint, room).await;
    let _at_two = Seat::take(&bob, &two.endpoint, room).await;
    let _carol_at_two = Seat::take(&carol, &two.endpoint, room).await;
    watcher.sees(&bob).await;
    watcher.sees(&carol).await;
    let killed = Instant::now();
    two.kill();
    // Carol is back before the others know that the instance is dead. Her new instance has no lease either, but its
    // messages arrive.
    let _back = Seat::take(&carol, &three.endpoint, room).await;
    let told = tokio::select! {
        told = watcher.until(&bob, Gone) => told,
        () = cluster.keep_ended(&living) => unreachable!("it goes on for ever"),
    };
    assert_eq!(told, [(bob.id(), Gone)]);
    // Leases are renewed every half second; the other second is for a busy machine.
    let lease_age = Duration::from_millis(1_500);
    assert!(
        killed.elapsed() + lease_age >= LEASE,
        "{:?}",
        killed.elapsed()
    );
    let present = list(&alice, &one.endpoint, room).await;
    assert_eq!(present, ids([&alice, &carol]));
}

#[tokio::test]
async fn nobody_leaves_when_redis_is_emptied() {
    let cluster = Cluster::new().await;
    let (one, two) = (cluster.serve().await, cluster.serve().await);
    let (room, [alice, bob, carol]) = board(&one).await;
    let mut watcher = Seat::take(&alice, &one.endpoint, room).await;
    let at_two = Seat::take(&bob, &two.endpoint, room).await;
    watcher.until(&bob, Here).await;
    cluster.empty_redis().await;
    let carol_at_two = Seat::take(&carol, &two.endpoint, room).await;
    let told = watcher.until(&carol, Here).await;
    assert_eq!(told, [(carol.id(), Here)]);
    // A new instance knows only what Redis holds, and finds all three there.
    let three = cluster.serve().await;
    eventually(async || list(&alice, &three.endpoint, room).await == ids([&alice, &bob, &carol]))
        .await;
    at_two.leave().await;
    let told = watcher.until(&bob, Gone).await;
    assert_eq!(told, [(bob.id(), Gone)]);
    drop(carol_at_two);
}

#[tokio::test]
async fn an_instance_cut_off_from_redis_goes_on_and_reconciles() {
    let cluster = Cluster::new().await;
    let proxy = TcpProxy::to(&redis_url()).await;
    let (one, two) = (
        cluster.serve().await,
        cluster.serve_through(&proxy.url()).await,
    );
    let (room, [alice, bob, carol]) = board(&one).await;
    let mut at_one = Seat::take(&alice, &one.endpoint, room).await;
    let mut at_two = Seat::take(&bob, &two.endpoint, room).await;
    at_two.sees(&alice).await;
    at_one.until(&bob, Here).await;
    proxy.refuse();
    let mut carol_at_two = Seat::take(&carol, &two.endpoint, room).await;
    assert_eq!(carol_at_two.here, ids([&alice, &bob, &carol]));
    at_two.until(&carol, Here).await;
    at_two.leave().await;
    carol_at_two.until(&bob, Gone).await;
    proxy.mend();
    // The two changes may come in either order.
    let mut told = at_one.until(&carol, Here).await;
    if !told.contains(&(bob.id(), Gone)) {
        told.extend(at_one.until(&bob, Gone).await);
    }
    assert_eq!(told.len(), 2, "{told:?}");
    at_one.leave().await;
    carol_at_two.until(&alice, Gone).await;
}

#[tokio::test]
async fn cursors_are_seen_on_other_instances() {
    let cluster = Cluster::new().await;
    let (one, two) = (cluster.serve().await, cluster.serve().await);
    let (room, [alice, bob, _]) = board(&one).await;
    let mut watcher = Seat::take(&alice, &one.endpoint, room).await;
    let at_two = Seat::take(&bob, &two.endpoint, room).await;
    watcher.until(&bob, Here).await;
    for x in 0..=100 {
        let moved = MoveCursor {
            room,
            x: f64::from(x),
            y: 0.5,
        };
        let _: serde_json::Value = at_two.socket.call("cursor:move", &moved).await.unwrap();
    }
    let mut ticks = 0;
    let seeing = async {
        loop {
            let event = watcher
                .socket
                .next_event()
                .await
                .expect("it stays connected");
            if event.name != "room:awareness" {
                continue;
            }
            ticks += 1;
            let awareness: Awareness = event.read().unwrap();
            assert_eq!(awareness.people[0].user_id, bob.id());
            let cursor = awareness.people[0].cursor.expect("it is a cursor");
            if cursor.x >= 100.0 {
                return;
            }
        }
    };
    in_time(seeing).await;
    assert!(ticks <= 100, "merged: {ticks}");
}
