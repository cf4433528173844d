//! Continues the story: with the data of an earlier release, all people find everything unchanged.

use super::{
    Caller, Golden, Stores, documents, keys,
    record::{CREATED, REGISTERED, SENT, journal},
    tables,
    told::Told,
};
use crate::support::{World, eventually};
use chrono::TimeDelta;
use reqwest::Method;
use roost_client::Endpoint;
use roost_schema::{RoomId, Seq};
use roost_server::app::Api;
use roost_server::store::journal::{Entry, Journal};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Fields of answers whose times move with the rows. Bodies are compared unchanged.
const MOVING: [&str; 5] = ["at", "createdAt", "editedAt", "joinedAt", "lastUsedAt"];

pub(super) async fn check(stores: Stores, golden: &Golden) {
    let world = stores.world().await;
    let age = golden.age();
    tables::load(&world, &golden.tables, age).await;
    documents::load(&world, &golden.documents).await;
    world.sql.migrate().await.unwrap();
    check_tokens(&world, golden).await;
    check_logs(&journal(&world).await, &golden.told).await;
    tables::age_journal(&world, age).await;
    documents::age_journal(&world, age).await;
    check_bus(golden);
    if !golden.keys.is_empty() {
        keys::load(&world, &golden.keys, age).await;
    }

    let server = world.serve_one_with(&[]).await;
    let told = &golden.told;
    let story = Story::begin(&server.endpoint, told).await;
    story.is_present(told).await;
    story.is_as_it_was(told).await;
    story.is_repeated(told).await;
    story.waits_no_longer(told).await;
    story.goes_on(told).await;
    story.people_sign_in(told).await;
    server.stop().await;
}

/// Checks the access token and the ticket at the time they were issued, because they live for minutes.
async fn check_tokens(world: &World, golden: &Golden) {
    let here = world.instance().await;
    here.store.clock.advance(-golden.age());
    let told = &golden.told;
    let actor = here
        .app
        .authenticate(&told.access_token, Api::Rest)
        .unwrap();
    assert_eq!(actor.user_id.to_string(), told.people["alice"].id);
    let board = room(&told.board);
    let ticket = here.app.read_stream_ticket(&told.ticket, board).unwrap();
    assert_eq!(ticket.actor.user_id, actor.user_id);
    here.store.clock.advance(TimeDelta::hours(1));
    here.app
        .authenticate(&told.access_token, Api::Rest)
        .expect_err("it has expired");
}

/// Every published entry was in the journal. `live/cluster/compat.rs` checks how this release reads the messages.
fn check_bus(golden: &Golden) {
    for message in &golden.bus {
        let json = message.json();
        let Some(entries) = json["events"]["entries"].as_array() else {
            continue;
        };
        for entry in entries {
            let room: RoomId = entry["room"].as_str().unwrap().parse().unwrap();
            // The journals of personal rooms were not recorded.
            let Some(log) = golden.told.logs.get(&room) else {
                continue;
            };
            let mut kept = log.iter().filter(|kept| kept["seq"] == entry["seq"]);
            let kept = kept.next().unwrap();
            for field in ["item", "kind", "op", "actor", "born", "body"] {
                assert_eq!(entry[field], kept[field], "{field} of {entry}");
            }
        }
    }
}

async fn check_logs(journal: &Arc<dyn Journal>, told: &Told) {
    for (room, log) in &told.logs {
        let kept = journal.log(*room, Seq::ZERO, usize::MAX).await.unwrap();
        let kept = kept.entries.iter().map(Entry::to_json).collect();
        assert_kept(&Value::from(log.clone()), &kept, &format!("log of {room}"));
    }
}

/// Every field of an earlier answer is in today's answer, which may have more.
fn assert_kept(earlier: &Value, today: &Value, of: &str) {
    match (earlier, today) {
        (Value::Object(earlier), Value::Object(today)) => {
            for (name, value) in earlier {
                let of = format!("{of}.{name}");
                if MOVING.contains(&name.as_str()) {
                    continue;
                }
                let found = today.get(name).unwrap_or(&Value::Null);
                if name == "body" {
                    assert_eq!(value, found, "{of}");
                }
                assert_kept(value, found, &of);
            }
        }
        (Value::Array(earlier), Value::Array(today)) => {
            assert_eq!(earlier.len(), today.len(), "{of}: {earlier:#?} {today:#?}");
            for (number, (earlier, today)) in earlier.iter().zip(today).enumerate() {
                assert_kept(earlier, today, &format!("{of}[{number}]"));
            }
        }
        _ => assert_eq!(earlier, today, "{of}"),
    }
}

fn room(view: &Value) -> RoomId {
    view["id"].as_str().unwrap().parse().unwrap()
}

/// The people, signed in by the refresh tokens that the earlier release issued.
struct Story {
    endpoint: Endpoint,
    people: BTreeMap<String, Caller>,
}

impl Story {
    async fn begin(endpoint: &Endpoint, told: &Told) -> Self {
        let mut people = BTreeMap::new();
        let is_ready = || async {
            let request = endpoint.request(Method::GET, "/readyz").send().await;
            request.is_ok_and(|answer| answer.status().is_success())
        };
        eventually(is_ready).await;
        for (name, known) in &told.people {
            let (caller, next) = Caller::refreshed(endpoint, &known.refresh_token).await;
            // The next refresh token works, too.
            Caller::refreshed(endpoint, &next).await;
            people.insert(name.clone(), caller);
        }
        let keys = endpoint.request(Method::GET, "/.well-known/jwks.json");
        let keys: Value = keys.send().await.unwrap().json().await.unwrap();
        assert_kept(&told.keys, &keys, "keys");
        Self {
            endpoint: endpoint.clone(),
            people,
        }
    }

