//! Limits: the same answers with Redis and without, one budget over all instances with Redis, and no waiting for a
//! Redis that is gone.

use crate::support::{DEADLINE, Server, TcpProxy, World, eventually, redis_url};
use roost_schema::{ErrorCode, InstanceId, Login, RoomId, Secret};
use roost_server::live::{Limiter, Link, Rate, Redis, RedisBackplane};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// A rate so slow that the whole test fits between two requests.
const SLOW: Rate = Rate {
    gap: Duration::from_mins(1),
    burst: 20,
    is_strict: true,
};

/// An instance's connection to Redis. Its canary shows that it is up.
struct Way {
    redis: Redis,
    _stop: DropGuard,
}

impl Way {
    async fn open(url: &str, prefix: &str) -> Self {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let redis = Redis::open(url, prefix).unwrap();
        RedisBackplane::start(redis.clone(), InstanceId::generate(), &tasks, &cancel);
        let way = Self {
            redis,
            _stop: cancel.drop_guard(),
        };
        way.until(Link::is_up).await;
        way
    }

    async fn until(&self, is_so: impl Fn(Link) -> bool) {
        let mut link = self.redis.link();
        let wanted = timeout(DEADLINE, link.wait_for(|link| is_so(*link))).await;
        wanted.expect("the link changes in time").unwrap();
    }

    fn limiter(&self, rate: Rate) -> Limiter<&'static str> {
        Limiter::new("test", rate, Some(&self.redis))
    }
}

fn fresh() -> String {
    format!("test-{}", RoomId::generate())
}

async fn allowed(limiter: &Limiter<&'static str>, key: &'static str, times: u32) -> u32 {
    let mut allowed = 0;
    for _ in 0..times {
        allowed += u32::from(limiter.check(&key).await.is_ok());
    }
    allowed
}

/// The longest time that a client may be asked to wait here.
const GAP: Duration = Duration::from_secs(3);

/// Takes any limiter through the same requests.
async fn has_its_limit(limiter: Limiter<&'static str>) {
    assert_eq!(allowed(&limiter, "alice", SLOW.burst).await, SLOW.burst);
    let wait = limiter.check(&"alice").await.unwrap_err();
    assert!((Duration::from_millis(1)..=GAP).contains(&wait), "{wait:?}");
    let again = limiter.check(&"alice").await.unwrap_err();
    assert!(again <= wait, "a refusal costs nothing: {again:?} {wait:?}");
    limiter.check(&"bob").await.expect("a key of its own");
    // A client that comes back exactly when asked to is admitted once.
    sleep(again).await;
    limiter.check(&"alice").await.expect("as long as told");
    limiter.check(&"alice").await.unwrap_err();
}

#[tokio::test]
async fn the_same_visits_get_the_same_answers_with_redis_and_without() {
    let strict = Rate { gap: GAP, ..SLOW };
    let loose = Rate {
        is_strict: false,
        ..strict
    };
    let one = Way::open(&redis_url(), &fresh()).await;
    let two = Way::open(&redis_url(), &fresh()).await;
    tokio::join!(
        has_its_limit(one.limiter(strict)),
        has_its_limit(two.limiter(loose)),
        has_its_limit(Limiter::new("test", strict, None)),
    );
}

#[tokio::test]
async fn instances_share_one_budget() {
    let prefix = fresh();
    let one = Way::open(&redis_url(), &prefix).await.limiter(SLOW);
    let two = Way::open(&redis_url(), &prefix).await.limiter(SLOW);
    let mut sum = 0;
    for _ in 0..SLOW.burst {
        sum += allowed(&one, "alice", 1).await + allowed(&two, "alice", 1).await;
    }
    assert_eq!(sum, SLOW.burst);
    let other_system = Way::open(&redis_url(), &fresh()).await.limiter(SLOW);
    assert_eq!(allowed(&other_system, "alice", 1).await, 1);
}

#[tokio::test]
async fn what_is_let_through_unasked_is_counted_all_the_same() {
    let loose = Rate {
        is_strict: false,
        ..SLOW
    };
    let prefix = fresh();
    let one = Way::open(&redis_url(), &prefix).await.limiter(loose);
    let two = Way::open(&redis_url(), &prefix).await.limiter(loose);
    let unasked = loose.burst / 10;
    assert_eq!(allowed(&one, "alice", unasked).await, unasked);
    one.settle().await;
    let left = loose.burst - unasked;
    let passed = allowed(&two, "alice", loose.burst).await;
    assert_eq!(passed, left);
}

