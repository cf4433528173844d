//! This release and the one before on the same rows: what that one writes is written here by its statements.

use super::{
    device::{Api, Device},
    ended, first_token, pass, rows,
};
use crate::support::{Person, World, on_each_database};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use chrono::{TimeDelta, Utc};
use roost_schema::Secret;
use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

on_each_database!(
    each_release_exchanges_the_tokens_of_the_other,
    two_tabs_may_exchange_a_token_of_the_release_before,
    a_successor_of_the_release_before_keeps_its_ten_seconds,
    branches_of_the_release_before_end_a_day_after_it_left,
    going_back_signs_nobody_out,
);

const TEN: TimeDelta = TimeDelta::seconds(10);

async fn each_release_exchanges_the_tokens_of_the_other(world: World) {
    let server = world.serve().await;
    let (before, here) = (Before(&world), Device::at(&server));
    for api in Api::ALL {
        let alice = server.person(api.name()).await;
        let first = first_token(&alice);
        let mut token = first.clone();
        for _ in 0..3 {
            token = before.exchange(&token).await.unwrap();
            token = before.exchange(&token).await.unwrap();
            let next = here.exchange(api, &token).await.unwrap().refresh_token;
            let again = here.exchange(api, &token).await.unwrap().refresh_token;
            assert_eq!(again, next);
            token = here.exchange(api, &next).await.unwrap().refresh_token;
            assert!(rows(&world, &alice).await <= 3);
        }
        // The first token is known by what it says.
        assert_eq!(here.refusal(api, &first).await, ended());
        assert_eq!(here.refusal(api, &token).await, ended());
    }
}

async fn two_tabs_may_exchange_a_token_of_the_release_before(world: World) {
    let server = world.serve().await;
    let (before, here) = (Before(&world), Device::at(&server));
    for api in Api::ALL {
        let alice = server.person(api.name()).await;
        let token = before.open(&alice).await;
        let (one, two) = tokio::join!(here.exchange(api, &token), here.exchange(api, &token));
        let (one, two) = (one.unwrap().refresh_token, two.unwrap().refresh_token);
        assert_eq!(one, two);
        let next = here.exchange(api, &one).await.unwrap().refresh_token;
        assert_eq!(
            here.refusal(api, &token).await.code.as_str(),
            "unauthenticated"
        );
        assert!(here.exchange(api, &next).await.is_ok());
    }
}

async fn a_successor_of_the_release_before_keeps_its_ten_seconds(world: World) {
    let server = world.serve().await;
    let (before, here) = (Before(&world), Device::at(&server));
    for api in Api::ALL {
        let alice = server.person(api.name()).await;
        let token = first_token(&alice);
        let theirs = before.exchange(&token).await.unwrap();
        let ours = here.exchange(api, &token).await.unwrap().refresh_token;
        let again = here.exchange(api, &token).await.unwrap().refresh_token;
        assert_eq!(again, ours);
        for tab in [theirs, ours] {
            assert!(here.exchange(api, &tab).await.is_ok());
        }

        let late = first_token(&alice.sign_in().await);
        let theirs = before.exchange(&late).await.unwrap();
        pass(&world, TEN).await;
        assert_eq!(here.refusal(api, &late).await, ended());
        assert_eq!(here.refusal(api, &theirs).await, ended());
    }
}

async fn branches_of_the_release_before_end_a_day_after_it_left(world: World) {
    let server = world.serve().await;
    let (before, here) = (Before(&world), Device::at(&server));
    let mut sessions = Vec::new();
    for api in Api::ALL {
        let alice = server.person(api.name()).await;
        let root = before.open(&alice).await;
        let left = before.exchange(&root).await.unwrap();
        let right = before.exchange(&root).await.unwrap();
        let line = here.exchange(api, &left).await.unwrap().refresh_token;
        // Two tabs have one each, and go on in turn.
        let other = here.exchange(api, &right).await.unwrap().refresh_token;
        let line = here.exchange(api, &line).await.unwrap().refresh_token;
        assert!(rows(&world, &alice).await <= 3);
        let phone = alice.sign_in().await;
        sessions.push((api, line, other, before.open(&phone).await));
    }
    let day = TimeDelta::hours(24).num_microseconds().unwrap();
    world
        .run(&format!(
            "UPDATE spoken_since SET since_us = since_us - {day}"
        ))
        .await;
    pass(&world, TimeDelta::days(20)).await;
    for (api, line, other, asleep) in sessions {
        let line = here.exchange(api, &line).await.unwrap().refresh_token;
        assert_eq!(here.refusal(api, &other).await, ended());
        assert_eq!(here.refusal(api, &line).await, ended());
        // A phone that slept through the upgrade holds the only token of its session.
        let awake = here.exchange(api, &asleep).await.unwrap().refresh_token;
        assert!(here.exchange(api, &awake).await.is_ok());
    }
}

