//! Accounts: registration, signing in and out, the password, and finding people.

use crate::support::{Instance, World, eventually, on_each_database, origin};
use futures::future::join_all;
use roost_schema::{
    ChangePassword, ErrorCode, Login, MemberState, Op, OpId, Refresh, Register, Role, RoomState,
    RoomType, Secret, SessionState, SignedIn,
};
use roost_server::{
    app::{Api, App, Result},
    store::{FirstToken, NewSession, Opened},
};
use sea_orm::{ConnectionTrait, Statement};
use tokio_util::sync::CancellationToken;

on_each_database!(
    registering_signs_in_and_makes_a_room_of_ones_own,
    a_repeated_registration_signs_in_anew,
    rivals_who_register_one_address_make_one_account,
    what_is_kept_of_a_registration_holds_no_secret,
    only_the_right_password_signs_in,
    values_that_break_a_rule_are_refused,
    changing_the_password_ends_the_other_sessions,
    a_password_that_changed_meanwhile_fences_a_login,
    people_are_found_by_address_or_by_the_beginning_of_their_name,
    a_journal_that_fails_does_not_fail_a_login,
    sessions_that_change_at_once_take_turns,
);

const PASSWORD: &str = "correct horse";

/// After a restart of `PostgreSQL` every pooled connection is dead, which the pool notices only when it uses one.
#[tokio::test]
async fn dead_connections_are_not_the_persons_problem() {
    let world = World::on_postgres().await;
    let here = world.instance().await;
    let ann = register(&here, "ann@example.com", "Ann").await;
    let logins = (0..6).map(|_| login(&here.app, "ann@example.com", PASSWORD));
    assert!(join_all(logins).await.iter().all(Result::is_ok));

    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    world.execute(end, vec![]).await;
    let again = login(&here.app, "ann@example.com", PASSWORD).await.unwrap();
    assert_eq!(again.user, ann.user);
    world.execute(end, vec![]).await;
    let actor = here
        .app
        .authenticate(again.access_token.expose(), Api::Rest);
    let me = here.app.read_me(&actor.unwrap()).await.unwrap();
    assert_eq!(me, ann.user);
}

/// All changes of a person's sessions at once: they must neither deadlock nor lose a change.
async fn sessions_that_change_at_once_take_turns(world: World) {
    let here = world.instance().await;
    let ann = register(&here, "ann@example.com", "Ann").await;
    let actor = here.app.authenticate(ann.access_token.expose(), Api::Rest);
    let actor = actor.unwrap();
    let logins = join_all((0..8).map(|_| login(&here.app, "ann@example.com", PASSWORD)));
    let refreshes = join_all((0..4).map(|_| {
        let refresh_token = ann.refresh_token.clone();
        let app = here.app.clone();
        async move { app.refresh(&origin(), Refresh { refresh_token }).await }
    }));
    let revoked = join_all((0..4).map(|_| here.app.revoke_other_sessions(&actor)));
    let (logins, refreshes, revoked) = tokio::join!(logins, refreshes, revoked);
    for refreshed in refreshes {
        assert_eq!(refreshed.unwrap().session.id, ann.session.id);
    }
    let ended: u64 = revoked.into_iter().map(Result::unwrap).sum();
    let alive = join_all(logins.into_iter().map(async |signed_in| {
        let token = signed_in.unwrap().access_token;
        here.app.authenticate(token.expose(), Api::Rest).is_ok()
    }));
    let alive = alive.await.into_iter().filter(|alive| *alive).count();
    assert_eq!(alive as u64 + ended, 8);
    let listed = here.app.list_sessions(&actor).await.unwrap();
    assert_eq!(listed.len(), 1 + alive);
}

async fn registering_signs_in_and_makes_a_room_of_ones_own(world: World) {
    let here = world.instance().await;
    let ann = register(&here, "Ann@Example.com", "Ann").await;
    assert_eq!(ann.user.email, "ann@example.com");
    assert_eq!(ann.user.name, "Ann");
    assert_eq!(ann.session.name, "tests/1.0");
    assert!(ann.session.current);

    let actor = here.app.authenticate(ann.access_token.expose(), Api::Rest);
    let actor = actor.unwrap();
    assert_eq!(
        (actor.user_id, actor.session_id),
        (ann.user.id, ann.session.id)
    );
    assert_eq!(actor.expires_at, ann.access_expires_at);
    assert_eq!(here.app.read_me(&actor).await.unwrap(), ann.user);

    let told = here.app.list_events(&actor, ann.user.room_id, None).await;
    let told = told.unwrap().events;
    let room: RoomState = told[0].body.decode().unwrap();
    assert_eq!(room.room_type, RoomType::Personal);
    let member: MemberState = told[1].body.decode().unwrap();
    assert_eq!((member.user_id, member.role), (ann.user.id, Role::Viewer));
    let session: SessionState = told[2].body.decode().unwrap();
    assert_eq!(session.session_id, ann.session.id);
    assert_eq!(session.created_at, ann.session.created_at);
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|event| event.op == Op::Put));

    let taken = here
        .app
        .register(&origin(), asks("ann@example.COM", "Impostor"))
        .await;
    assert_eq!(code(taken), ErrorCode::Conflict);
}

