//! Which addresses are safe to try passwords over: those of this host, and those whose connection is verified.

use super::*;
use crate::doctor::Verdict;

#[test]
fn passwords_are_judged_where_others_could_try_them() {
    for (url, verdict) in [
        ("sqlite:data/roost.db?mode=rwc", None),
        ("postgres://roost:roost@127.0.0.1:5432/roost", None),
        ("postgres://roost:roost@[::1]/roost", None),
        ("postgres://roost@%2Fvar%2Frun%2Fpostgresql/roost", None),
        ("redis://localhost", None),
        ("postgres://ann:Tr0ub4dor@db/roost", None),
        (
            "postgres://ann@db/roost?sslmode=require&password=Tr0ub4dor",
            None,
        ),
        ("postgres://ann@db/roost", Some(Verdict::Warning)),
        ("redis://cache:6379/", Some(Verdict::Warning)),
        ("redis://:@cache", Some(Verdict::Warning)),
        ("rediss://:Changeme@cache", Some(Verdict::Problem)),
        ("postgres://db/roost?password=Tr0ub@dor", None),
        (
            "postgres://db/roost?password=postgres",
            Some(Verdict::Problem),
        ),
        (
            "mongodb://ann:ann@127.0.0.1,b:27017/roost",
            Some(Verdict::Problem),
        ),
    ] {
        let judged = judge_password("redis_url", &Address::of(url));
        assert_eq!(judged.map(|check| check.verdict), verdict, "{url}");
    }
}
