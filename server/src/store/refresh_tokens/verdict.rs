//! What becomes of a refresh token that is presented: the table of
//! `docs/decisions/0027-refresh-tokens-have-one-line.md`, as a function of the session's rows.

use super::{Place, SESSION_IDLE_MAX};
use crate::store::entity::{Micros, refresh_token::Model};
use chrono::{DateTime, TimeDelta, Utc};

/// How long a used token gets its successor again from anywhere: tabs exchange at once, and answers are lost.
const AGAIN_QUIETLY: TimeDelta = TimeDelta::seconds(60);
/// The same where the release before made the successor, which nothing here can make again.
const BRANCHES_FOR: TimeDelta = TimeDelta::seconds(10);

/// What becomes of a token that has a row.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum Verdict<'a> {
    /// It is exchanged for a new successor.
    Exchange,
    /// It gets the successor that it has.
    Again {
        successor: &'a Model,
        /// From another network or by another program than first.
        is_elsewhere: bool,
    },
    /// The release before made it beside the session's line.
    Branch,
    /// It is older than the current token's predecessor, or may be stolen: the session ends.
    Reuse,
    /// It was not used for too long.
    Expired,
}

/// `others`: the session's unused tokens, those with a generation, and those that `token` was exchanged for.
pub(in crate::store) fn judge<'a>(
    token: &Model,
    others: &'a [Model],
    place: &Place,
    now: DateTime<Utc>,
) -> Verdict<'a> {
    let Some(Micros(used_at)) = token.used_us else {
        return judge_unused(token, others, now);
    };
    let mut successors = others.iter().filter(|other| is_successor(other, token));
    let Some(successor) = successors.find(|other| other.generation.is_some()) else {
        return judge_of_the_release_before(token, others, used_at, now);
    };
    if successor.used_us.is_some() {
        return Verdict::Reuse;
    }
    let is_same_network = token.used_network.as_deref() == Some(place.network.as_str());
    let is_same_agent = token.used_agent.as_deref() == Some(place.agent.as_slice());
    let is_quiet = now <= used_at + AGAIN_QUIETLY || (is_same_network && is_same_agent);
    if !is_quiet && !is_same_network && !is_same_agent {
        return Verdict::Reuse;
    }
    Verdict::Again {
        successor,
        is_elsewhere: !is_quiet,
    }
}

/// A token that was never exchanged is the current one, unless a later generation waits to be exchanged.
fn judge_unused<'a>(token: &Model, others: &'a [Model], now: DateTime<Utc>) -> Verdict<'a> {
    if token.issued_us.0 + SESSION_IDLE_MAX <= now {
        return Verdict::Expired;
    }
    // A token of the release before has no generation, which is less than any.
    let is_later = |other: &Model| other.used_us.is_none() && other.generation > token.generation;
    if others.iter().any(is_later) {
        return Verdict::Branch;
    }
    Verdict::Exchange
}

/// The release before makes another random successor within 10 s, while one is unused.
fn judge_of_the_release_before<'a>(
    token: &Model,
    others: &'a [Model],
    used_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Verdict<'a> {
    let is_unused = |other: &Model| is_successor(other, token) && other.used_us.is_none();
    if now < used_at + BRANCHES_FOR && others.iter().any(is_unused) {
        Verdict::Exchange
    } else {
        Verdict::Reuse
    }
}

fn is_successor(other: &Model, of: &Model) -> bool {
    other.parent.as_ref() == Some(&of.hash)
}

#[cfg(test)]
mod tests;