async fn a_repeated_registration_signs_in_anew(world: World) {
    let here = world.instance().await;
    let again = || Register {
        op_id: Some(op_id("r-1")),
        ..asks("ann@example.com", "Ann")
    };
    let first = here.app.register(&origin(), again()).await.unwrap();
    let second = here.app.register(&origin(), again()).await.unwrap();
    assert_eq!(second.user, first.user);
    assert_ne!(second.session.id, first.session.id);
    for signed_in in [&first, &second] {
        let token = signed_in.access_token.expose();
        assert!(here.app.authenticate(token, Api::Rest).is_ok());
    }

    let guess = Register {
        password: Secret::new("wrong horse"),
        ..again()
    };
    let guess = here.app.register(&origin(), guess).await;
    assert_eq!(code(guess), ErrorCode::WrongCredentials);
    let other = Register {
        name: "Anna".into(),
        ..again()
    };
    let other = here.app.register(&origin(), other).await;
    assert_eq!(code(other), ErrorCode::OpIdReused);
    let without = here
        .app
        .register(&origin(), asks("ann@example.com", "Ann"))
        .await;
    assert_eq!(code(without), ErrorCode::Conflict);
    let elsewhere = Register {
        email: "bob@example.com".into(),
        ..again()
    };
    let elsewhere = here.app.register(&origin(), elsewhere).await.unwrap();
    assert_ne!(elsewhere.user.id, first.user.id);
}