#[tokio::test]
async fn without_redis_the_local_limit_serves_and_nobody_waits() {
    let prefix = fresh();
    let proxy = TcpProxy::to(&redis_url()).await;
    let way = Way::open(&proxy.url(), &prefix).await;
    let one = way.limiter(SLOW);
    assert_eq!(allowed(&one, "alice", 5).await, 5);
    proxy.freeze();
    let begun = Instant::now();
    let passed = allowed(&one, "alice", 200).await;
    let took = begun.elapsed();
    assert_eq!(passed, SLOW.burst - 5, "it goes on where it was");
    // One request waited for Redis. If each of the others had waited as long, this would take ten times the bound.
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(
        !way.redis.is_prompt(),
        "one was late, the others did not wait"
    );
    proxy.mend();
    eventually(async || way.redis.is_prompt()).await;
    let two = Way::open(&redis_url(), &prefix).await.limiter(SLOW);
    assert_eq!(allowed(&one, "bob", SLOW.burst).await, SLOW.burst);
    assert!(allowed(&two, "bob", SLOW.burst).await <= 2, "shared again");
}

#[tokio::test]
async fn an_address_has_one_limit_at_all_servers() {
    const PER_SECOND: u32 = 20;
    let (world, prefix, url) = (World::on_postgres().await, fresh(), redis_url());
    let per_second = PER_SECOND.to_string();
    let keys = [
        ("redis_url", url.as_str()),
        ("redis_prefix", prefix.as_str()),
        ("address_requests_per_second", per_second.as_str()),
    ];
    let (one, two) = (world.serve_with(&keys).await, world.serve_with(&keys).await);
    for server in [&one, &two] {
        eventually(async || server.app.link().is_some_and(Link::is_up)).await;
    }
    let begun = Instant::now();
    let ask = async |server: &Server| {
        let request = server.endpoint.request(reqwest::Method::GET, "/api/v1/me");
        request.send().await.unwrap().status().as_u16()
    };
    let asks = (0..3 * PER_SECOND).map(async |_| [ask(&one).await, ask(&two).await]);
    let answers: Vec<_> = futures::future::join_all(asks).await.concat();
    let passed: u32 = answers.iter().map(|status| u32::from(*status == 401)).sum();
    assert!(answers.contains(&429));
    // A burst, a tenth of it more on each instance, and the requests that the elapsed time allows.
    let bound = f64::from(PER_SECOND) * (1.2 + begun.elapsed().as_secs_f64());
    assert!(f64::from(passed) <= bound + 1.0, "{passed} of {bound}");
}

#[tokio::test]
async fn a_password_is_not_guessed_fast() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let email = server.alice().await.me().await.unwrap().email;
    // A password that is longer than allowed is refused at once, like any wrong one.
    let guess = Login {
        email: email.clone(),
        password: Secret::new("x".repeat(1_000)),
    };
    let mut refusals = Vec::new();
    for _ in 0..30 {
        let error = server.endpoint.login(&guess).await.err().unwrap();
        refusals.push(error.code().unwrap());
    }
    let wrong = refusals
        .iter()
        .take_while(|code| **code == ErrorCode::WrongCredentials);
    // The registration counts as one of the twenty.
    assert!((19..=22).contains(&wrong.count()), "{refusals:?}");
    assert_eq!(refusals.last(), Some(&ErrorCode::RateLimited));
    // Another spelling of the email is the same account; another account has its own budget.
    let spelled = Login {
        email: email.to_uppercase(),
        ..guess.clone()
    };
    let error = server.endpoint.login(&spelled).await.err().unwrap();
    assert_eq!(error.code(), Some(ErrorCode::RateLimited));
    let other = Login {
        email: "somebody@example.com".to_owned(),
        ..guess
    };
    let error = server.endpoint.login(&other).await.err().unwrap();
    assert_eq!(error.code(), Some(ErrorCode::WrongCredentials));
}
