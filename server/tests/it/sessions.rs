//! Sessions: what a refresh token is exchanged for, expiry, names, revocation. From where tokens are exchanged, and by
//! which release, is in `refresh_tokens.rs`.

use crate::support::{Instance, World, on_each_database, origin};
use chrono::TimeDelta;
use roost_schema::{
    ErrorCode, ItemId, Kind, Login, NameSession, Op, Refresh, Register, RoomEvent, RoomId, Secret,
    SessionId, SessionState, SignedIn,
};
use roost_server::app::{Actor, Api, Result};
use sea_orm::DbBackend;
use std::collections::HashMap;

on_each_database!(
    a_refresh_token_is_exchanged_once,
    an_access_token_expires_by_the_databases_clock,
    a_session_that_is_not_refreshed_ends,
    what_ended_long_ago_is_deleted_some_at_a_time,
    sessions_are_named_and_revoked_by_their_person_only,
    one_session_more_than_allowed_ends_the_oldest,
    a_revocation_and_the_signing_key_outlive_the_process,
    each_change_of_a_session_is_told_in_the_persons_own_room,
);

const PASSWORD: &str = "correct horse";

async fn a_refresh_token_is_exchanged_once(world: World) {
    let here = world.instance().await;
    let first = register(&here, "ann").await;
    here.store.clock.advance(TimeDelta::seconds(60));
    let second = refresh(&here, &first).await.unwrap();
    assert_eq!(second.user, first.user);
    assert_eq!(second.session.id, first.session.id);
    assert!(second.session.last_used_at > first.session.last_used_at);
    assert_ne!(second.refresh_token, first.refresh_token);
    let third = refresh(&here, &second).await.unwrap();
    for signed_in in [&first, &second, &third] {
        assert!(actor(&here, signed_in).is_ok());
    }

    let end = here.app.session_end(first.session.id);
    let reused = refresh(&here, &first).await;
    assert_eq!(code(reused), ErrorCode::SessionRevoked);
    assert!(end.is_cancelled());
    for signed_in in [&first, &second, &third] {
        assert_eq!(code(actor(&here, signed_in)), ErrorCode::SessionRevoked);
        assert_eq!(
            code(refresh(&here, signed_in).await),
            ErrorCode::SessionRevoked
        );
    }
    let made_up = Refresh {
        refresh_token: Secret::new("made up"),
    };
    let made_up = here.app.refresh(&origin(), made_up).await;
    assert_eq!(code(made_up), ErrorCode::Unauthenticated);
}

async fn an_access_token_expires_by_the_databases_clock(world: World) {
    let here = world.instance().await;
    let signed_in = register(&here, "ann").await;
    let lifetime = signed_in.access_expires_at - here.store.now();
    assert!(lifetime <= TimeDelta::seconds(300) && lifetime > TimeDelta::seconds(290));
    // A token's times are whole seconds, and clocks may differ by 5 s.
    here.store.clock.advance(lifetime + TimeDelta::seconds(3));
    assert!(actor(&here, &signed_in).is_ok());
    here.store.clock.advance(TimeDelta::seconds(3));
    let expired = actor(&here, &signed_in);
    assert_eq!(code(expired), ErrorCode::Unauthenticated);
    let renewed = refresh(&here, &signed_in).await.unwrap();
    assert!(actor(&here, &renewed).is_ok());
}

async fn a_session_that_is_not_refreshed_ends(world: World) {
    let here = world.instance().await;
    let idle = register(&here, "ann").await;
    here.store.clock.advance(TimeDelta::days(29));
    let used = refresh(&here, &login(&here, "ann").await).await.unwrap();
    here.app.expire_sessions().await.unwrap();
    let ann = actor(&here, &used).unwrap();
    assert_eq!(here.app.list_sessions(&ann).await.unwrap().len(), 2);

    here.store.clock.advance(TimeDelta::days(1));
    let ann = actor(&here, &refresh(&here, &used).await.unwrap());
    let ann = ann.unwrap();
    let left = here.app.list_sessions(&ann).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, used.session.id);
    let refused = refresh(&here, &idle).await;
    assert_eq!(code(refused), ErrorCode::Unauthenticated);
    let name = NameSession {
        name: "old phone".into(),
    };
    let named = here.app.name_session(&ann, idle.session.id, name).await;
    assert_eq!(code(named), ErrorCode::NotFound);

    here.app.expire_sessions().await.unwrap();
    let told = sessions_told(&here, &ann).await;
    assert_eq!(told[&item(&idle)], None);
    assert!(told[&item(&used)].is_some());
    // An ended session that was deleted gets the same answer as one that never was.
    let refused = refresh(&here, &idle).await;
    assert_eq!(code(refused), ErrorCode::SessionRevoked);
    here.store.clock.advance(TimeDelta::days(31));
    here.app.expire_sessions().await.unwrap();
    let refused = refresh(&here, &idle).await;
    assert_eq!(code(refused), ErrorCode::Unauthenticated);
}