async fn rivals_who_register_one_address_make_one_account(world: World) {
    let here = world.instance().await;
    let ask = |email: &str, op: &str| {
        let input = Register {
            op_id: Some(op_id(op)),
            ..asks(email, "Ann")
        };
        let app = here.app.clone();
        async move { app.register(&origin(), input).await }
    };
    let (one, two, three) = tokio::join!(
        ask("ann@example.com", "same"),
        ask("ann@example.com", "same"),
        ask("ann@example.com", "same"),
    );
    let users = [one, two, three].map(|signed_in| signed_in.unwrap().user);
    assert!(users.iter().all(|user| *user == users[0]));

    let rivals = tokio::join!(ask("bob@example.com", "a"), ask("bob@example.com", "b"));
    let (won, lost) = match rivals {
        (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
        both => panic!("one of two makes the account: {both:?}"),
    };
    assert_eq!(lost.code(), ErrorCode::Conflict);
    assert_eq!(won.user.email, "bob@example.com");
}

async fn what_is_kept_of_a_registration_holds_no_secret(world: World) {
    let here = world.instance().await;
    let input = Register {
        op_id: Some(op_id("r-1")),
        ..asks("ann@example.com", "Ann")
    };
    let signed_in = here.app.register(&origin(), input).await.unwrap();
    let kept = Statement::from_string(world.sql.backend(), "SELECT result FROM operations");
    let kept = world.sql.read.query_one_raw(kept).await.unwrap().unwrap();
    let result: String = kept.try_get("", "result").unwrap();
    let expected = serde_json::json!({ "userId": signed_in.user.id });
    assert_eq!(result, expected.to_string());
    // If the request hash covered the password, a wrong one would count as another request.
    let guess = Register {
        password: Secret::new("wrong horse"),
        op_id: Some(op_id("r-1")),
        ..asks("ann@example.com", "Ann")
    };
    let guess = here.app.register(&origin(), guess).await;
    assert_eq!(code(guess), ErrorCode::WrongCredentials);

    let shown = format!("{signed_in:?}");
    for secret in [&signed_in.access_token, &signed_in.refresh_token] {
        assert!(!shown.contains(secret.expose()), "{shown}");
    }
}

async fn only_the_right_password_signs_in(world: World) {
    let here = world.instance().await;
    let ann = register(&here, "ann@example.com", "Ann").await;
    let again = login(&here.app, " ANN@example.com", PASSWORD).await;
    assert_eq!(again.unwrap().user, ann.user);
    let too_long = "x".repeat(129);
    for (email, password) in [
        ("ann@example.com", "Correct horse"),
        ("ann@example.com", ""),
        ("ann@example.com", too_long.as_str()),
        ("bob@example.com", PASSWORD),
        ("not an address", PASSWORD),
        ("nul\0@example.com", PASSWORD),
    ] {
        let refused = login(&here.app, email, password).await;
        assert_eq!(code(refused), ErrorCode::WrongCredentials, "{email:?}");
    }
}

async fn values_that_break_a_rule_are_refused(world: World) {
    let here = world.instance().await;
    let (short, long) = ("1234567".to_owned(), "x".repeat(129));
    for (email, password, name, sentence) in [
        ("ann", PASSWORD, "Ann", "email is not an e-mail address"),
        ("a@b\0", PASSWORD, "Ann", "email is not an e-mail address"),
        (
            "ann@example.com",
            &short,
            "Ann",
            "password is shorter than 8 characters",
        ),
        (
            "ann@example.com",
            &long,
            "Ann",
            "password is longer than 128 characters",
        ),
        ("ann@example.com", PASSWORD, " ", "name is empty"),
        (
            "ann@example.com",
            PASSWORD,
            "A\0nn",
            "name contains a control character",
        ),
    ] {
        let input = Register {
            password: Secret::new(password),
            ..asks(email, name)
        };
        let refused = here.app.register(&origin(), input).await.unwrap_err();
        let failure = refused.report();
        assert_eq!(failure.code, ErrorCode::Invalid);
        assert_eq!(failure.message, sentence);
    }
    let refused = login(&here.app, "ann@example.com", PASSWORD).await;
    assert_eq!(code(refused), ErrorCode::WrongCredentials);
}

async fn changing_the_password_ends_the_other_sessions(world: World) {
    let here = world.instance().await;
    let ann = register(&here, "ann@example.com", "Ann").await;
    let other = login(&here.app, "ann@example.com", PASSWORD).await.unwrap();
    let actor = here.app.authenticate(ann.access_token.expose(), Api::Rest);
    let (actor, from) = (actor.unwrap(), origin());
    let change = |current: &str, new: &str| ChangePassword {
        current_password: Secret::new(current),
        new_password: Secret::new(new),
    };

    let wrong = change("wrong horse", "battery staple");
    let wrong = here.app.change_password(&actor, &from, wrong).await;
    assert_eq!(code(wrong), ErrorCode::WrongCredentials);
    let short = here
        .app
        .change_password(&actor, &from, change(PASSWORD, "short"));
    assert_eq!(code(short.await), ErrorCode::Invalid);
    let ended = here.app.session_end(other.session.id);
    assert!(!ended.is_cancelled());

    let right = change(PASSWORD, "battery staple");
    here.app
        .change_password(&actor, &from, right)
        .await
        .unwrap();
    assert!(ended.is_cancelled());
    let refused = here
        .app
        .authenticate(other.access_token.expose(), Api::Rest);
    assert_eq!(code(refused), ErrorCode::SessionRevoked);
    let sessions = here.app.list_sessions(&actor).await.unwrap();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].id, ann.session.id);
    let old = login(&here.app, "ann@example.com", PASSWORD).await;
    assert_eq!(code(old), ErrorCode::WrongCredentials);
    assert!(
        login(&here.app, "ann@example.com", "battery staple")
            .await
            .is_ok()
    );
}

async fn a_password_that_changed_meanwhile_fences_a_login(world: World) {
    let here = world.instance().await;
    let ann = register(&here, "ann@example.com", "Ann").await;
    let verified = here.store.users.find(ann.user.id).await.unwrap().unwrap();
    let actor = here.app.authenticate(ann.access_token.expose(), Api::Rest);
    let change = ChangePassword {
        current_password: Secret::new(PASSWORD),
        new_password: Secret::new("battery staple"),
    };
    let changed = here
        .app
        .change_password(&actor.unwrap(), &origin(), change)
        .await;
    changed.unwrap();
    let id = roost_schema::SessionId::generate();
    let late = NewSession {
        id,
        user: ann.user.id,
        name: "late".into(),
        token: FirstToken::generate(id),
        at: here.store.now(),
    };
    let opened = here.store.sessions.open(&late, &verified.password_hash);
    assert!(matches!(opened.await.unwrap(), Opened::PasswordChanged));
    let open = here.store.sessions.list(ann.user.id).await.unwrap();
    assert_eq!(open.len(), 1);
}