async fn going_back_signs_nobody_out(world: World) {
    let server = world.serve().await;
    let (before, here) = (Before(&world), Device::at(&server));
    for api in Api::ALL {
        let alice = server.person(api.name()).await;
        let mut tokens = vec![first_token(&alice)];
        for number in 0..3 {
            let next = here.exchange(api, &tokens[number]).await.unwrap();
            tokens.push(next.refresh_token);
        }
        // What that release judges of the predecessor is what it always did.
        assert!(before.exchange(&tokens[2]).await.is_ok());
        let next = before.exchange(&tokens[3]).await.unwrap();
        assert_eq!(before.exchange(&tokens[0]).await, Err("unknown"));
        assert!(before.exchange(&next).await.is_ok());
    }
}

/// The release before, as far as it exchanges refresh tokens.
struct Before<'a>(&'a World);

impl Before<'_> {
    /// Makes a person's session what that release would have made of it; answers its token.
    async fn open(&self, person: &Person) -> Secret {
        let session = person.signed_in().session.id.as_uuid();
        let forget = "DELETE FROM refresh_tokens WHERE session_id = $1";
        self.0.execute(forget, vec![session.into()]).await;
        let without = "UPDATE sessions SET token_key = NULL WHERE id = $1";
        self.0.execute(without, vec![session.into()]).await;
        self.insert(session, None).await
    }

    async fn exchange(&self, token: &Secret) -> Result<Secret, &'static str> {
        let known = "SELECT session_id, used_us FROM refresh_tokens WHERE hash = $1";
        let row = self.row(known, vec![hash(token).into()]).await;
        let row = row.ok_or("unknown")?;
        let used: Option<i64> = row.try_get("", "used_us").unwrap();
        if let Some(used) = used
            && (now_us() - used >= TEN.num_microseconds().unwrap()
                || !self.has_unused_successor(token).await)
        {
            return Err("reused");
        }
        let mark = "UPDATE refresh_tokens SET used_us = $2 WHERE hash = $1 AND used_us IS NULL";
        let values = vec![hash(token).into(), now_us().into()];
        self.0.execute(mark, values).await;
        let session: Uuid = row.try_get("", "session_id").unwrap();
        Ok(self.insert(session, Some(token)).await)
    }

    async fn has_unused_successor(&self, token: &Secret) -> bool {
        let successor = "SELECT 1 AS one FROM refresh_tokens WHERE parent = $1 AND used_us IS NULL";
        let row = self.row(successor, vec![hash(token).into()]).await;
        row.is_some()
    }

    async fn insert(&self, session: Uuid, parent: Option<&Secret>) -> Secret {
        let token = Secret::new(BASE64URL.encode(rand::random::<[u8; 32]>()));
        let insert = "INSERT INTO refresh_tokens (hash, session_id, parent, issued_us)
                      VALUES ($1, $2, $3, $4)";
        let values = vec![
            hash(&token).into(),
            session.into(),
            parent.map(hash).into(),
            now_us().into(),
        ];
        self.0.execute(insert, values).await;
        token
    }

    async fn row(&self, sql: &str, values: Vec<Value>) -> Option<QueryResult> {
        let query = Statement::from_sql_and_values(self.0.sql.backend(), sql, values);
        self.0.sql.read.query_one_raw(query).await.unwrap()
    }
}

fn hash(token: &Secret) -> Vec<u8> {
    Sha256::digest(token.expose()).to_vec()
}

fn now_us() -> i64 {
    Utc::now().timestamp_micros()
}
