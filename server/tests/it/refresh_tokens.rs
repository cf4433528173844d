//! Refresh tokens: one line for each session, whoever exchanges which token when and from where. Each story is told over
//! REST and over GraphQL.

mod device;
mod releases;

use crate::support::{PASSWORD, Person, World, on_each_database};
use chrono::{DateTime, TimeDelta, Utc};
use device::{Api, Device, Refusal};
use futures::future::join_all;
use roost_schema::{ErrorCode, ItemId, RoomEvent, Secret, Seq, SessionState};
use serde_json::{Value, json};

on_each_database!(
    a_session_keeps_three_rows_however_old,
    six_tabs_that_exchange_at_once_go_on_with_one_successor,
    a_tab_that_stays_one_exchange_behind_goes_on,
    an_answer_that_was_lost_is_given_again_after_an_hour,
    a_token_from_a_stranger_elsewhere_ends_the_session,
    from_one_of_the_two_it_is_served_and_the_person_is_told,
    a_change_of_the_password_leaves_its_own_pair_only,
);

const BECAUSE: &str = "the session was ended because an old refresh token was used again: sign in";

async fn a_session_keeps_three_rows_however_old(world: World) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let home = Device::at(&server);
    let mut token = first_token(&alice);
    for number in 0..1_000 {
        let api = Api::ALL[number % 2];
        token = home.exchange(api, &token).await.unwrap().refresh_token;
        if number % 100 == 0 {
            pass(&world, TimeDelta::minutes(5)).await;
            assert!(rows(&world, &alice).await <= 3);
        }
    }
    assert!(rows(&world, &alice).await <= 3);
}

async fn six_tabs_that_exchange_at_once_go_on_with_one_successor(world: World) {
    let server = world.serve().await;
    for api in Api::ALL {
        let alice = server.person(api.name()).await;
        let home = Device::at(&server);
        let mut token = first_token(&alice);
        for _ in 0..3 {
            let tabs = (0..6).map(|_| home.exchange(api, &token));
            let tabs: Vec<_> = join_all(tabs)
                .await
                .into_iter()
                .map(Result::unwrap)
                .collect();
            for tab in &tabs {
                assert_eq!(tab.refresh_token, tabs[0].refresh_token);
                assert_eq!(home.read_me(&tab.access_token).await, "");
            }
            assert_ne!(tabs[0].refresh_token, token);
            token = tabs[0].refresh_token.clone();
            pass(&world, TimeDelta::minutes(5)).await;
        }
        assert!(rows(&world, &alice).await <= 3);
    }
}

/// The others exchange every five minutes. This tab froze once, and comes four minutes after them each time.
async fn a_tab_that_stays_one_exchange_behind_goes_on(world: World) {
    let server = world.serve().await;
    for api in Api::ALL {
        let alice = server.person(api.name()).await;
        let home = Device::at(&server);
        let (mut others, mut late) = (first_token(&alice), first_token(&alice));
        for _ in 0..4 {
            others = home.exchange(api, &others).await.unwrap().refresh_token;
            pass(&world, TimeDelta::minutes(4)).await;
            late = home.exchange(api, &late).await.unwrap().refresh_token;
            assert_eq!(late, others);
            pass(&world, TimeDelta::minutes(1)).await;
        }
        assert_eq!(told(&alice).await, None);

        // One that is two exchanges behind cannot be told from a thief.
        for _ in 0..2 {
            others = home.exchange(api, &others).await.unwrap().refresh_token;
        }
        let access = home.exchange(api, &others).await.unwrap();
        for token in [&late, &others, &access.refresh_token] {
            assert_eq!(home.refusal(api, token).await, ended());
        }
        assert_eq!(home.read_me(&access.access_token).await, "session_revoked");
    }
}

async fn an_answer_that_was_lost_is_given_again_after_an_hour(world: World) {
    let server = world.serve().await;
    for api in Api::ALL {
        let alice = server.person(api.name()).await;
        let phone = Device::at(&server);
        let token = first_token(&alice);
        let lost = phone.exchange(api, &token).await.unwrap();
        pass(&world, TimeDelta::hours(1)).await;
        let again = phone.exchange(api, &token).await.unwrap();
        assert_eq!(again.refresh_token, lost.refresh_token);
        assert_eq!(again.reused_elsewhere_at, None);
        // Another address of the same network, with the same program.
        let neighbour = phone.from([127, 0, 0, 99]);
        let again = neighbour.exchange(api, &token).await.unwrap();
        assert_eq!(again.reused_elsewhere_at, None);
        assert_eq!(told(&alice).await, None);
        assert!(phone.exchange(api, &again.refresh_token).await.is_ok());
    }
}

async fn a_token_from_a_stranger_elsewhere_ends_the_session(world: World) {
    let server = world.serve().await;
    for api in Api::ALL {
        for (name, is_thief_first) in [("robbed", false), ("outrun", true)] {
            let alice = server.person(&format!("{name}-{}", api.name())).await;
            let home = Device::at(&server);
            let thief = Device::at(&server).from([127, 77, 7, 7]).with("curl/8.0");
            let (first, second) = if is_thief_first {
                (&thief, &home)
            } else {
                (&home, &thief)
            };
            let token = first_token(&alice);
            let got = first.exchange(api, &token).await.unwrap();
            pass(&world, TimeDelta::seconds(61)).await;
            assert_eq!(second.refusal(api, &token).await, ended());
            assert_eq!(first.refusal(api, &got.refresh_token).await, ended());
            assert_eq!(first.read_me(&got.access_token).await, "session_revoked");
        }
    }
}

