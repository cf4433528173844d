//! Which database the doctor calls a problem, and which one a warning.

use super::*;
use crate::doctor::Verdict;

fn condition() -> DatabaseDiagnostics {
    DatabaseDiagnostics {
        version: "PostgreSQL 13.23".into(),
        is_supported: false,
        is_replica: false,
        weak: Vec::new(),
        weak_for_others: Vec::new(),
        connections: Some((40, 20)),
        migrations: Migrations::default(),
    }
}

#[test]
fn a_database_that_is_too_old_or_follows_another_is_a_problem() {
    let old = condition();
    assert_eq!(reached(&old, "").verdict, Verdict::Problem);
    let good = DatabaseDiagnostics {
        is_supported: true,
        ..old
    };
    assert_eq!(reached(&good, "").verdict, Verdict::Ok);
    let replica = DatabaseDiagnostics {
        is_replica: true,
        ..good
    };
    assert_eq!(reached(&replica, "").verdict, Verdict::Problem);
}

#[test]
fn there_must_be_room_for_every_pool() {
    let verdict = |pools, instances| connections(&condition(), pools, instances).unwrap().verdict;
    assert_eq!(verdict(1, 1), Verdict::Ok);
    assert_eq!(verdict(2, 1), Verdict::Warning);
    assert_eq!(verdict(1, 2), Verdict::Warning);
}

#[test]
fn instances_must_hear_each_other_and_should_be_told_apart() {
    let instance = |name: &str, version: &str, has_redis| KeptInstance {
        id: InstanceId::generate(),
        name: name.into(),
        version: version.into(),
        has_redis,
        speaks: SPEAKS,
        started_at: chrono::Utc::now(),
        lease_until: chrono::Utc::now(),
    };
    let verdict = |instances: &[KeptInstance]| judge_instances(instances, true).verdict;
    let one = instance("one", VERSION, true);
    assert_eq!(verdict(&[]), Verdict::Ok);
    assert_eq!(verdict(std::slice::from_ref(&one)), Verdict::Ok);
    let twice = [one.clone(), instance("one", VERSION, true)];
    assert_eq!(verdict(&twice), Verdict::Warning);
    let mixed = [one.clone(), instance("two", "0.0.1", true)];
    assert_eq!(verdict(&mixed), Verdict::Warning);
    let older = KeptInstance {
        speaks: SPEAKS - 1,
        ..instance("two", VERSION, true)
    };
    let upgrading = judge_instances(&[one.clone(), older], true);
    assert_eq!(upgrading.verdict, Verdict::Warning);
    assert!(
        upgrading.finding.contains("held back"),
        "{}",
        upgrading.finding
    );
    let deaf = [one, instance("two", VERSION, false)];
    assert_eq!(verdict(&deaf), Verdict::Problem);
}

#[test]
fn a_clock_may_be_off_by_a_second() {
    for (seconds, verdict) in [
        (0, Verdict::Ok),
        (-1, Verdict::Ok),
        (2, Verdict::Warning),
        (-30, Verdict::Warning),
        (31, Verdict::Problem),
    ] {
        let judged = judge_drift(TimeDelta::seconds(seconds));
        assert_eq!(judged.verdict, verdict, "{seconds}");
    }
}
