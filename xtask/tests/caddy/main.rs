//! What the Caddyfile promises, seen from clients: with a real Caddy, before instances that break as they are told to
//! (`routing`, `breaking`, `limits`) and before a real cluster (`real`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test a panic with its place is the report"
)]

mod breaking;
mod client;
mod limits;
mod real;
mod routing;
mod upstream;

use std::time::{Duration, Instant};

use roost_testbed::servers::caddy::{self, Caddy, Options};
use roost_testbed::servers::require_xtask_test;
use upstream::Upstream;

const PATIENCE: Duration = Duration::from_secs(20);

/// Caddy with instances behind it.
struct Fixture {
    caddy: Caddy,
    upstreams: Vec<Upstream>,
}

impl Fixture {
    fn start() -> Self {
        Self::behind("")
    }

    /// Caddy stands behind these proxies itself.
    fn behind(trusted_proxies: &str) -> Self {
        require_xtask_test();
        let upstreams: Vec<_> = ["one", "two", "three"].map(Upstream::start).into();
        let caddy = Caddy::start(&Options {
            upstreams: addresses(&upstreams),
            trusted_proxies: trusted_proxies.to_owned(),
            ..Options::default()
        });
        Self {
            caddy: caddy.unwrap(),
            upstreams,
        }
    }

    fn client(&self, number: u8) -> client::Client {
        client::Client::new(self.caddy.url(), number)
    }

    /// How often any instance was asked for this path.
    fn hits(&self, path: &str) -> usize {
        let upstreams = self.upstreams.iter();
        upstreams.map(|upstream| upstream.seen(path).len()).sum()
    }
}

fn addresses(upstreams: &[Upstream]) -> Vec<String> {
    upstreams.iter().map(Upstream::address).collect()
}

/// Asks again and again until it is so, with a deadline.
async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn the_caddyfile_is_valid_and_formatted_and_wants_a_secret() {
    require_xtask_test();
    caddy::check_caddyfile().unwrap();
    let mut validate = std::process::Command::new(caddy::program().unwrap());
    validate.args(["validate", "--adapter", "caddyfile", "--config"]);
    let output = validate.arg(caddy::caddyfile()).output().unwrap();
    assert!(!output.status.success(), "it took no secret for one");
}
