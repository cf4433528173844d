//! Who works on a password next. Hashing costs so much that whoever asks most must not take it all.
//!
//! Each use has a line of its own. The lines take turns, and in a line the networks that wait do, however many hashes each
//! asks for (round-robin fair queueing, J. Nagle, RFC 970). A network that was not served lately goes first, so that it
//! need not wait for a hash of each of those that ask without end (new flows of FQ-CoDel, RFC 8290 §4.2). A full line drops
//! the youngest of the network that has most in it (longest queue drop, as in Stochastic Fairness Queueing, INFOCOM 1990).
//! Whoever is dropped, or finds no place, is refused at once.
//!
//! An account that somebody names who is not signed in has no share: else whoever names it could use it up.

use roost_schema::UserId;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// What a password is hashed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum Use {
    SignIn,
    Register,
    Change,
}

/// For whom a password is hashed.
#[derive(Clone, Copy, Debug)]
pub(in crate::app) struct Asking {
    pub(in crate::app) purpose: Use,
    pub(in crate::app) network: IpAddr,
    /// Who is signed in already.
    pub(in crate::app) account: Option<UserId>,
}

/// Whose turn it is, one after the other: most people only sign in.
const TURNS: [Use; 4] = [Use::SignIn, Use::Register, Use::SignIn, Use::Change];
/// How many may wait for each worker to sign in, to register, and to change their password. At some 30 ms a hash the
/// last one that signs in waits for a second, and for two while the other lines are full.
const PLACES_PER_WORKER: [usize; 3] = [32, 32, 8];
/// How many hashes one account that is signed in may wait for.
const ACCOUNT_PLACES_MAX: usize = 2;

/// No place, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

pub(super) struct Queue {
    workers: usize,
    state: Mutex<State>,
}

struct State {
    idle_workers: usize,
    lines: [Line; 3],
    /// Whose turn is next, in `TURNS`.
    next_turn: usize,
    next_number: u64,
}

/// Those who wait for one use.
#[derive(Default)]
struct Line {
    /// The networks that were not served lately, in the order in which they came.
    fresh: VecDeque<IpAddr>,
    /// The others, in the order in which they are served. One that waits for nothing any more leaves at its turn, not
    /// before: else whoever asks for one hash after the other would always be fresh.
    round: VecDeque<IpAddr>,
    /// Those of both.
    listed: HashSet<IpAddr>,
    waiting: HashMap<IpAddr, VecDeque<Waiting>>,
    count: usize,
}

struct Waiting {
    number: u64,
    account: Option<UserId>,
    /// Dropped: the place is lost.
    called: oneshot::Sender<Turn>,
}

/// The right to keep a worker busy, given on when it is dropped.
pub(super) struct Turn(Arc<Queue>);

/// A place in a line, left when it is dropped.
struct Place<'a> {
    queue: &'a Queue,
    asking: Asking,
    number: u64,
}

impl Queue {
    pub(super) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            workers,
            state: Mutex::new(State {
                idle_workers: workers,
                lines: Default::default(),
                next_turn: 0,
                next_number: 0,
            }),
        })
    }

    /// Waits for a turn.
    pub(super) async fn enter(self: &Arc<Self>, asking: Asking) -> Result<Turn, Full> {
        let (number, called) = {
            let mut state = self.state();
            if state.idle_workers > 0 {
                state.idle_workers -= 1;
                return Ok(Turn(Arc::clone(self)));
            }
            let places = PLACES_PER_WORKER[asking.purpose as usize] * self.workers;
            state.join(asking, places)?
        };
        let _place = Place {
            queue: self,
            asking,
            number,
        };
        called.await.map_err(|_| Full)
    }

    fn pass_on(self: &Arc<Self>) {
        let next = {
            let mut state = self.state();
            let next = state.next();
            state.idle_workers += usize::from(next.is_none());
            next
        };
        if let Some(next) = next {
            // Whoever does not wait any more drops the turn, and so gives it on.
            drop(next.called.send(Turn(Arc::clone(self))));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.queue.state();
            state.lines[self.asking.purpose as usize].leave(self.asking.network, self.number)
        };
        drop(left);
    }
}

impl State {
    fn join(
        &mut self,
        asking: Asking,
        places: usize,
    ) -> Result<(u64, oneshot::Receiver<Turn>), Full> {
        let line = &mut self.lines[asking.purpose as usize];
        if asking.account.is_some() && line.count_of(asking.account) >= ACCOUNT_PLACES_MAX {
            return Err(Full);
        }
        if line.count >= places {
            line.make_room_for(asking.network)?;
        }
        let number = self.next_number;
        self.next_number += 1;
        let (called, receiver) = oneshot::channel();
        line.push(
            asking.network,
            Waiting {
                number,
                account: asking.account,
                called,
            },
        );
        Ok((number, receiver))
    }

