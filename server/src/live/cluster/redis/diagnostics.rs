//! Reads the version and settings of a Redis for `roost doctor`, without changing anything.

use super::{Redis, builder, understand};
use anyhow::Context;
use fred::{
    clients::Client,
    interfaces::{ClientLike, LuaInterface},
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// RESP3 came with 6.0; the server uses commands of up to 6.2.
const VERSION_MIN: (u32, u32) = (6, 2);
/// Round trips that are measured; the median is reported.
const ROUND_TRIPS: usize = 5;

/// The version, role and settings of a Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisDiagnostics {
    /// `Redis 7.0.15`.
    pub version: String,
    pub is_supported: bool,
    /// Whether it is a node of a Redis Cluster.
    pub is_cluster: bool,
    /// Whether it follows a primary and takes no writes.
    pub is_replica: bool,
    /// The eviction policy (`maxmemory-policy`).
    pub memory_policy: String,
    /// 0: no limit.
    pub memory_max_bytes: u64,
    pub round_trip: Duration,
    /// Why it runs no Lua script; `None`: it does.
    pub script_refusal: Option<String>,
}

impl Redis {
    /// Connects to `redis:` or `rediss:` and reads.
    pub async fn examine(url: &str) -> anyhow::Result<RedisDiagnostics> {
        let mut config = understand(url)?;
        config.fail_fast = true;
        let client = builder(&config).build()?;
        client.init().await?;
        let diagnostics = examine(&client).await;
        // All answers are there, so an error at the end of the connection is ignored.
        let _ = client.quit().await;
        diagnostics
    }
}

async fn examine(client: &Client) -> anyhow::Result<RedisDiagnostics> {
    let text: String = client.info(None).await.context("INFO")?;
    let mut round_trips = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let asked = Instant::now();
        let _: String = client.ping(None).await.context("PING")?;
        round_trips.push(asked.elapsed());
    }
    round_trips.sort();
    let nothing = Vec::<String>::new;
    let script: Result<i64, _> = client.eval("return 1", nothing(), nothing()).await;
    let mut diagnostics = understand_info(&text);
    diagnostics.round_trip = round_trips[ROUND_TRIPS / 2];
    diagnostics.script_refusal = script.err().map(|error| error.to_string());
    Ok(diagnostics)
}

/// The answer to INFO: `name:value` lines.
fn understand_info(text: &str) -> RedisDiagnostics {
    let values: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .collect();
    let value = |name: &str| values.get(name).copied().unwrap_or_default();
    let compatible = value("redis_version");
    let version = match values.get("valkey_version") {
        Some(version) => format!("Valkey {version}"),
        None => format!("Redis {compatible}"),
    };
    RedisDiagnostics {
        version,
        is_supported: numbers(compatible) >= VERSION_MIN,
        is_cluster: value("cluster_enabled") == "1",
        is_replica: matches!(value("role"), "slave" | "replica"),
        memory_policy: value("maxmemory_policy").to_owned(),
        memory_max_bytes: value("maxmemory").parse().unwrap_or_default(),
        round_trip: Duration::ZERO,
        script_refusal: None,
    }
}

fn numbers(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_info_is_read() {
        let old = understand_info("# Server\r\nredis_version:6.0.16\r\nrole:slave\r\n");
        assert!(!old.is_supported && old.is_replica && !old.is_cluster);
        let new = understand_info(
            "redis_version:7.2.4\r\nvalkey_version:8.0.1\r\ncluster_enabled:1\r\nrole:master\r\n\
             maxmemory:268435456\r\nmaxmemory_policy:noeviction\r\n",
        );
        assert!(new.is_supported && new.is_cluster && !new.is_replica);
        assert_eq!(new.version, "Valkey 8.0.1");
        assert_eq!(new.memory_max_bytes, 256 * 1_024 * 1_024);
        assert_eq!(new.memory_policy, "noeviction");
    }
}
