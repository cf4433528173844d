//! `graphql-transport-ws`: close codes, limits, and feeds that end as they should.

use super::token;
use crate::support::{Person, Server, Via, World, in_time, message};
use futures::{SinkExt, StreamExt};
use reqwest::Method;
use roost_schema::{Role, RoomId, SendMessage};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Error as SocketError, Message as Frame, client::IntoClientRequest, http::StatusCode,
    },
};

/// A client that sends any message that a test wants.
pub(super) struct Raw(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Raw {
    pub(super) async fn open(server: &Server) -> Self {
        Self::connect(
            server,
            &[("sec-websocket-protocol", "graphql-transport-ws")],
        )
        .await
        .unwrap()
    }

    async fn connect(
        server: &Server,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, SocketError> {
        let url = format!("ws://{}/graphql", server.address);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        connect_async(request).await.map(|(socket, _)| Self(socket))
    }

    /// A socket whose `connection_init` was acknowledged.
    pub(super) async fn signed_in(server: &Server, person: &Person) -> Self {
        let mut socket = Self::open(server).await;
        socket.init(&token(person).await).await;
        assert_eq!(
            socket.receive().await,
            Ok(json!({ "type": "connection_ack" }))
        );
        socket
    }

    pub(super) async fn init(&mut self, token: &str) {
        let payload = json!({ "Authorization": format!("Bearer {token}") });
        self.say(json!({ "type": "connection_init", "payload": payload }))
            .await;
    }

    pub(super) async fn say(&mut self, message: Value) {
        self.say_text(&message.to_string()).await;
    }

    pub(super) async fn say_text(&mut self, text: &str) {
        self.0.send(Frame::text(text)).await.unwrap();
    }

    /// Sends bytes as they are, without the client's own framing.
    pub(super) async fn say_bytes(&mut self, bytes: &[u8]) {
        // The server may close the socket before all bytes are sent.
        let _ = self.0.get_mut().write_all(bytes).await;
    }

    pub(super) async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        let payload = json!({ "query": query, "variables": variables });
        self.say(json!({ "type": "subscribe", "id": id, "payload": payload }))
            .await;
    }

    async fn follow(&mut self, id: &str, room: RoomId) {
        self.subscribe(id, ROOM_EVENTS, json!({ "room": room }))
            .await;
    }

    /// The next message, or the close code of the socket.
    pub(super) async fn receive(&mut self) -> Result<Value, u16> {
        in_time(async {
            loop {
                match self.0.next().await {
                    Some(Ok(Frame::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                    Some(Ok(Frame::Close(Some(close)))) => return Err(close.code.into()),
                    Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                    other => panic!("a message or a close was due: {other:?}"),
                }
            }
        })
        .await
    }

    /// How many pings the server sends within a time, while it sends nothing else.
    pub(super) async fn pings_within(&mut self, time: Duration) -> usize {
        let mut pings = 0;
        let hearing = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Frame::Ping(_))) => pings += 1,
                    other => panic!("nothing else can be said: {other:?}"),
                }
            }
        };
        let heard: Result<(), _> = tokio::time::timeout(time, hearing).await;
        assert!(heard.is_err());
        pings
    }

    pub(super) async fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.receive().await {
                return code;
            }
        }
    }

    /// The error code of the answer to this operation.
    pub(super) async fn refusal(&mut self, id: &str) -> String {
        let message = self.receive().await.unwrap();
        assert_eq!(
            (&message["type"], &message["id"]),
            (&json!("error"), &json!(id)),
            "{message}"
        );
        let code = &message["payload"][0]["extensions"]["code"];
        code.as_str().unwrap().to_owned()
    }
}

const ROOM_EVENTS: &str = "subscription($room: RoomId!) {
    roomEvents(room: $room) { events { seq body } position live }
}";

