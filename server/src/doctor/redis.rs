//! Redis: reached in time, new enough, one server that takes writes, and one that forgets nothing
//! while it runs.

use super::{Check, in_time};
use crate::{
    config::Loaded,
    live::{REQUEST_PATIENCE, Redis, RedisCondition},
};

const REDIS: &str = "redis";

pub(super) async fn examine(loaded: &Loaded) -> Vec<Check> {
    let Some(url) = &loaded.config.redis_url else {
        return vec![Check::ok(REDIS, "none: this instance runs alone")];
    };
    let shown = loaded.shown("redis_url");
    match in_time(Box::pin(Redis::examine(url.expose()))).await {
        Ok(condition) => vec![
            reached(&condition, &shown),
            memory(&condition),
            round_trip(&condition),
        ],
        Err(reason) => vec![Check::problem(
            REDIS,
            format!("{shown} cannot be reached: {reason}"),
            "start it, or correct redis_url (address, password; rediss: for TLS, and SSL_CERT_FILE for an \
             authority of your own); until then instances go on, slower",
        )],
    }
}

fn reached(condition: &RedisCondition, shown: &str) -> Check {
    let finding = format!("{} at {shown}", condition.version);
    if !condition.is_supported {
        let advice = "upgrade it to Redis 6.2 or newer";
        return Check::problem(REDIS, finding + " is too old", advice);
    }
    if condition.is_cluster {
        let advice = "give Roost one server, or one endpoint that stands for several";
        let finding = finding + " is a node of a Redis Cluster, which is not supported";
        return Check::problem(REDIS, finding, advice);
    }
    if condition.is_replica {
        let advice = "let redis_url name the primary";
        return Check::problem(REDIS, finding + " is a replica and takes no writes", advice);
    }
    if let Some(refusal) = &condition.script_refusal {
        let advice = "allow its user the commands EVAL and EVALSHA";
        return Check::problem(REDIS, format!("{finding} runs no Lua: {refusal}"), advice);
    }
    Check::ok(REDIS, finding)
}

fn memory(condition: &RedisCondition) -> Check {
    const NAME: &str = "redis memory";
    let policy = &condition.memory_policy;
    let finding = match condition.memory_max_bytes {
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

fn round_trip(condition: &RedisCondition) -> Check {
    const NAME: &str = "redis round trip";
    let milliseconds = condition.round_trip.as_secs_f64() * 1_000.0;
    let finding = format!("{milliseconds:.1} ms");
    if condition.round_trip < REQUEST_PATIENCE {
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
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use std::time::Duration;

    fn condition() -> RedisCondition {
        RedisCondition {
            version: "Redis 7.0.15".into(),
            is_supported: true,
            is_cluster: false,
            is_replica: false,
            memory_policy: "noeviction".into(),
            memory_max_bytes: 0,
            round_trip: Duration::from_millis(1),
            script_refusal: None,
        }
    }

    #[test]
    fn what_roost_cannot_work_with_is_a_problem() {
        assert_eq!(reached(&condition(), "").verdict, Verdict::Ok);
        for broken in [
            RedisCondition {
                is_supported: false,
                ..condition()
            },
            RedisCondition {
                is_cluster: true,
                ..condition()
            },
            RedisCondition {
                is_replica: true,
                ..condition()
            },
            RedisCondition {
                script_refusal: Some("NOPERM".into()),
                ..condition()
            },
        ] {
            assert_eq!(reached(&broken, "").verdict, Verdict::Problem, "{broken:?}");
        }
    }

    #[test]
    fn no_request_waits_for_a_redis_that_is_far_away() {
        let far = RedisCondition {
            round_trip: REQUEST_PATIENCE,
            ..condition()
        };
        assert_eq!(round_trip(&far).verdict, Verdict::Problem);
        assert_eq!(round_trip(&condition()).verdict, Verdict::Ok);
    }
}
