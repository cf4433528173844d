//! The bare broadcaster over real connections: whom it tells, in what order, and that each fault is made as it is counted.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails there, with the line"
)]

use futures::{SinkExt, StreamExt};
use roost_peers::bare::{self, Counts, Faults, Handle};
use roost_schema::{Awareness, JoinedRoom, Message, RoomEvents, RoomId, Seq, UserId};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message as Frame};

const PATIENCE: Duration = Duration::from_secs(5);
const MOVES: u32 = 10;

async fn start(fault: &str) -> Handle {
    let faults = match fault {
        "" => Faults::default(),
        fault => fault.parse().unwrap(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    bare::serve(listener, faults).unwrap()
}

struct Person {
    id: UserId,
    web_socket: WebSocketStream<TcpStream>,
}

impl Person {
    async fn connect(server: &Handle) -> Self {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let url = format!(
            "ws://{}/socket.io/?EIO=4&transport=websocket",
            server.address()
        );
        let (web_socket, _) = client_async(url, stream).await.unwrap();
        let id = UserId::generate();
        let mut person = Self { id, web_socket };
        assert!(person.hear().await.starts_with("0{"));
        person.say(format!("40{}", json!({ "userId": id }))).await;
        assert!(person.hear().await.starts_with("40{"));
        person
    }

    async fn in_room(server: &Handle, room: RoomId) -> Self {
        let mut person = Self::connect(server).await;
        person
            .say(format!("421{}", json!(["room:join", { "room": room }])))
            .await;
        let joined: JoinedRoom = person.hear_answer("431").await;
        assert_eq!(joined.position.to_string(), "1.0");
        person
    }

    async fn say(&mut self, packet: String) {
        self.web_socket.send(Frame::text(packet)).await.unwrap();
    }

    async fn hear(&mut self) -> String {
        let frame = timeout(PATIENCE, self.web_socket.next()).await;
        let frame = frame.expect("nothing came").unwrap().unwrap();
        frame.into_text().unwrap().to_string()
    }

    async fn hear_answer<T: serde::de::DeserializeOwned>(&mut self, packet: &str) -> T {
        let answer = self.hear().await;
        let [answer] = serde_json::from_str(answer.strip_prefix(packet).unwrap()).unwrap();
        answer
    }

    async fn hear_event<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> T {
        let event = self.hear().await;
        let (heard, payload): (String, T) =
            serde_json::from_str(event.strip_prefix("42").unwrap()).unwrap();
        assert_eq!(heard, name);
        payload
    }

    async fn move_cursor(&mut self, room: RoomId, x: u32) {
        self.say(cursor_move(room, x)).await;
    }

    /// Where the cursors are that come.
    async fn places(&mut self, expected: usize) -> Vec<f64> {
        let mut places = Vec::new();
        while places.len() < expected {
            let awareness: Awareness = self.hear_event("room:awareness").await;
            places.push(awareness.people[0].cursor.unwrap().x);
        }
        places
    }

    /// Asks something, to know that all that was on its way is here.
    async fn nothing_more_comes(&mut self, room: RoomId) {
        self.say(format!("429{}", json!(["room:join", { "room": room }])))
            .await;
        let _: JoinedRoom = self.hear_answer("439").await;
    }
}

fn cursor_move(room: RoomId, x: u32) -> String {
    let event = json!(["cursor:move", { "room": room, "x": x, "y": 0 }]);
    format!("42{event}")
}

/// Bob moves ten times: what alice sees of it, and what was counted.
async fn moves(fault: &str, expected: usize) -> (Vec<f64>, Counts) {
    let server = start(fault).await;
    let room = RoomId::generate();
    let mut alice = Person::in_room(&server, room).await;
    let mut bob = Person::in_room(&server, room).await;
    for x in 1..=MOVES {
        bob.move_cursor(room, x).await;
    }
    let places = alice.places(expected).await;
    alice.nothing_more_comes(room).await;
    bob.nothing_more_comes(room).await;
    (places, server.stop().await)
}

#[tokio::test]
async fn the_others_see_each_move_once_and_in_order() {
    let (places, counts) = moves("", 10).await;
    assert_eq!(places, [1., 2., 3., 4., 5., 6., 7., 8., 9., 10.]);
    let expected = Counts {
        deliveries: 10,
        ..Counts::default()
    };
    assert_eq!(counts, expected);
}

#[tokio::test]
async fn each_fault_is_made_as_it_is_counted() {
    let (places, counts) = moves("lose=4", 8).await;
    assert_eq!(places, [1., 2., 3., 5., 6., 7., 9., 10.]);
    assert_eq!((counts.deliveries, counts.lost), (10, 2));

    let (places, counts) = moves("double=4", 12).await;
    assert_eq!(places, [1., 2., 3., 4., 4., 5., 6., 7., 8., 8., 9., 10.]);
    assert_eq!((counts.deliveries, counts.doubled), (10, 2));

    let (places, counts) = moves("reorder=4", 10).await;
    assert_eq!(places, [1., 2., 3., 5., 4., 6., 7., 9., 8., 10.]);
    assert_eq!((counts.deliveries, counts.reordered), (10, 2));
}

#[tokio::test]
async fn a_burst_comes_whole() {
    let server = start("").await;
    let room = RoomId::generate();
    let mut alice = Person::in_room(&server, room).await;
    let mut bob = Person::in_room(&server, room).await;
    for x in 1..=1_000 {
        let packet = cursor_move(room, x);
        bob.web_socket.feed(Frame::text(packet)).await.unwrap();
    }
    bob.web_socket.flush().await.unwrap();
    let all: Vec<_> = (1..=1_000).map(f64::from).collect();
    assert_eq!(alice.places(1_000).await, all);
    assert_eq!(server.stop().await.deliveries, 1_000);
}

#[tokio::test]
async fn a_delay_keeps_the_order_and_holds_up_nothing_else() {
    const DELAY: Duration = Duration::from_millis(200);
    let server = start("delay=200").await;
    let room = RoomId::generate();
    let mut alice = Person::in_room(&server, room).await;
    let mut bob = Person::in_room(&server, room).await;
    let moved = Instant::now();
    for x in 1..=3 {
        bob.move_cursor(room, x).await;
    }
    // The answer overtakes the moves, because answers are not delayed.
    alice.nothing_more_comes(room).await;
    assert_eq!(alice.places(3).await, [1., 2., 3.]);
    // Together: three delays one after the other would take three times as long.
    assert!((DELAY..DELAY * 3).contains(&moved.elapsed()));
    let counts = server.stop().await;
    assert_eq!((counts.deliveries, counts.delayed), (3, 3));
}

#[tokio::test]
async fn a_message_comes_to_all_with_the_next_seq() {
    let server = start("").await;
    let room = RoomId::generate();
    let mut alice = Person::in_room(&server, room).await;
    let mut bob = Person::in_room(&server, room).await;
    for seq in 1..=3 {
        let event = json!(["message:send", { "room": room, "text": "hello" }]);
        bob.say(format!("427{event}")).await;
        let sent: Message = bob.hear_answer("437").await;
        assert_eq!((sent.seq, sent.author_id), (Seq(seq), bob.id));
        for person in [&mut alice, &mut bob] {
            let frame: RoomEvents = person.hear_event("room:events").await;
            assert_eq!(frame.position.to_string(), format!("1.{seq}"));
            let [event] = &frame.events[..] else {
                panic!("{frame:?}")
            };
            assert_eq!((event.seq, event.item), (sent.seq, sent.id));
            let body: Value = event.body.decode().unwrap();
            assert_eq!(body["text"], "hello");
        }
    }
}

#[tokio::test]
async fn whoever_is_elsewhere_or_gone_is_told_nothing() {
    let server = start("").await;
    let [room, other] = [RoomId::generate(), RoomId::generate()];
    let _alice = Person::in_room(&server, other).await;
    let mut carol = Person::in_room(&server, room).await;
    carol.move_cursor(room, 1).await;
    carol.nothing_more_comes(room).await;
    assert_eq!(server.counts().deliveries, 0);

    drop(Person::in_room(&server, room).await);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = server.counts().deliveries;
        carol.move_cursor(room, 2).await;
        carol.nothing_more_comes(room).await;
        if server.counts().deliveries == before {
            break;
        }
        assert!(Instant::now() < deadline, "somebody is still in the room");
    }
}

#[tokio::test]
async fn whoever_does_not_read_is_closed_and_holds_up_nobody() {
    let server = start("").await;
    let room = RoomId::generate();
    let mut alice = Person::in_room(&server, room).await;
    let mut bob = Person::in_room(&server, room).await;
    let deadline = Instant::now() + PATIENCE * 4;
    while server.counts().overrun == 0 {
        assert!(Instant::now() < deadline, "{:?}", server.counts());
        for x in 1..=1_000 {
            let packet = cursor_move(room, x);
            bob.web_socket.feed(Frame::text(packet)).await.unwrap();
        }
        bob.nothing_more_comes(room).await;
    }
    // She still gets what was on its way, and then the end.
    let read = async { while let Some(Ok(_)) = alice.web_socket.next().await {} };
    timeout(PATIENCE, read).await.expect("she is not closed");
    assert_eq!(server.counts().overrun, 1);
}

#[tokio::test]
async fn readiness_is_asked_by_plain_http() {
    let server = start("").await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}
