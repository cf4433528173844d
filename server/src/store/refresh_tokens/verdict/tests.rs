//! Each row of the table of decisions, as rows of a session.

use super::*;
use uuid::Uuid;

const HOME: &str = "203.0.113.0";
const PHONE: [u8; 32] = [1; 32];

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

/// An unused token, issued just now.
fn token(hash: u8, generation: Option<i32>) -> Model {
    Model {
        hash: vec![hash],
        session_id: Uuid::nil(),
        parent: None,
        issued_us: Micros(now()),
        used_us: None,
        generation,
        next_key: None,
        used_network: None,
        used_agent: None,
    }
}

fn child(hash: u8, of: &Model, generation: Option<i32>) -> Model {
    Model {
        parent: Some(of.hash.clone()),
        ..token(hash, generation)
    }
}

/// The token, exchanged at home by the phone some time ago.
fn used(token: Model, ago: TimeDelta) -> Model {
    Model {
        used_us: Some(Micros(now() - ago)),
        used_network: Some(HOME.into()),
        used_agent: Some(PHONE.to_vec()),
        ..token
    }
}

fn place(network: &str, agent: [u8; 32]) -> Place {
    Place {
        network: network.into(),
        agent,
    }
}

#[test]
fn the_predecessor_is_judged_by_its_age_and_by_where_it_comes_from() {
    let second = TimeDelta::seconds(1);
    let (minute, hour) = (TimeDelta::seconds(60), TimeDelta::hours(1));
    let (home, away) = (HOME, "198.51.100.0");
    let (phone, other) = (PHONE, [2; 32]);
    // Served or not, and whether the person is told.
    for (age, network, agent, expected) in [
        (TimeDelta::zero(), away, other, Some(false)),
        (minute, away, other, Some(false)),
        (minute + second, away, other, None),
        (minute + second, home, phone, Some(false)),
        (minute + second, away, phone, Some(true)),
        (minute + second, home, other, Some(true)),
        (hour, home, phone, Some(false)),
        (hour, away, other, None),
    ] {
        let first = used(token(1, Some(1)), age);
        let others = [child(2, &first, Some(2))];
        let verdict = judge(&first, &others, &place(network, agent), now());
        let expected = expected.map_or(Verdict::Reuse, |is_elsewhere| Verdict::Again {
            successor: &others[0],
            is_elsewhere,
        });
        assert_eq!(verdict, expected, "{age} {network} {agent:?}");
    }
}

#[test]
fn a_token_that_is_two_exchanges_behind_is_a_reuse() {
    let just_now = TimeDelta::zero();
    let first = used(token(1, Some(1)), just_now);
    let second = used(child(2, &first, Some(2)), just_now);
    let third = child(3, &second, Some(3));
    let others = [second, third];
    let verdict = judge(&first, &others, &place(HOME, PHONE), now());
    assert_eq!(verdict, Verdict::Reuse);
}

#[test]
fn an_unused_token_is_current_unless_a_later_one_is_unused() {
    let here = place("198.51.100.0", [2; 32]);
    let (old, new) = (token(1, None), token(2, Some(4)));
    assert_eq!(judge(&old, &[], &here, now()), Verdict::Exchange);
    assert_eq!(judge(&new, &[], &here, now()), Verdict::Exchange);
    let both = [old.clone(), new.clone()];
    assert_eq!(judge(&new, &both[..1], &here, now()), Verdict::Exchange);
    assert_eq!(judge(&old, &both[1..], &here, now()), Verdict::Branch);
    // The release before went on from the newest one.
    let gone_on = [used(new, TimeDelta::hours(1))];
    assert_eq!(judge(&old, &gone_on, &here, now()), Verdict::Exchange);
    // Two branches of the release before, of which neither is the line yet.
    let other = token(3, None);
    assert_eq!(judge(&old, &[other], &here, now()), Verdict::Exchange);
    let later = now() + SESSION_IDLE_MAX;
    assert_eq!(judge(&old, &[], &here, later), Verdict::Expired);
}

#[test]
fn a_successor_of_the_release_before_keeps_its_ten_seconds() {
    let here = place("198.51.100.0", [2; 32]);
    let ten = TimeDelta::seconds(10);
    for (age, expected) in [
        (ten - TimeDelta::microseconds(1), Verdict::Exchange),
        (ten, Verdict::Reuse),
    ] {
        let first = used(token(1, Some(1)), age);
        let second = child(2, &first, None);
        assert_eq!(judge(&first, &[second], &here, now()), expected, "{age}");
    }
    let first = used(token(1, None), TimeDelta::zero());
    let second = used(child(2, &first, None), TimeDelta::zero());
    assert_eq!(judge(&first, &[second], &here, now()), Verdict::Reuse);
}