#[tokio::test]
async fn a_message_that_is_none_closes_with_4400() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let long_id = "x".repeat(300);
    for text in [
        "",
        "hello",
        "{}",
        "[]",
        r#"{"type":"launch"}"#,
        r#"{"type":7}"#,
        r#"{"type":"subscribe"}"#,
        r#"{"type":"subscribe","id":7,"payload":{"query":"{me{id}}"}}"#,
        r#"{"type":"subscribe","id":"","payload":{"query":"{me{id}}"}}"#,
        r#"{"type":"subscribe","id":"1","payload":{}}"#,
        r#"{"type":"subscribe","id":"1","payload":{"query":7}}"#,
        r#"{"type":"complete"}"#,
        &format!(r#"{{"type":"ping","payload":{{"x":{deep}}}}}"#),
        &format!(r#"{{"type":"complete","id":"{long_id}"}}"#),
        &format!(
            r#"{{"type":"ping","payload":{{"x":"{}"}}}}"#,
            "x".repeat(1 << 20)
        ),
    ] {
        let mut socket = Raw::signed_in(&server, &alice).await;
        socket.0.send(Frame::text(text)).await.unwrap();
        assert_eq!(
            socket.closed().await,
            4400,
            "{}",
            &text[..text.len().min(80)]
        );
    }
    let mut socket = Raw::signed_in(&server, &alice).await;
    socket.0.send(Frame::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(socket.closed().await, 4400);
}

#[tokio::test]
async fn the_protocols_close_codes_are_kept() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;

    let mut early = Raw::open(&server).await;
    early.say(json!({ "type": "ping" })).await;
    assert_eq!(early.receive().await, Ok(json!({ "type": "pong" })));
    early.follow("1", room).await;
    assert_eq!(early.closed().await, 4401);

    let mut twice = Raw::signed_in(&server, &alice).await;
    twice.init(&token(&alice).await).await;
    assert_eq!(twice.closed().await, 4429);

    let mut same_id = Raw::signed_in(&server, &alice).await;
    same_id.follow("1", room).await;
    same_id.follow("1", room).await;
    assert_eq!(same_id.closed().await, 4409);

    let mut again = Raw::signed_in(&server, &alice).await;
    for _ in 0..3 {
        again.follow("1", room).await;
        assert_eq!(again.receive().await.unwrap()["type"], "next");
        again.say(json!({ "type": "complete", "id": "1" })).await;
    }
    again.subscribe("1", "{me{name}}", json!({})).await;
    let answer = again.receive().await.unwrap();
    assert_eq!(
        answer["payload"],
        json!({ "data": { "me": { "name": "alice" } } })
    );
    assert_eq!(
        again.receive().await,
        Ok(json!({ "type": "complete", "id": "1" }))
    );

    for protocol in ["graphql-ws", "nonsense"] {
        // After the answer the client library refuses an upgrade that names no subprotocol.
        let opened = Raw::connect(&server, &[("sec-websocket-protocol", protocol)]).await;
        assert!(opened.is_err(), "{protocol}");
    }
    let mut unnamed = Raw::connect(&server, &[]).await.unwrap();
    assert_eq!(unnamed.closed().await, 4406);

    let foreign = [
        ("sec-websocket-protocol", "graphql-transport-ws"),
        ("origin", "https://evil.example"),
    ];
    match Raw::connect(&server, &foreign).await {
        Err(SocketError::Http(response)) => assert_eq!(response.status(), StatusCode::FORBIDDEN),
        other => panic!("a foreign page may not connect: {:?}", other.is_ok()),
    }
}

#[tokio::test]
async fn whoever_says_nothing_is_closed_with_4408() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let mut silent = Raw::open(&server).await;
    assert_eq!(silent.closed().await, 4408);
}

#[tokio::test]
async fn a_socket_lives_as_long_as_its_session_and_its_token() {
    let world = World::on_sqlite().await;
    let server = world.serve_with(&[("access_token_lifetime", "10s")]).await;
    let alice = server.alice().await;
    let phone = alice.sign_in().await;
    let (laptops, phones) = (alice.signed_in(), phone.signed_in());
    for wrong in [
        "",
        "forged",
        "a.b.c",
        &format!("{}x", laptops.access_token.expose()),
    ] {
        let mut socket = Raw::open(&server).await;
        socket.init(wrong).await;
        assert_eq!(socket.closed().await, 4403, "{wrong}");
    }
    let mut nobody = Raw::open(&server).await;
    nobody.say(json!({ "type": "connection_init" })).await;
    assert_eq!(nobody.closed().await, 4403);

    let mut on_laptop = Raw::open(&server).await;
    on_laptop.init(laptops.access_token.expose()).await;
    assert_eq!(on_laptop.receive().await.unwrap()["type"], "connection_ack");
    let mut on_phone = Raw::open(&server).await;
    on_phone.init(phones.access_token.expose()).await;
    assert_eq!(on_phone.receive().await.unwrap()["type"], "connection_ack");

    alice.revoke_session(phones.session.id).await.unwrap();
    assert_eq!(on_phone.closed().await, 4403);
    let mut revoked = Raw::open(&server).await;
    revoked.init(phones.access_token.expose()).await;
    assert_eq!(revoked.closed().await, 4403);
    // The other socket goes on until its token expires.
    assert_eq!(on_laptop.closed().await, 4403);
}