async fn people_are_found_by_address_or_by_the_beginning_of_their_name(world: World) {
    let here = world.instance().await;
    let ann = register(&here, "ann@example.com", "Ann").await;
    let actor = here.app.authenticate(ann.access_token.expose(), Api::Rest);
    let actor = actor.unwrap();
    for name in ["Émile", "émilie", "50%_off", "50 cents", "back\\slash"] {
        world.person(name).await;
    }
    let found = async |query: &str| {
        let found = here.app.search_users(&actor, query).await.unwrap();
        found.into_iter().map(|user| user.name).collect::<Vec<_>>()
    };
    assert_eq!(found(" ANN@Example.com ").await, ["Ann"]);
    assert_eq!(found("an").await, ["Ann"]);
    assert_eq!(found("nn").await, Vec::<String>::new());
    assert_eq!(found("ann@example.co").await, Vec::<String>::new());
    assert_eq!(found("50%").await, ["50%_off"]);
    assert_eq!(found("50%_").await, ["50%_off"]);
    assert_eq!(found("50").await, ["50 cents", "50%_off"]);
    assert_eq!(found("__").await, Vec::<String>::new());
    assert_eq!(found("back\\").await, ["back\\slash"]);
    for query in ["", " a ", "a\0b", &"x".repeat(255)] {
        let refused = here.app.search_users(&actor, query).await;
        assert_eq!(code(refused), ErrorCode::Invalid, "{query:?}");
    }

    for number in 0..21 {
        world.person(&format!("twin {number:02}")).await;
    }
    let twins = here.app.search_users(&actor, "twin").await.unwrap();
    assert_eq!(twins.len(), 20);
    assert_eq!(twins[19].name, "twin 19");
    let stranger = roost_schema::UserId::generate();
    let ids = [twins[3].id, stranger, ann.user.id];
    let mut read = here.app.read_users(&actor, &ids).await.unwrap();
    read.sort_by(|one, other| one.name.cmp(&other.name));
    let names: Vec<&str> = read.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["Ann", "twin 03"]);
    assert!(here.app.read_users(&actor, &[]).await.unwrap().is_empty());
}

async fn a_journal_that_fails_does_not_fail_a_login(world: World) {
    let here = world.instance().await;
    let ann = register(&here, "ann@example.com", "Ann").await;
    let actor = here.app.authenticate(ann.access_token.expose(), Api::Rest);
    let actor = actor.unwrap();
    let rename = "ALTER TABLE journal RENAME TO journal_away";
    world.execute(rename, vec![]).await;
    let second = login(&here.app, "ann@example.com", PASSWORD).await.unwrap();
    assert!(
        here.app
            .authenticate(second.access_token.expose(), Api::Rest)
            .is_ok()
    );
    let room = ann.user.room_id;
    assert!(!here.store.outbox.is_empty(room).await.unwrap());

    let back = "ALTER TABLE journal_away RENAME TO journal";
    world.execute(back, vec![]).await;
    let stop = CancellationToken::new();
    let relay = {
        let (app, stop) = (here.app.clone(), stop.clone());
        async move { app.run_relay(stop).await }
    };
    let told = async {
        eventually(async || here.store.outbox.is_empty(room).await.unwrap()).await;
        stop.cancel();
    };
    tokio::join!(relay, told);
    let told = here.app.list_events(&actor, room, None).await.unwrap();
    let last: SessionState = told.events.last().unwrap().body.decode().unwrap();
    assert_eq!(last.session_id, second.session.id);
}

async fn register(here: &Instance, email: &str, name: &str) -> SignedIn {
    let signed_in = here.app.register(&origin(), asks(email, name)).await;
    signed_in.unwrap()
}

fn asks(email: &str, name: &str) -> Register {
    Register {
        email: email.into(),
        password: Secret::new(PASSWORD),
        name: name.into(),
        op_id: None,
    }
}

async fn login(app: &App, email: &str, password: &str) -> Result<SignedIn> {
    let input = Login {
        email: email.into(),
        password: Secret::new(password),
    };
    app.login(&origin(), input).await
}

fn op_id(text: &str) -> OpId {
    text.parse().unwrap()
}

fn code<T: std::fmt::Debug>(refused: Result<T>) -> ErrorCode {
    refused.unwrap_err().code()
}