async fn from_one_of_the_two_it_is_served_and_the_person_is_told(world: World) {
    let server = world.serve().await;
    for api in Api::ALL {
        let home = Device::at(&server);
        let elsewhere = [home.from([127, 77, 7, 7]), home.with("other/2.0")];
        for (number, elsewhere) in elsewhere.iter().enumerate() {
            let alice = server.person(&format!("{}-{number}", api.name())).await;
            let token = first_token(&alice);
            let first = home.exchange(api, &token).await.unwrap();
            pass(&world, TimeDelta::seconds(61)).await;
            let second = elsewhere.exchange(api, &token).await.unwrap();
            assert_eq!(second.refresh_token, first.refresh_token);
            let shown = second.reused_elsewhere_at;
            assert!(shown.is_some());
            assert_eq!(listed(&alice).await, [shown; 2]);
            let (seq, at) = told(&alice).await.unwrap();
            assert_eq!(Some(at), shown);

            // The person is told once for each token.
            let again = elsewhere.exchange(api, &token).await.unwrap();
            assert_eq!(again.reused_elsewhere_at, shown);
            assert_eq!(told(&alice).await, Some((seq, at)));
            let next = home.exchange(api, &first.refresh_token).await.unwrap();
            pass(&world, TimeDelta::seconds(61)).await;
            let second = elsewhere.exchange(api, &first.refresh_token).await;
            assert_eq!(second.unwrap().refresh_token, next.refresh_token);
            let (later_seq, later) = told(&alice).await.unwrap();
            assert!(later_seq > seq && later > at);
        }
    }
}

async fn a_change_of_the_password_leaves_its_own_pair_only(world: World) {
    let server = world.serve().await;
    for api in Api::ALL {
        let alice = server.person(api.name()).await;
        let (home, phone) = (Device::at(&server), alice.sign_in().await);
        let token = first_token(&alice);
        let copied = home.exchange(api, &token).await.unwrap();
        let input = json!({ "currentPassword": PASSWORD, "newPassword": "battery staple" });
        let changed = home
            .change_password(api, &copied.access_token, &input)
            .await;
        assert_eq!(rows(&world, &alice).await, 1);
        assert_eq!(home.read_me(&changed.access_token).await, "");
        let next = home.exchange(api, &changed.refresh_token).await.unwrap();
        let other = first_token(&phone);
        let refused = home.refusal(api, &other).await;
        assert_eq!(refused.code, ErrorCode::SessionRevoked);

        // Neither the copied token nor its predecessor leads to the new one.
        assert_eq!(home.refusal(api, &copied.refresh_token).await, ended());
        assert_eq!(home.refusal(api, &token).await, ended());
        assert_eq!(home.refusal(api, &next.refresh_token).await, ended());
    }
}

/// The token that the person's sign-in answered.
fn first_token(person: &Person) -> Secret {
    person.signed_in().refresh_token
}

fn ended() -> Refusal {
    Refusal {
        code: ErrorCode::SessionRevoked,
        message: BECAUSE.to_owned(),
    }
}

/// Lets time pass for all tokens.
async fn pass(world: &World, time: TimeDelta) {
    let us = time.num_microseconds().unwrap();
    let sql =
        format!("UPDATE refresh_tokens SET issued_us = issued_us - {us}, used_us = used_us - {us}");
    world.run(&sql).await;
    let sql = format!("UPDATE sessions SET reused_us = reused_us - {us}");
    world.run(&sql).await;
}

/// How many tokens are kept of the session of a person's sign-in.
async fn rows(world: &World, person: &Person) -> usize {
    let session = person.signed_in().session.id;
    let sql = "SELECT hash FROM refresh_tokens WHERE session_id = $1";
    world.count_with(sql, vec![session.as_uuid().into()]).await
}

/// `reusedElsewhereAt` of the person's session, as REST and as GraphQL list it.
async fn listed(person: &Person) -> [Option<DateTime<Utc>>; 2] {
    let rest = person.list_sessions().await.unwrap();
    let graphql: Value = person
        .query("{ sessions { reusedElsewhereAt } }", json!({}))
        .await
        .unwrap();
    let graphql = graphql["sessions"][0]["reusedElsewhereAt"].clone();
    [
        rest[0].reused_elsewhere_at,
        serde_json::from_value(graphql).unwrap(),
    ]
}

/// What the person's own room tells of a reuse of their session, and with which change.
async fn told(person: &Person) -> Option<(Seq, DateTime<Utc>)> {
    let signed_in = person.signed_in();
    let item = ItemId::of_session(signed_in.session.id);
    let is_its = |event: &RoomEvent| event.item == item;
    let page = person.list_events(signed_in.user.room_id, None).await;
    let event = page.unwrap().events.into_iter().find(is_its).unwrap();
    let state: SessionState = event.body.decode().unwrap();
    Some((event.seq, state.reused_elsewhere_at?))
}
