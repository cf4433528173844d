//! Checks Redis: whether it is reached in time, new enough, a single server that takes writes, and evicts no keys.

use super::{Check, in_time};
use crate::{
    config::Loaded,
    live::{REQUEST_PATIENCE, Redis, RedisDiagnostics},
};

const REDIS: &str = "redis";

pub(super) async fn examine(loaded: &Loaded) -> Vec<Check> {
    let Some(url) = &loaded.config.redis_url else {
        return vec![Check::ok(REDIS, "none: this instance runs alone")];
    };
    let shown = loaded.shown("redis_url");
    match in_time(Box::pin(Redis::examine(url.expose()))).await {
        Ok(diagnostics) => vec![
            reached(&diagnostics, &shown),
            memory(&diagnostics),
            round_trip(&diagnostics),
        ],
        Err(reason) => vec![Check::problem(
            REDIS,
            format!("{shown} cannot be reached: {reason}"),
            "start it, or correct redis_url (address, password; rediss: for TLS, and SSL_CERT_FILE for an \
             authority of your own); until then instances go on, slower",
        )],
    }
}

fn reached(diagnostics: &RedisDiagnostics, shown: &str) -> Check {
    let finding = format!("{} at {shown}", diagnostics.version);
    if !diagnostics.is_supported {
        let advice = "upgrade it to Redis 6.2 or newer";
        return Check::problem(REDIS, finding + " is too old", advice);
    }
    if diagnostics.is_cluster {
        let advice = "give Roost one server, or one endpoint that stands for several";
        let finding = finding + " is a node of a Redis Cluster, which is not supported";
        return Check::problem(REDIS, finding, advice);
    }
    if diagnostics.is_replica {
        let advice = "let redis_url name the primary";
        return Check::problem(REDIS, finding + " is a replica and takes no writes", advice);
    }
    if let Some(refusal) = &diagnostics.script_refusal {
        let advice = "allow its user the commands EVAL and EVALSHA";
        return Check::problem(REDIS, format!("{finding} runs no Lua: {refusal}"), advice);
    }
    Check::ok(REDIS, finding)
}

fn memory(diagnostics: &RedisDiagnostics) -> Check {
    const NAME: &str = "redis memory";
    let policy = &diagnostics.memory_policy;
    let finding = match diagnostics.memory_max_bytes {
        0 => format!("maxmemory-policy {policy}, no maxmemory"),
        bytes => format!("maxmemory-policy {policy}, maxmemory {bytes} bytes"),
    };
    if policy == "noeviction" {
        return Check::ok(NAME, finding);
    }
    let advice = "set maxmemory-policy noeviction: a full Redis would forget somebody's presence or \
        limit without a word";
    if policy.is_empty() {
        return Check::warning(NAME, "it does not say its maxmemory-policy", advice);
    }
    Check::problem(NAME, finding, advice)
}

fn round_trip(diagnostics: &RedisDiagnostics) -> Check {
    const NAME: &str = "redis round trip";
    let milliseconds = diagnostics.round_trip.as_secs_f64() * 1_000.0;
    let finding = format!("{milliseconds:.1} ms");
    if diagnostics.round_trip < REQUEST_PATIENCE {
        return Check::ok(NAME, finding);
    }
    Check::problem(
        NAME,
        format!(
            "{finding}; no request waits longer than {} ms",
            REQUEST_PATIENCE.as_millis()
        ),
        "bring Redis nearer: as it is, every instance goes on without it",
    )
}

#[cfg(test)]
mod tests;