    fn next(&mut self) -> Option<Waiting> {
        for _ in TURNS {
            let turn = TURNS[self.next_turn];
            self.next_turn = (self.next_turn + 1) % TURNS.len();
            if let Some(next) = self.lines[turn as usize].pop() {
                return Some(next);
            }
        }
        None
    }
}

impl Line {
    fn count_of(&self, account: Option<UserId>) -> usize {
        let all = self.waiting.values().flatten();
        all.filter(|waiting| waiting.account == account).count()
    }

    /// Drops the youngest of the network that has most, if that is more than the newcomer's will have.
    fn make_room_for(&mut self, newcomer: IpAddr) -> Result<(), Full> {
        let own = self.waiting.get(&newcomer).map_or(0, VecDeque::len);
        let longest = self.waiting.iter().max_by_key(|(_, waiting)| waiting.len());
        let (network, youngest) = longest
            .filter(|(_, waiting)| waiting.len() > own + 1)
            .and_then(|(network, waiting)| Some((*network, waiting.back()?.number)))
            .ok_or(Full)?;
        drop(self.leave(network, youngest));
        Ok(())
    }

    fn push(&mut self, network: IpAddr, waiting: Waiting) {
        if self.listed.insert(network) {
            self.fresh.push_back(network);
        }
        let of_network = self.waiting.entry(network).or_default();
        of_network.push_back(waiting);
        self.count += 1;
    }

    fn pop(&mut self) -> Option<Waiting> {
        loop {
            let fresh = self.fresh.pop_front();
            let network = fresh.or_else(|| self.round.pop_front())?;
            let next = self.first_of(network);
            if next.is_some() || fresh.is_some() {
                self.round.push_back(network);
            } else {
                self.listed.remove(&network);
            }
            if next.is_some() {
                return next;
            }
        }
    }

    fn first_of(&mut self, network: IpAddr) -> Option<Waiting> {
        let number = self.waiting.get(&network)?.front()?.number;
        self.leave(network, number)
    }