/// The release before left a row for each exchange.
async fn what_ended_long_ago_is_deleted_some_at_a_time(world: World) {
    let here = world.instance().await;
    let ann = register(&here, "ann").await;
    let session = ann.session.id.as_uuid();
    let leave = "INSERT INTO refresh_tokens (hash, session_id, issued_us)
                 WITH RECURSIVE numbers (number) AS
                 (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 20500)
                 SELECT {hash}, $1, 0 FROM numbers";
    let hash = match world.sql.backend() {
        DbBackend::Sqlite => "CAST('t' || number AS blob)",
        _ => "('t' || number)::bytea",
    };
    let leave = leave.replace("{hash}", hash);
    world.execute(&leave, vec![session.into()]).await;
    here.app.logout(&actor(&here, &ann).unwrap()).await.unwrap();
    here.store.clock.advance(TimeDelta::days(31));

    let left = async || {
        let tokens = world.count("SELECT hash FROM refresh_tokens").await;
        (tokens, world.count("SELECT id FROM sessions").await)
    };
    assert_eq!(left().await, (20_501, 1));
    here.app.expire_sessions().await.unwrap();
    assert_eq!(left().await, (501, 1), "20 times 1,000 are deleted at once");
    here.app.expire_sessions().await.unwrap();
    assert_eq!(left().await, (0, 0));
}

async fn sessions_are_named_and_revoked_by_their_person_only(world: World) {
    let here = world.instance().await;
    let first = register(&here, "ann").await;
    let bob = actor(&here, &register(&here, "bob").await).unwrap();
    let ann = actor(&here, &first).unwrap();
    here.store.clock.advance(TimeDelta::seconds(1));
    let phone = login(&here, "ann").await;
    let laptop = login(&here, "ann").await;

    let name = |name: &str| NameSession { name: name.into() };
    let named = here
        .app
        .name_session(&ann, phone.session.id, name(" Phone "));
    let named = named.await.unwrap();
    assert_eq!((named.name.as_str(), named.current), ("Phone", false));
    let empty = here.app.name_session(&ann, phone.session.id, name(" "));
    assert_eq!(code(empty.await), ErrorCode::Invalid);
    let foreign = here.app.name_session(&bob, phone.session.id, name("Mine"));
    assert_eq!(code(foreign.await), ErrorCode::NotFound);
    let foreign = here.app.revoke_session(&bob, phone.session.id).await;
    assert_eq!(code(foreign), ErrorCode::NotFound);

    let listed = here.app.list_sessions(&ann).await.unwrap();
    assert_eq!(listed.len(), 3);
    assert!(listed[..2].iter().any(|session| session.name == "Phone"));
    let current: Vec<bool> = listed.iter().map(|listed| listed.current).collect();
    assert_eq!(current, [false, false, true]);

    let end = here.app.session_end(phone.session.id);
    here.app
        .revoke_session(&ann, phone.session.id)
        .await
        .unwrap();
    assert!(end.is_cancelled());
    assert_eq!(code(actor(&here, &phone)), ErrorCode::SessionRevoked);
    // A retry after a lost answer is no error.
    here.app
        .revoke_session(&ann, phone.session.id)
        .await
        .unwrap();

    assert_eq!(here.app.revoke_other_sessions(&ann).await.unwrap(), 1);
    assert_eq!(here.app.revoke_other_sessions(&ann).await.unwrap(), 0);
    assert_eq!(code(actor(&here, &laptop)), ErrorCode::SessionRevoked);
    assert!(actor(&here, &first).is_ok());
    here.app.logout(&ann).await.unwrap();
    assert_eq!(code(actor(&here, &first)), ErrorCode::SessionRevoked);
    assert_eq!(
        code(refresh(&here, &first).await),
        ErrorCode::SessionRevoked
    );
}

