//! Tickets for streams: a browser's `EventSource` cannot send headers, so it shows one of these.

use super::Problem;
use crate::app::Actor;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use roost_schema::{ErrorCode, Failure, RoomId};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

pub(super) const TICKET_LIFETIME: Duration = Duration::from_secs(30);

/// All of them live in memory; at 64 bytes or so each this is under 2 MiB.
const TICKETS_MAX: usize = 16_384;

/// Unguessable: 192 bits.
const TICKET_BYTES: usize = 24;

/// The tickets that were given out and not used yet. Each opens one stream of one room, once.
#[derive(Default)]
pub(super) struct Tickets(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    open: HashMap<String, (Actor, RoomId)>,
    /// All live equally long, so the oldest is always the next to expire.
    expiries: VecDeque<(Instant, String)>,
}

impl Tickets {
    /// A ticket for one stream of the room.
    pub(super) fn issue(
        &self,
        actor: Actor,
        room: RoomId,
        now: Instant,
    ) -> Result<String, Problem> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget_expired(now);
        if kept.expiries.len() >= TICKETS_MAX {
            return Err(full());
        }
        let ticket = URL_SAFE_NO_PAD.encode(rand::random::<[u8; TICKET_BYTES]>());
        kept.open.insert(ticket.clone(), (actor, room));
        kept.expiries
            .push_back((now + TICKET_LIFETIME, ticket.clone()));
        Ok(ticket)
    }

    /// Who may open this room's stream with the ticket; asked again, nobody.
    pub(super) fn redeem(
        &self,
        ticket: &str,
        room: RoomId,
        now: Instant,
    ) -> Result<Actor, Problem> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget_expired(now);
        match kept.open.remove(ticket) {
            Some((actor, of)) if of == room => Ok(actor),
            _ => Err(Problem::new(
                ErrorCode::Unauthenticated,
                "the ticket was used, has expired, or never was one for this room",
            )),
        }
    }
}

impl Kept {
    fn forget_expired(&mut self, now: Instant) {
        while let Some((expiry, ticket)) = self.expiries.pop_front() {
            if expiry > now {
                self.expiries.push_front((expiry, ticket));
                return;
            }
            self.open.remove(&ticket);
        }
    }
}

fn full() -> Problem {
    Problem::from(Failure {
        code: ErrorCode::Overloaded,
        message: "too many stream tickets are open".to_owned(),
        retry_after_ms: u64::try_from(TICKET_LIFETIME.as_millis()).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use roost_schema::{SessionId, UserId};

    fn actor() -> Actor {
        Actor {
            user_id: UserId::generate(),
            session_id: SessionId::generate(),
            expires_at: chrono::Utc::now(),
        }
    }

    #[test]
    fn a_ticket_opens_one_stream_of_one_room_once_and_in_time() {
        let (tickets, actor, room) = (Tickets::default(), actor(), RoomId::generate());
        let now = Instant::now();
        let issue = || tickets.issue(actor, room, now).ok().unwrap();
        let ticket = issue();
        assert_eq!(tickets.redeem(&ticket, room, now).ok(), Some(actor));
        assert!(tickets.redeem(&ticket, room, now).is_err());
        let elsewhere = RoomId::generate();
        assert!(tickets.redeem(&issue(), elsewhere, now).is_err());
        let late = now + TICKET_LIFETIME;
        assert!(tickets.redeem(&issue(), room, late).is_err());
    }

    #[test]
    fn tickets_are_bounded_until_they_expire() {
        let (tickets, actor, room) = (Tickets::default(), actor(), RoomId::generate());
        let now = Instant::now();
        for _ in 0..TICKETS_MAX {
            assert!(tickets.issue(actor, room, now).is_ok());
        }
        assert!(tickets.issue(actor, room, now).is_err());
        let later = now + TICKET_LIFETIME;
        assert!(tickets.issue(actor, room, later).is_ok());
    }
}