    async fn ask(&self, who: &str, path: &str) -> Value {
        let (status, answer) = self.people[who].get(path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// People who are connected to an instance of the earlier release are shown as present.
    async fn is_present(&self, told: &Told) {
        let path = format!("/rooms/{}/presence", room(&told.board));
        // Until this instance is connected to Redis it shows no people.
        let are_seen = || async {
            let present = self.ask("alice", &path).await;
            let present = present["items"].as_array().unwrap();
            present.len() == told.present.len()
                && told.present.iter().all(|person| present.contains(person))
        };
        eventually(are_seen).await;
    }

    /// Accounts, rooms, members, messages, histories, full states and old positions are unchanged.
    async fn is_as_it_was(&self, told: &Told) {
        for answer in &told.answers {
            let today = self.ask(&answer.who, &answer.path).await;
            assert_kept(&answer.answer, &today, &answer.path);
        }
        let sessions = self.ask("alice", "/me/sessions").await;
        let sessions = sessions["items"].as_array().unwrap();
        assert!(sessions.iter().any(|session| session["name"] == "laptop"));
    }

    /// Repeats earlier operations, as clients do that did not receive the answer.
    async fn is_repeated(&self, told: &Told) {
        let board = room(&told.board);
        let register = json!({
            "email": told.people["alice"].email, "password": told.people["alice"].password,
            "name": "alice", "opId": REGISTERED,
        });
        let nobody = Caller::nobody(&self.endpoint);
        let (status, signed_in) = nobody.post("/auth/register", &register).await;
        assert!(status < 300, "{signed_in}");
        assert_eq!(signed_in["user"]["id"], told.people["alice"].id.as_str());
        let alice = &self.people["alice"];
        let create = json!({ "title": "Plan", "opId": CREATED });
        let (_, created) = alice.post("/boards", &create).await;
        assert_eq!(created["id"], told.board["id"], "{created}");
        let send = json!({ "text": "first", "opId": SENT });
        let (_, answer) = alice.post(&format!("/rooms/{board}/messages"), &send).await;
        assert_kept(&told.sent, &answer, "a message that was sent before");
        let other = json!({ "text": "other", "opId": SENT });
        let (_, refused) = alice
            .post(&format!("/rooms/{board}/messages"), &other)
            .await;
        assert_eq!(refused["code"], "op_id_reused", "{refused}");
    }

    /// The entries that waited in the outbox are relayed.
    async fn waits_no_longer(&self, told: &Told) {
        let path = format!("/rooms/{}/events", told.pending);
        let is_relayed = || async {
            let (status, answer) = self.people["dave"].get(&path).await;
            let events = answer["events"].as_array().map_or(0, Vec::len);
            status == 200 && events == 2
        };
        eventually(is_relayed).await;
        let view = self.ask("dave", &format!("/rooms/{}", told.pending)).await;
        assert_eq!(view["title"], "Left behind");
    }

    /// New messages follow the old ones, as far as the old roles allow.
    async fn goes_on(&self, told: &Told) {
        let board = room(&told.board);
        let path = format!("/rooms/{board}/messages");
        let head = told.logs[&board].len();
        let text = json!({ "text": "and so on" });
        let (status, sent) = self.people["bob"].post(&path, &text).await;
        assert_eq!(status, 201, "{sent}");
        assert_eq!(sent["seq"], head + 1);
        let old = told.sent["id"].as_str().unwrap();
        let edit = json!({ "text": "first, edited by another release" });
        let (status, edited) = self.people["alice"]
            .send(Method::PATCH, &format!("{path}/{old}"), Some(&edit))
            .await;
        assert_eq!(status, 200, "{edited}");
        assert_eq!(edited["seq"], head + 2);
        let (status, refused) = self.people["carol"].post(&path, &text).await;
        assert_eq!((status, &refused["code"]), (403, &"forbidden".into()));
        let archived = format!("/rooms/{}/messages", told.archived);
        let (status, refused) = self.people["alice"].post(&archived, &text).await;
        assert_eq!((status, &refused["code"]), (409, &"archived".into()));
        let (status, _) = self.people["dave"].get(&archived).await;
        assert_eq!(status, 404);
    }

    async fn people_sign_in(&self, told: &Told) {
        let nobody = Caller::nobody(&self.endpoint);
        for known in told.people.values() {
            let login = json!({ "email": known.email, "password": known.password });
            let (status, signed_in) = nobody.post("/auth/login", &login).await;
            assert_eq!(status, 200, "{signed_in}");
            assert_eq!(signed_in["user"]["id"], known.id.as_str());
        }
        let login = json!({ "email": told.people["bob"].email, "password": "not that one" });
        let (status, refused) = nobody.post("/auth/login", &login).await;
        assert_eq!(status, 401, "{refused}");
        let ended = json!({ "refreshToken": told.ended_refresh_token });
        let (_, refused) = nobody.post("/auth/refresh", &ended).await;
        assert_eq!(refused["code"], "session_revoked", "{refused}");
    }
}
