//! What the people of the story know at the end: their tokens, their answers, and the rooms' journals.

use super::record::{People, Rooms};
use crate::support::{PASSWORD, Person};
use reqwest::Method;
use roost_schema::RoomId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What the people of the story know, and were answered.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    pub(super) people: BTreeMap<String, Known>,
    pub(super) answers: Vec<Asked>,
    /// Every entry of each room, as the journal answers it.
    pub(super) logs: BTreeMap<RoomId, Vec<Value>>,
    /// Alice is its owner, bob an editor, carol a viewer and dave a commenter.
    pub(super) board: Value,
    pub(super) archived: RoomId,
    /// The message that was sent under [`SENT`](super::record::SENT).
    pub(super) sent: Value,
    /// Dave's room, which has no journal entries yet: its events wait in the outbox.
    pub(super) pending: RoomId,
    /// The refresh token of a session that was signed out.
    pub(super) ended_refresh_token: String,
    pub(super) access_token: String,
    pub(super) keys: Value,
    /// A stream ticket of the board.
    pub(super) ticket: String,
    /// The people in the board when the keys of Redis were read.
    pub(super) present: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Known {
    pub(super) email: String,
    pub(super) password: String,
    pub(super) id: String,
    pub(super) refresh_token: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    pub(super) who: String,
    pub(super) path: String,
    pub(super) answer: Value,
}

impl People {
    pub(super) async fn tell(&self, rooms: &Rooms, ended_refresh_token: String) -> Told {
        let mut answers = Vec::new();
        for person in [&self.alice, &self.bob, &self.carol] {
            let mut paths = vec!["/me".to_owned(), "/rooms".to_owned()];
            for room in std::iter::once(&rooms.board).chain(&rooms.others) {
                let (_, is_member) = ask(person, &format!("/rooms/{room}")).await;
                if !is_member {
                    continue;
                }
                let about = [
                    "",
                    "/members",
                    "/messages",
                    "/messages?direction=newer",
                    "/events",
                ];
                paths.extend(about.map(|about| format!("/rooms/{room}{about}")));
            }
            paths.push(format!(
                "/rooms/{}/events?after={}",
                rooms.board, rooms.early
            ));
            for path in paths {
                let (answer, is_answered) = ask(person, &path).await;
                assert!(is_answered, "{path}: {answer}");
                answers.push(Asked {
                    who: person.client().signed_in().user.name,
                    path,
                    answer,
                });
            }
        }
        let board = ask(&self.alice, &format!("/rooms/{}", rooms.board)).await.0;
        let tickets = format!("/api/v1/rooms/{}/stream-tickets", rooms.board);
        let ticket = self.alice.ask(Method::POST, &tickets).await;
        let ticket: Value = ticket.send().await.unwrap().json().await.unwrap();
        let keys = self.alice.ask(Method::GET, "/.well-known/jwks.json").await;
        let everybody = [&self.alice, &self.bob, &self.carol, &self.dave];
        Told {
            people: everybody.map(known).into_iter().collect(),
            answers,
            logs: BTreeMap::new(),
            board,
            archived: rooms.archived,
            sent: rooms.sent.clone(),
            pending: rooms.board,
            ended_refresh_token,
            access_token: self.alice.access_token().await.unwrap().expose().to_owned(),
            keys: keys.send().await.unwrap().json().await.unwrap(),
            ticket: ticket["ticket"].as_str().unwrap().to_owned(),
            present: Vec::new(),
        }
    }
}

pub(super) async fn ask(person: &Person, path: &str) -> (Value, bool) {
    let request = person.ask(Method::GET, &format!("/api/v1{path}")).await;
    let response = request.send().await.unwrap();
    let is_answered = response.status().is_success();
    (response.json().await.unwrap(), is_answered)
}

fn known(person: &Person) -> (String, Known) {
    let signed_in = person.client().signed_in();
    let known = Known {
        email: signed_in.user.email,
        password: PASSWORD.to_owned(),
        id: signed_in.user.id.to_string(),
        refresh_token: refresh_token(person),
    };
    (signed_in.user.name, known)
}

pub(super) fn refresh_token(person: &Person) -> String {
    let signed_in = person.client().signed_in();
    signed_in.refresh_token.expose().to_owned()
}
