//! Password hashing is expensive: clients that present many passwords are refused, by any route and from any number of
//! addresses, and other people still sign in.

use crate::support::{PASSWORD, Person, Server, World, in_time};
use futures::{StreamExt, stream};
use roost_client::{Client, Endpoint, Error};
use roost_schema::{ChangePassword, ErrorCode, Login, OpId, Register, Secret};
use serde_json::{Value, json};
use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};
use tokio::{sync::Mutex, task::JoinSet, time::sleep};
use uuid::Uuid;

/// The default limits.
const LIMITS: [(&str, &str); 1] = [("address_sign_ins_per_second", "20")];
/// Other people, each with their own address, and how often each signs in.
const OTHERS: u8 = 10;
const SIGN_INS_EACH: usize = 10;
/// How many sign-ins of a hundred must succeed.
const SUCCEED_MIN: usize = 95;
/// Five times the bound that `cargo xtask prove sign-ins` measures, because the host also runs other tests.
const SIGN_IN_MAX: Duration = Duration::from_secs(5);
/// How many of the other people sign in at a time.
const OTHERS_AT_ONCE: usize = 3;
/// How many requests all attacking addresses have in flight together: more than the queue has places.
const ATTACKS_AT_ONCE: usize = 40;
/// How soon a refused attacker tries again: far sooner than the answer demands.
const PACE: Duration = Duration::from_millis(200);
/// The tries that one address has for one account, and those that come back while the test runs.
const GUESSES: std::ops::RangeInclusive<usize> = 20..=24;
const TRIES: usize = 40;

fn at(server: &Server, network: u8, host: u8) -> Endpoint {
    let address = Ipv4Addr::new(127, 9, network, host);
    server.endpoint.from_address(address.into()).unwrap()
}

fn fresh_email() -> String {
    format!("{}@example.org", Uuid::now_v7().simple())
}

#[derive(Clone, Copy, Debug)]
enum Attack {
    /// One account presents wrong passwords to change its own.
    Change,
    Register,
    SignIn,
}

/// Presents passwords without end.
async fn attack(attack: Attack, account: Option<Client>, from: Endpoint) {
    loop {
        let refused = match (attack, &account) {
            (Attack::Change, Some(account)) => {
                let input = change("wrong password");
                account.at(&from).change_password(&input).await.err()
            }
            (Attack::Register, _) => from.register(&registration(None)).await.err(),
            _ => from.login(&guess(&fresh_email())).await.err(),
        };
        if refused.is_some() {
            sleep(PACE).await;
        }
    }
}

fn change(current: &str) -> ChangePassword {
    ChangePassword {
        current_password: Secret::new(current),
        new_password: Secret::new("battery staple"),
    }
}

fn guess(email: &str) -> Login {
    Login {
        email: email.to_owned(),
        password: Secret::new("wrong password"),
    }
}

fn registration(op_id: Option<OpId>) -> Register {
    Register {
        email: fresh_email(),
        password: Secret::new(PASSWORD),
        name: "Somebody".into(),
        op_id,
    }
}