async fn one_session_more_than_allowed_ends_the_oldest(world: World) {
    let here = world.instance().await;
    let oldest = register(&here, "ann").await;
    for number in 1..100 {
        world
            .execute(
                "INSERT INTO sessions (id, user_id, name, created_us, last_used_us)
                 VALUES ($1, $2, 'filler', $3, $3)",
                vec![
                    SessionId::generate().as_uuid().into(),
                    oldest.user.id.as_uuid().into(),
                    (here.store.now().timestamp_micros() + number).into(),
                ],
            )
            .await;
    }
    let end = here.app.session_end(oldest.session.id);
    assert!(actor(&here, &oldest).is_ok());
    let newest = login(&here, "ann").await;
    assert!(end.is_cancelled());
    assert_eq!(code(actor(&here, &oldest)), ErrorCode::SessionRevoked);
    let ann = actor(&here, &newest).unwrap();
    assert_eq!(here.app.list_sessions(&ann).await.unwrap().len(), 100);
}

async fn a_revocation_and_the_signing_key_outlive_the_process(world: World) {
    let before = world.instance().await;
    let (kept, ended) = (register(&before, "ann").await, login(&before, "ann").await);
    let ann = actor(&before, &kept).unwrap();
    before
        .app
        .revoke_session(&ann, ended.session.id)
        .await
        .unwrap();
    drop(before);

    let after = world.instance().await;
    after.app.load_revocations().await.unwrap();
    assert!(actor(&after, &kept).is_ok());
    assert_eq!(code(actor(&after, &ended)), ErrorCode::SessionRevoked);
    assert!(after.app.session_end(ended.session.id).is_cancelled());
}

async fn each_change_of_a_session_is_told_in_the_persons_own_room(world: World) {
    let here = world.instance().await;
    let first = register(&here, "ann").await;
    let ann = actor(&here, &first).unwrap();
    let phone = login(&here, "ann").await;
    let told = sessions_told(&here, &ann).await;
    assert_eq!(told[&item(&phone)].as_deref(), Some("tests/1.0"));

    let name = NameSession {
        name: "Phone".into(),
    };
    let named = here.app.name_session(&ann, phone.session.id, name).await;
    named.unwrap();
    let told = sessions_told(&here, &ann).await;
    assert_eq!(told[&item(&phone)].as_deref(), Some("Phone"));

    let seen = events(&here, &ann).await.len();
    refresh(&here, &phone).await.unwrap();
    let unchanged = events(&here, &ann).await.len();
    assert_eq!(unchanged, seen, "a refresh tells nothing");
    here.app
        .revoke_session(&ann, phone.session.id)
        .await
        .unwrap();
    let told = sessions_told(&here, &ann).await;
    assert_eq!(told[&item(&phone)], None);
    assert!(told[&item(&first)].is_some());
}

/// The sessions in the events of the person's own room, with their names; ended ones have none.
async fn sessions_told(here: &Instance, actor: &Actor) -> HashMap<ItemId, Option<String>> {
    let events = events(here, actor).await.into_iter();
    let name = |event: &RoomEvent| match event.op {
        Op::Put => Some(event.body.decode::<SessionState>().unwrap().name),
        Op::Delete | Op::Other(_) => None,
    };
    events
        .filter(|event| event.kind == Kind::Session)
        .map(|event| (event.item, name(&event)))
        .collect()
}

fn item(signed_in: &SignedIn) -> ItemId {
    ItemId::of_session(signed_in.session.id)
}

async fn events(here: &Instance, actor: &Actor) -> Vec<RoomEvent> {
    let room = RoomId::of_user(actor.user_id);
    let page = here.app.list_events(actor, room, None).await.unwrap();
    assert!(page.live, "one page holds them all");
    page.events
}

async fn register(here: &Instance, name: &str) -> SignedIn {
    let input = Register {
        email: format!("{name}@example.com"),
        password: Secret::new(PASSWORD),
        name: name.into(),
        op_id: None,
    };
    here.app.register(&origin(), input).await.unwrap()
}

async fn login(here: &Instance, name: &str) -> SignedIn {
    let input = Login {
        email: format!("{name}@example.com"),
        password: Secret::new(PASSWORD),
    };
    here.app.login(&origin(), input).await.unwrap()
}

async fn refresh(here: &Instance, signed_in: &SignedIn) -> Result<SignedIn> {
    let input = Refresh {
        refresh_token: signed_in.refresh_token.clone(),
    };
    here.app.refresh(&origin(), input).await
}

fn actor(here: &Instance, signed_in: &SignedIn) -> Result<Actor> {
    here.app
        .authenticate(signed_in.access_token.expose(), Api::Rest)
}

fn code<T: std::fmt::Debug>(refused: Result<T>) -> ErrorCode {
    refused.unwrap_err().code()
}
