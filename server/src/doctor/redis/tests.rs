//! Which Redis the doctor calls a problem, and which one a warning.

use super::*;
use crate::doctor::Verdict;
use std::time::Duration;

fn diagnostics() -> RedisDiagnostics {
    RedisDiagnostics {
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
    assert_eq!(reached(&diagnostics(), "").verdict, Verdict::Ok);
    for broken in [
        RedisDiagnostics {
            is_supported: false,
            ..diagnostics()
        },
        RedisDiagnostics {
            is_cluster: true,
            ..diagnostics()
        },
        RedisDiagnostics {
            is_replica: true,
            ..diagnostics()
        },
        RedisDiagnostics {
            script_refusal: Some("NOPERM".into()),
            ..diagnostics()
        },
    ] {
        assert_eq!(reached(&broken, "").verdict, Verdict::Problem, "{broken:?}");
    }
}

#[test]
fn no_request_waits_for_a_redis_that_is_far_away() {
    let far = RedisDiagnostics {
        round_trip: REQUEST_PATIENCE,
        ..diagnostics()
    };
    assert_eq!(round_trip(&far).verdict, Verdict::Problem);
    assert_eq!(round_trip(&diagnostics()).verdict, Verdict::Ok);
}
