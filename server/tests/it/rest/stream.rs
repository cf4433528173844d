//! A room as server-sent events: live, resumed, by ticket, and how it ends.

use super::{json, refused, tokens};
use crate::support::{Person, Server, World, alone_and_on_clusters, in_time, message};
use futures::StreamExt;
use reqwest::{Method, RequestBuilder, Response};
use roost_schema::{ErrorCode, MessageState, Role, RoomEvents, RoomId};
use serde_json::{Value, json};

alone_and_on_clusters!(
    a_reader_sees_what_happens_and_resumes_after_what_it_saw,
    a_ticket_opens_one_stream_once,
    a_ticket_is_worth_nothing_once_its_session_has_ended,
    what_is_wrong_before_the_first_event_is_an_error,
    it_ends_when_its_reader_is_removed,
    it_ends_when_its_session_is_revoked,
    it_ends_when_the_server_stops_and_says_when_to_come_back,
);

async fn scene(world: &World) -> (Server, Person, RoomId) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    (server, alice, room)
}

/// An event stream, read as a browser reads it.
struct EventSource {
    chunks: futures::stream::BoxStream<'static, Vec<u8>>,
    unread: Vec<u8>,
}

/// An event as a browser passes it to its page.
#[derive(Debug, Default)]
struct Event {
    name: String,
    id: String,
    data: String,
    retry: Option<u64>,
}

impl EventSource {
    async fn open(request: RequestBuilder) -> Self {
        let answer: Response = super::answered(request, 200).await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let chunks = answer
            .bytes_stream()
            .map(|chunk| chunk.map_or_else(|_| Vec::new(), |it| it.to_vec()));
        Self {
            chunks: chunks.boxed(),
            unread: Vec::new(),
        }
    }

    /// The next event; `None` when the server ended the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                let event = Event::read(std::str::from_utf8(&block).unwrap());
                if !event.data.is_empty() {
                    return Some(event);
                }
                continue;
            }
            self.unread.extend(in_time(self.chunks.next()).await?);
        }
    }

    /// The texts of the next messages.
    async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            let frame = self.next().await.expect("the stream goes on").frame();
            for event in frame.events {
                let state: MessageState = event.body.decode().unwrap();
                texts.push(state.text);
            }
        }
        texts
    }

    /// The reason for which the server ends the stream; nothing follows it.
    async fn closed(&mut self) -> Value {
        loop {
            let event = self.next().await.expect("the stream says why it ends");
            if event.name == "closed" {
                assert!(self.next().await.is_none());
                return serde_json::from_str(&event.data).unwrap();
            }
        }
    }
}

impl Event {
    fn read(block: &str) -> Self {
        let mut event = Self::default();
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "event" => event.name = value,
                "id" => event.id = value,
                "data" => event.data += &value,
                "retry" => event.retry = value.parse().ok(),
                _ => {}
            }
        }
        event
    }

    fn frame(&self) -> RoomEvents {
        assert_eq!(self.name, "", "{}", self.data);
        let frame: RoomEvents = serde_json::from_str(&self.data).unwrap();
        assert_eq!(self.id, frame.position.to_string());
        frame
    }
}

async fn stream(person: &Person, room: RoomId) -> RequestBuilder {
    person.ask(Method::GET, &path(room)).await
}

fn path(room: RoomId) -> String {
    format!("/api/v1/rooms/{room}/stream")
}

async fn say(person: &Person, room: RoomId, text: &str) {
    person.send_message(room, &message(text)).await.unwrap();
}

async fn a_reader_sees_what_happens_and_resumes_after_what_it_saw(world: World) {
    let (_server, alice, room) = scene(&world).await;
    let mut reader = EventSource::open(stream(&alice, room).await).await;
    // The first frame has the reader's position and the pause before a reconnect.
    let first = reader.next().await.unwrap();
    assert!(first.retry.is_some());
    assert!(first.frame().events.is_empty() && first.frame().live);
    for text in ["one", "two", "three"] {
        say(&alice, room, text).await;
    }
    assert_eq!(reader.texts(3).await, ["one", "two", "three"]);
    drop(reader);

    say(&alice, room, "four").await;
    let resumed = stream(&alice, room)
        .await
        .header("last-event-id", &first.id);
    // The header has the last id that the browser received; the query is older.
    let resumed = resumed.query(&[("after", "1.1")]);
    let mut resumed = EventSource::open(resumed).await;
    assert_eq!(resumed.texts(4).await, ["one", "two", "three", "four"]);
    let after = stream(&alice, room).await.query(&[("after", &first.id)]);
    let mut after = EventSource::open(after).await;
    assert_eq!(after.texts(4).await, ["one", "two", "three", "four"]);
}