#[tokio::test]
async fn a_feed_is_refused_or_ended_with_a_code() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let room = alice.board("Plan").await.id;
    let mut socket = Raw::signed_in(&server, &bob).await;
    for (id, wanted) in [("1", room), ("2", RoomId::generate())] {
        socket.follow(id, wanted).await;
        assert_eq!(socket.refusal(id).await, "not_found");
    }
    let after = "subscription($room: RoomId!, $after: Position) {
        roomEvents(room: $room, after: $after) { live }
    }";
    alice.invite(room, &bob, Role::Viewer).await;
    for (position, expected) in [("nonsense", "malformed"), ("dead.1", "reload_required")] {
        let variables = json!({ "room": room, "after": position });
        socket.subscribe("3", after, variables).await;
        assert_eq!(socket.refusal("3").await, expected);
    }
    socket.follow("4", room).await;
    assert_eq!(socket.receive().await.unwrap()["type"], "next");
    alice.remove_member(room, bob.id(), None).await.unwrap();
    loop {
        let message = socket.receive().await.unwrap();
        if message["type"] == "error" {
            assert_eq!(message["payload"][0]["extensions"]["code"], "not_found");
            break;
        }
    }
    socket
        .say(json!({ "type": "ping", "payload": { "still": "here" } }))
        .await;
    let pong = json!({ "type": "pong", "payload": { "still": "here" } });
    assert_eq!(socket.receive().await, Ok(pong));
}

#[tokio::test]
async fn a_socket_runs_so_many_operations_and_no_more() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    let mut socket = Raw::signed_in(&server, &alice).await;
    for number in 0..128 {
        socket.follow(&number.to_string(), room).await;
        assert_eq!(socket.receive().await.unwrap()["type"], "next");
    }
    socket.follow("one more", room).await;
    assert_eq!(socket.refusal("one more").await, "limit_reached");
    socket.say(json!({ "type": "complete", "id": "0" })).await;
    socket.follow("instead", room).await;
    assert_eq!(socket.receive().await.unwrap()["id"], "instead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_holds_nobody_up_and_misses_nothing() {
    const MESSAGES: usize = 300;
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let room = alice.board("Plan").await.id;
    alice.invite(room, &bob, Role::Viewer).await;
    let mut slow = Raw::signed_in(&server, &bob).await;
    slow.follow("1", room).await;
    assert_eq!(slow.receive().await.unwrap()["type"], "next");
    let mut quick = bob.watch(Via::GraphQl, room, None).await.unwrap();

    let text = "x".repeat(30_000);
    let mut last = 0;
    for _ in 0..MESSAGES {
        let input: SendMessage = message(&text);
        last = alice.send_message(room, &input).await.unwrap().seq.0;
    }
    assert!(quick.events(MESSAGES).await.last().unwrap().seq.0 >= last);

    let mut seq = 0;
    while seq < last {
        let message = slow.receive().await.unwrap();
        for event in message["payload"]["data"]["roomEvents"]["events"]
            .as_array()
            .unwrap()
        {
            let next = event["seq"].as_u64().unwrap();
            assert!(seq == 0 || next == seq + 1, "{next} follows {seq}");
            seq = next;
        }
    }
}

#[tokio::test]
async fn a_stopping_server_sends_its_sockets_elsewhere() {
    let world = World::on_sqlite().await;
    let server = world.serve_with(&[("drain_delay", "0s")]).await;
    let alice = server.alice().await;
    let mut socket = Raw::signed_in(&server, &alice).await;
    server.begin_stopping();
    assert_eq!(socket.closed().await, 1012);
}

#[tokio::test]
async fn a_get_that_is_no_upgrade_is_a_query() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let request = server.endpoint.request(Method::GET, "/graphql");
    let request = request.query(&[("query", "{__typename}")]);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer, json!({ "data": { "__typename": "Query" } }));
}
