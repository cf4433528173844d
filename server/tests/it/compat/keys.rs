//! The keys of Redis.

use crate::support::World;
use chrono::TimeDelta;
use fred::{cmd, interfaces::ClientLike, types::Value as Answer};
use roost_server::live::Redis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A score from here on is a time in milliseconds: this one is in the year 2001.
const TIMES_FROM: f64 = 1e12;
/// A number in a text is a time from here on, in microseconds.
const TIMES_FROM_US: i64 = 1_000_000_000_000_000;
/// The messages that an instance sends to itself; no other instance reads them.
const CANARY: &str = "canary:";
/// Moves the leases, as if the recorded instances had just renewed them: a server may take a while to start.
const RENEWED: TimeDelta = TimeDelta::seconds(30);

#[derive(Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "type"
)]
pub(super) enum Key {
    String { value: String, ttl_ms: i64 },
    Hash { fields: BTreeMap<String, String> },
    Set { members: Vec<String> },
    Zset { scores: BTreeMap<String, f64> },
}

pub(super) async fn dump(world: &World) -> BTreeMap<String, Key> {
    let mut keys = BTreeMap::new();
    let redis = redis(world).await;
    let all: Vec<String> = ask(&redis, "KEYS", &[&redis.name("*")]).await;
    for name in all {
        let kind: String = ask(&redis, "TYPE", &[&name]).await;
        let key = match kind.as_str() {
            "string" => Key::String {
                value: ask(&redis, "GET", &[&name]).await,
                ttl_ms: ask(&redis, "PTTL", &[&name]).await,
            },
            "hash" => Key::Hash {
                fields: ask(&redis, "HGETALL", &[&name]).await,
            },
            "set" => Key::Set {
                members: ask(&redis, "SMEMBERS", &[&name]).await,
            },
            "zset" => {
                let members: Vec<String> = ask(&redis, "ZRANGE", &[&name, "0", "-1"]).await;
                let mut scores = BTreeMap::new();
                for member in members {
                    let score = ask(&redis, "ZSCORE", &[&name, &member]).await;
                    scores.insert(member, score);
                }
                Key::Zset { scores }
            }
            // The key has expired.
            "none" => continue,
            other => panic!("{name} is a {other}"),
        };
        let name = name.strip_prefix(&redis.name("")).unwrap();
        if !name.starts_with(CANARY) {
            keys.insert(name.to_owned(), key);
        }
    }
    keys
}

pub(super) async fn load(world: &World, keys: &BTreeMap<String, Key>, age: TimeDelta) {
    let redis = redis(world).await;
    for (name, key) in keys {
        let name = redis.name(name);
        match key {
            Key::String { value, ttl_ms } => {
                let value = match value.parse() {
                    Ok(time) if time >= TIMES_FROM_US => moved_us(time, age),
                    _ => value.clone(),
                };
                set::<String>(&redis, "SET", &[&name, &value]).await;
                if *ttl_ms > 0 {
                    set::<i64>(&redis, "PEXPIRE", &[&name, &ttl_ms.to_string()]).await;
                }
            }
            Key::Hash { fields } => {
                for (field, value) in fields {
                    set::<i64>(&redis, "HSET", &[&name, field, value]).await;
                }
            }
            Key::Set { members } => {
                for member in members {
                    set::<i64>(&redis, "SADD", &[&name, member]).await;
                }
            }
            Key::Zset { scores } => {
                for (member, score) in scores {
                    let score = moved(*score, age + RENEWED).to_string();
                    set::<i64>(&redis, "ZADD", &[&name, &score, member]).await;
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970")]
fn moved(score: f64, by: TimeDelta) -> f64 {
    if score < TIMES_FROM {
        return score;
    }
    score + by.num_milliseconds() as f64
}

fn moved_us(time: i64, by: TimeDelta) -> String {
    (time + by.num_microseconds().unwrap()).to_string()
}

async fn redis(world: &World) -> Redis {
    let config = world.config(&[]);
    let url = config.redis_url.as_ref().expect("there is a Redis");
    let redis = Redis::open(url.expose(), &config.redis_prefix).unwrap();
    redis.commands().wait_for_connect().await.unwrap();
    redis
}

async fn set<T: fred::types::FromValue>(redis: &Redis, command: &'static str, words: &[&str]) {
    let _: T = ask(redis, command, words).await;
}

async fn ask<T: fred::types::FromValue>(redis: &Redis, command: &'static str, words: &[&str]) -> T {
    let words: Vec<Answer> = words.iter().map(|word| (*word).into()).collect();
    redis.commands().custom(cmd!(command), words).await.unwrap()
}