async fn a_ticket_opens_one_stream_once(world: World) {
    let (server, alice, room) = scene(&world).await;
    let issue = format!("/api/v1/rooms/{room}/stream-tickets");
    let ticket = json(alice.ask(Method::POST, &issue).await, 201).await;
    let ticket = ticket["ticket"].as_str().unwrap().to_owned();
    // With several instances, another one than the one that issued the ticket.
    let others = server.others.iter().map(|other| &other.endpoint);
    let at = others.last().unwrap_or(&server.endpoint);
    let with = |room: RoomId, ticket: &str| {
        let request = at.request(Method::GET, &path(room));
        request.query(&[("ticket", ticket)])
    };
    let mut reader = EventSource::open(with(room, &ticket)).await;
    reader.next().await.unwrap();
    say(&alice, room, "hello").await;
    assert_eq!(reader.texts(1).await, ["hello"]);
    assert_eq!(
        refused(with(room, &ticket)).await,
        ErrorCode::Unauthenticated
    );
    assert_eq!(
        refused(with(room, "guessed")).await,
        ErrorCode::Unauthenticated
    );

    let elsewhere = alice.board("Other").await.id;
    let ticket = json(alice.ask(Method::POST, &issue).await, 201).await;
    let ticket = ticket["ticket"].as_str().unwrap();
    assert_eq!(
        refused(with(elsewhere, ticket)).await,
        ErrorCode::Unauthenticated
    );
}

async fn a_ticket_is_worth_nothing_once_its_session_has_ended(world: World) {
    let (server, alice, room) = scene(&world).await;
    let other = alice.sign_in().await;
    let issue = format!("/api/v1/rooms/{room}/stream-tickets");
    let ticket = json(other.ask(Method::POST, &issue).await, 201).await;
    other.logout().await.unwrap();
    let request = server.endpoint.request(Method::GET, &path(room));
    let request = request.query(&[("ticket", ticket["ticket"].as_str().unwrap())]);
    assert_eq!(refused(request).await, ErrorCode::SessionRevoked);
}

async fn what_is_wrong_before_the_first_event_is_an_error(world: World) {
    let (server, alice, room) = scene(&world).await;
    let stranger = server.stranger().await;
    let request = stream(&stranger, room).await;
    assert_eq!(refused(request).await, ErrorCode::NotFound);
    let request = stream(&alice, room).await.query(&[("after", "abc.1")]);
    assert_eq!(refused(request).await, ErrorCode::ReloadRequired);
    let request = stream(&alice, room).await.header("last-event-id", "abc.1");
    assert_eq!(refused(request).await, ErrorCode::ReloadRequired);
    let request = stream(&alice, room)
        .await
        .header("last-event-id", "yesterday");
    assert_eq!(refused(request).await, ErrorCode::Malformed);
}

async fn it_ends_when_its_reader_is_removed(world: World) {
    let (server, alice, room) = scene(&world).await;
    let bob = server.bob().await;
    alice.invite(room, &bob, Role::Viewer).await;
    let mut reader = EventSource::open(stream(&bob, room).await).await;
    alice.remove_member(room, bob.id(), None).await.unwrap();
    assert_eq!(reader.closed().await["code"], "not_found");
    assert_eq!(refused(stream(&bob, room).await).await, ErrorCode::NotFound);
}

async fn it_ends_when_its_session_is_revoked(world: World) {
    let (_server, alice, room) = scene(&world).await;
    let other = alice.sign_in().await;
    let mut reader = EventSource::open(stream(&other, room).await).await;
    alice.revoke_other_sessions().await.unwrap();
    assert_eq!(reader.closed().await["code"], "session_revoked");
}

#[tokio::test]
async fn it_ends_when_its_token_expires() {
    let (_world, server, key) = tokens::serve().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    let token = alice.access_token().await.unwrap();
    let soon = chrono::Utc::now().timestamp() + 2;
    let short = tokens::reissued(token.expose(), &key, |claims| claims["exp"] = json!(soon));
    let request = server.endpoint.request(Method::GET, &path(room));
    let mut reader = EventSource::open(request.bearer_auth(short)).await;
    assert_eq!(reader.closed().await["code"], "unauthenticated");
}

async fn it_ends_when_the_server_stops_and_says_when_to_come_back(world: World) {
    let (server, alice, room) = scene(&world).await;
    let mut reader = EventSource::open(stream(&alice, room).await).await;
    server.begin_stopping();
    let closed = reader.closed().await;
    assert_eq!(closed["code"], "unavailable");
    assert!(closed["retryAfterMs"].as_u64().is_some());
}