/// Starts an attack from a number of addresses, and lets other people sign in meanwhile.
async fn others_sign_in_during(server: &Server, kind: Attack, addresses: u8) {
    // One attack at a time: each needs the host for itself.
    static TURN: Mutex<()> = Mutex::const_new(());
    let _turn = TURN.lock().await;
    let mut others = Vec::new();
    for host in 1..=OTHERS {
        let input = registration(None);
        let from = at(server, 2, host);
        from.register(&input).await.unwrap();
        others.push((from, input.email));
    }
    let account = match kind {
        Attack::Change => Some(server.person(&format!("mallory-{kind:?}")).await),
        _ => None,
    };
    let mut attackers = JoinSet::new();
    for host in 1..=addresses {
        for _ in 0..ATTACKS_AT_ONCE / usize::from(addresses) {
            let account = account.as_ref().map(|mallory| mallory.client().clone());
            attackers.spawn(attack(kind, account, at(server, 1, host)));
        }
    }
    let rounds = (0..SIGN_INS_EACH).flat_map(|_| &others);
    let sign_ins = stream::iter(rounds).map(async |(from, email)| {
        let input = Login {
            email: email.clone(),
            password: Secret::new(PASSWORD),
        };
        let begun = Instant::now();
        let signed_in = from.login(&input).await;
        signed_in.map(|_| begun.elapsed()).map_err(|it| it.code())
    });
    let all: Vec<_> = sign_ins.buffer_unordered(OTHERS_AT_ONCE).collect().await;
    attackers.abort_all();
    let within = |most| {
        all.iter()
            .filter(|it| it.as_ref().is_ok_and(|it| *it <= most))
            .count()
    };
    let slowest = all.iter().filter_map(|it| it.as_ref().ok()).max();
    println!(
        "{kind:?} from {addresses} addresses: {} of {} sign in within 1 s, the slowest in {slowest:?}",
        within(Duration::from_secs(1)),
        all.len()
    );
    let succeed = within(SIGN_IN_MAX);
    assert!(
        succeed * 100 >= SUCCEED_MIN * all.len(),
        "{kind:?} from {addresses}: {all:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_account_that_shows_wrong_passwords_keeps_nobody_out() {
    let world = World::on_sqlite().await;
    let server = world.serve_with(&LIMITS).await;
    others_sign_in_during(&server, Attack::Change, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_register_or_sign_in_keep_nobody_out() {
    let world = World::on_sqlite().await;
    for addresses in [5, 20] {
        for kind in [Attack::Register, Attack::SignIn] {
            let server = world.serve_with(&LIMITS).await;
            others_sign_in_during(&server, kind, addresses).await;
            server.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_kept_out_where_the_limits_are_shared() {
    let world = World::on_postgres_and_redis().await;
    let server = world.serve_with(&LIMITS).await;
    for kind in [Attack::Change, Attack::SignIn] {
        others_sign_in_during(&server, kind, 20).await;
    }
}

async fn ask_graphql(
    endpoint: &Endpoint,
    token: Option<Secret>,
    query: &str,
    input: Value,
) -> ErrorCode {
    let body = json!({ "query": query, "variables": { "input": input } });
    let mut request = endpoint
        .request(reqwest::Method::POST, "/graphql")
        .json(&body);
    if let Some(token) = token {
        request = request.bearer_auth(token.expose());
    }
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    let code = answer["errors"][0]["extensions"]["code"].clone();
    serde_json::from_value(code).unwrap_or_else(|_| panic!("{answer}"))
}

fn code_of<T>(answer: Result<T, Error>) -> ErrorCode {
    answer.err().unwrap().code().unwrap()
}

/// Asserts that the allowed number of passwords was judged, and that the others were refused.
#[track_caller]
fn assert_bounded(codes: &[ErrorCode]) {
    let judged = codes
        .iter()
        .filter(|it| **it == ErrorCode::WrongCredentials)
        .count();
    assert!(GUESSES.contains(&judged), "{judged}: {codes:?}");
    let refused = codes
        .iter()
        .filter(|it| **it == ErrorCode::RateLimited)
        .count();
    assert_eq!(judged + refused, codes.len(), "{codes:?}");
}

const CHANGE: &str =
    "mutation($input: ChangePassword!) { changePassword(input: $input) { accessToken } }";
const REGISTER: &str = "mutation($input: Register!) { register(input: $input) { user { id } } }";

async fn guesses_are_bounded(world: World) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let email = alice.me().await.unwrap().email;
    changes_are_bounded(&server, &alice, &email).await;

    // A registration with a known operation id judges the password.
    let op_id: OpId = "registered-once".parse().unwrap();
    let mut input = registration(Some(op_id));
    server.endpoint.register(&input).await.unwrap();
    input.password = Secret::new("wrong password");
    let mut codes = Vec::new();
    for _ in 0..TRIES / 2 {
        codes.push(code_of(server.endpoint.register(&input).await));
        let asked = json!({ "email": input.email, "password": "wrong password", "name": input.name, "opId": input.op_id });
        codes.push(in_time(ask_graphql(&server.endpoint, None, REGISTER, asked)).await);
    }
    // The right password counted, too.
    codes.push(ErrorCode::WrongCredentials);
    assert_bounded(&codes);
}

async fn changes_are_bounded(server: &Server, alice: &Person, email: &str) {
    let mut codes = Vec::new();
    for _ in 0..TRIES / 2 {
        codes.push(code_of(
            alice.change_password(&change("wrong password")).await,
        ));
        let token = alice.access_token().await.unwrap();
        let asked = json!({ "currentPassword": "wrong password", "newPassword": "battery staple" });
        codes.push(in_time(ask_graphql(&server.endpoint, Some(token), CHANGE, asked)).await);
    }
    // The registration counted, too, because it presents the account's password.
    codes.push(ErrorCode::WrongCredentials);
    assert_bounded(&codes);
    // Signing in shares the budget, and so does the same token from another address.
    assert_eq!(
        code_of(server.endpoint.login(&guess(email)).await),
        ErrorCode::RateLimited
    );
    let elsewhere = alice.client().at(&at(server, 3, 1));
    let refused = elsewhere.change_password(&change("wrong password")).await;
    assert_eq!(code_of(refused), ErrorCode::RateLimited);
}

#[tokio::test]
async fn passwords_are_bounded_by_every_route() {
    guesses_are_bounded(World::on_sqlite().await).await;
}

#[tokio::test]
async fn passwords_are_bounded_by_every_route_where_limits_are_shared() {
    guesses_are_bounded(World::on_postgres_and_redis().await).await;
}
