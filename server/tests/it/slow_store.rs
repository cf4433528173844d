//! A store that does not answer for a while: readers of a room wait, stay connected, and miss nothing.

use crate::support::{Person, Server, TcpProxy, Via, Watch, World, in_time, message};
use futures::{StreamExt, future::join_all, stream};
use reqwest::{Method, StatusCode};
use roost_client::Endpoint;
use roost_schema::{Role, RoomId};
use std::time::Duration;
use tokio::time::timeout;

/// More messages than memory and all buffers on the way to a reader hold.
const MESSAGES: usize = 300;
const MESSAGE_BYTES: usize = 30_000;
const WRITES_AT_ONCE: usize = 16;
const STALL: Duration = Duration::from_secs(8);
/// Longer than the interval of a quiet stream's signs of life.
const LONG_STALL: Duration = Duration::from_secs(17);

/// A server with a proxy to its store, and a reader with a proxy to the server.
struct Scene {
    store: TcpProxy,
    way: TcpProxy,
    server: Server,
    alice: Person,
    /// A member, who connects through the proxy.
    bob: Person,
    room: RoomId,
}

impl Scene {
    async fn set(world: &World) -> Self {
        let (store, server) = world.serve_one_by_proxy().await;
        let way = TcpProxy::to(&format!("http://{}", server.address)).await;
        let (alice, bob) = (server.alice().await, server.bob().await);
        let room = alice.board("Plan").await.id;
        alice.invite(room, &bob, Role::Viewer).await;
        let bob = bob.at(&Endpoint::new(&way.url()).unwrap());
        Self {
            store,
            way,
            server,
            alice,
            bob,
            room,
        }
    }

    /// Writes while nothing reaches the reader, so that they fall far behind; answers the last seq.
    async fn write_behind_their_back(&self) -> u64 {
        self.way.freeze();
        let text = "x".repeat(MESSAGE_BYTES);
        let input = message(&text);
        let writes = (0..MESSAGES).map(|_| self.alice.send_message(self.room, &input));
        let written = stream::iter(writes).buffer_unordered(WRITES_AT_ONCE);
        let seqs = written.map(|message| message.unwrap().seq.0);
        seqs.fold(0, async |last, seq| last.max(seq)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_on_every_transport_wait_for_a_store_that_stalls() {
    let world = World::on_postgres().await;
    let scene = Scene::set(&world).await;
    let mut watches = Vec::new();
    for via in Via::ALL {
        let mut watch = scene.bob.watch(via, scene.room, None).await.unwrap();
        let first = watch.next().await.unwrap();
        watches.push((via, watch, first.position.seq.0));
    }
    let last = scene.write_behind_their_back().await;

    scene.store.freeze();
    scene.way.mend();
    // The readers read on; entries that are no longer in memory wait for the store.
    let reading = async {
        let reads = watches.iter_mut().map(|(via, watch, seq)| async move {
            while *seq < last {
                *seq = follow(*via, watch, *seq).await;
            }
        });
        join_all(reads).await;
    };
    tokio::pin!(reading);
    let early = timeout(STALL, &mut reading).await;
    assert!(early.is_err(), "nobody needed the store");
    scene.store.mend();
    reading.await;
    drop(scene.server);
}

/// Reads the next frame, which must continue where the last one ended; answers where it ends.
async fn follow(via: Via, watch: &mut Watch, mut seq: u64) -> u64 {
    let frame = watch.next().await;
    let frame = frame.unwrap_or_else(|error| panic!("{via:?} was closed: {error}"));
    for event in &frame.events {
        assert_eq!(event.seq.0, seq + 1, "{via:?}");
        seq += 1;
    }
    seq
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_saying_that_it_is_alive_while_its_store_stalls() {
    let world = World::on_postgres().await;
    let scene = Scene::set(&world).await;
    let path = format!("/api/v1/rooms/{}/stream", scene.room);
    let request = scene.bob.ask(Method::GET, &path).await;
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut chunks = answer.bytes_stream();
    scene.write_behind_their_back().await;
    scene.store.freeze();
    scene.way.mend();
    let mut heard = String::new();
    let hearing = async {
        while let Some(chunk) = chunks.next().await {
            heard.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
        }
    };
    let ended = timeout(LONG_STALL, hearing).await;
    assert!(ended.is_err(), "it was closed");
    let is_comment = |line: &str| line.starts_with(':');
    assert!(heard.lines().any(is_comment), "it says that it is alive");

    // A reader that begins now is refused with a time to come back.
    let alive = scene.alice.ask(Method::GET, &path).await;
    let refused = alive.query(&[("after", oldest(&heard))]).send();
    let refused = in_time(refused).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
}

/// The position of the first frame.
fn oldest(heard: &str) -> String {
    let id = heard.lines().find_map(|line| line.strip_prefix("id:"));
    id.expect("a frame has a position").trim().to_owned()
}