    fn leave(&mut self, network: IpAddr, number: u64) -> Option<Waiting> {
        let of_network = self.waiting.get_mut(&network)?;
        let at = of_network
            .iter()
            .position(|waiting| waiting.number == number)?;
        let left = of_network.remove(at);
        self.count -= 1;
        if of_network.is_empty() {
            self.waiting.remove(&network);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::{net::Ipv4Addr, pin::Pin};

    type Entering = Pin<Box<dyn Future<Output = Result<Turn, Full>>>>;

    fn asking(purpose: Use, network: u8) -> Asking {
        Asking {
            purpose,
            network: Ipv4Addr::new(192, 0, 2, network).into(),
            account: None,
        }
    }

    /// Somebody who has a place, or is refused, once this returns.
    fn enters(queue: &Arc<Queue>, asking: Asking) -> Entering {
        let queue = Arc::clone(queue);
        let mut entering: Entering = Box::pin(async move { queue.enter(asking).await });
        assert!(
            (&mut entering)
                .now_or_never()
                .is_none_or(|entered| entered.is_ok()),
            "refused"
        );
        entering
    }

    fn is_refused(queue: &Arc<Queue>, asking: Asking) -> bool {
        let entered = queue.enter(asking).now_or_never();
        entered.is_some_and(|entered| entered.is_err())
    }

    fn is_called(entering: &mut Entering) -> Option<Turn> {
        entering.now_or_never().map(|entered| entered.ok().unwrap())
    }

    fn busy(queue: &Arc<Queue>) -> Turn {
        let entered = queue.enter(asking(Use::SignIn, 250)).now_or_never();
        entered.unwrap().ok().unwrap()
    }

    #[test]
    fn networks_take_turns_however_many_each_sends() {
        let queue = Queue::new(1);
        let turn = busy(&queue);
        let mut many: Vec<_> = (0..20)
            .map(|_| enters(&queue, asking(Use::SignIn, 1)))
            .collect();
        let mut one = enters(&queue, asking(Use::SignIn, 2));
        drop(turn);
        let first = is_called(&mut many[0]).expect("the one who came first");
        drop(first);
        assert!(is_called(&mut one).is_some(), "one hash later");
    }

    #[test]
    fn a_network_that_was_not_served_lately_goes_first_and_once() {
        let queue = Queue::new(1);
        let mut turn = Some(busy(&queue));
        let mut many: Vec<_> = (1..=20)
            .map(|network| enters(&queue, asking(Use::SignIn, network)))
            .collect();
        for entering in &mut many {
            drop(turn.take());
            turn = Some(is_called(entering).expect("its turn"));
        }
        // All of them come again, and then somebody new, twice.
        let mut again: Vec<_> = (1..=20)
            .map(|network| enters(&queue, asking(Use::SignIn, network)))
            .collect();
        let mut newcomer = enters(&queue, asking(Use::SignIn, 21));
        drop(turn.take());
        turn = Some(is_called(&mut newcomer).expect("the newcomer's turn"));
        let mut second = enters(&queue, asking(Use::SignIn, 21));
        for entering in &mut again {
            drop(turn.take());
            turn = Some(is_called(entering).expect("its turn"));
        }
        drop(turn.take());
        drop(is_called(&mut second).expect("now the newcomer is no newcomer"));
        // Who waits for nothing is forgotten.
        let state = queue.state();
        assert!(state.lines.iter().all(|line| line.listed.is_empty()));
        assert_eq!(state.idle_workers, 1);
    }

    #[test]
    fn uses_take_turns_and_signing_in_has_every_second() {
        let queue = Queue::new(1);
        let mut turn = Some(busy(&queue));
        let purposes = [Use::Register, Use::Change, Use::SignIn];
        let mut waiting: Vec<_> = purposes
            .iter()
            .flat_map(|purpose| std::iter::repeat_n(*purpose, 6))
            .map(|purpose| (purpose, enters(&queue, asking(purpose, 1))))
            .collect();
        let mut order = Vec::new();
        for _ in 0..8 {
            drop(turn.take());
            let mut called = waiting.iter_mut().enumerate();
            let (at, next) = called
                .find_map(|(at, (_, entering))| Some((at, is_called(entering)?)))
                .unwrap();
            order.push(waiting.remove(at).0);
            turn = Some(next);
        }
        assert_eq!(order, [TURNS, TURNS].concat());
    }

    #[test]
    fn a_full_line_makes_room_for_who_has_less_in_it() {
        let queue = Queue::new(1);
        let turn = busy(&queue);
        let places = PLACES_PER_WORKER[Use::SignIn as usize];
        let mut many: Vec<_> = (0..places)
            .map(|_| enters(&queue, asking(Use::SignIn, 1)))
            .collect();
        assert!(is_refused(&queue, asking(Use::SignIn, 1)), "full");
        let one = enters(&queue, asking(Use::SignIn, 2));
        let youngest = many.pop().unwrap().now_or_never().unwrap();
        assert_eq!(youngest.err(), Some(Full));
        assert!(
            many.iter_mut()
                .all(|entering| is_called(entering).is_none())
        );
        // The other lines are no fuller for it.
        let other = enters(&queue, asking(Use::Register, 1));
        drop((turn, one, many, other));
        assert_eq!(queue.state().idle_workers, 1, "nobody is left");
    }

    #[test]
    fn a_line_of_networks_with_one_each_is_full_for_everybody() {
        let queue = Queue::new(1);
        let _turn = busy(&queue);
        let places = u8::try_from(PLACES_PER_WORKER[Use::Register as usize]).unwrap();
        let all: Vec<_> = (0..places)
            .map(|network| enters(&queue, asking(Use::Register, network)))
            .collect();
        assert!(is_refused(&queue, asking(Use::Register, 200)));
        drop(all);
        let _entering = enters(&queue, asking(Use::Register, 200));
    }

    #[test]
    fn an_account_has_few_places_wherever_it_asks_from() {
        let queue = Queue::new(1);
        let _turn = busy(&queue);
        let account = Some(UserId::generate());
        let own = |network| Asking {
            account,
            ..asking(Use::Change, network)
        };
        let _waiting = [enters(&queue, own(1)), enters(&queue, own(2))];
        assert!(is_refused(&queue, own(3)));
        let _other = enters(&queue, asking(Use::Change, 3));
    }

    #[test]
    fn who_gives_up_leaves_no_hole() {
        let queue = Queue::new(1);
        let turn = busy(&queue);
        let gone = enters(&queue, asking(Use::SignIn, 1));
        let mut waits = enters(&queue, asking(Use::SignIn, 1));
        drop(gone);
        drop(turn);
        let called = is_called(&mut waits).expect("its turn");
        // Called and gone before taking the turn.
        let gone = enters(&queue, asking(Use::SignIn, 1));
        drop(called);
        drop(gone);
        assert_eq!(queue.state().idle_workers, 1);
    }
}
