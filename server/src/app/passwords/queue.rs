//! A fair queue for password hashes. Hashing costs so much that the client that asks most must not take it all.
//!
//! Each use has a line of its own, and the lines take turns. In a line the network is next that was served longest ago:
//! networks that always wait take turns, however many hashes each asks for (round-robin fair queueing, J. Nagle, RFC
//! 970), and a network that was not served lately does not wait for a hash of each of them (new flows of FQ-CoDel, RFC
//! 8290 §4.2). An idle line still remembers the networks it served: else networks that come in waves would be new in
//! each wave.
//!
//! A full line drops the youngest request of the network that has most in it (longest queue drop, as in Stochastic
//! Fairness Queueing, INFOCOM 1990). A request that is dropped, or finds the line full, is refused at once.
//!
//! Only the account of a signed-in person has a share. An account that is only named has none: any client could name
//! it, and use its share up.

use parking_lot::{Mutex, MutexGuard};
use roost_schema::UserId;
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};
use tokio::sync::oneshot;

/// What a password is hashed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum Use {
    SignIn,
    Register,
    Change,
}

/// A request for a hash: its use, and the client it is for.
#[derive(Clone, Copy, Debug)]
pub(in crate::app) struct Asking {
    pub(in crate::app) purpose: Use,
    pub(in crate::app) network: IpAddr,
    /// The account, if the person is signed in already.
    pub(in crate::app) account: Option<UserId>,
}

/// The order in which the lines take turns: most people only sign in.
const TURNS: [Use; 4] = [Use::SignIn, Use::Register, Use::SignIn, Use::Change];
/// Places in the lines of sign-ins, registrations and changes of a password, for each worker. At some 30 ms a hash the
/// last sign-in waits for a second, and for two while the other lines are full.
const PLACES_PER_WORKER: [usize; 3] = [32, 32, 8];
/// For how many of its turns a line remembers the networks it served: some 10 s of a worker's time.
const REMEMBERED_TURNS_PER_WORKER: u64 = 333;
/// Hashes that one signed-in account may wait for.
const ACCOUNT_PLACES_MAX: usize = 2;

/// The line is full, or the request was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

pub(super) struct Queue(Mutex<QueueState>);

struct QueueState {
    idle_workers: usize,
    lines: [Line; 3],
    /// The next turn, in `TURNS`.
    next_turn: usize,
    next_number: u64,
}

/// The requests that wait for one use.
struct Line {
    places: usize,
    waiting: HashMap<IpAddr, VecDeque<Waiting>>,
    count: usize,
    served: Served,
}

/// When a line served each network, counted in its turns. It holds at most twice as many networks as it remembers
/// turns.
struct Served {
    turns: u64,
    remembered_turns: u64,
    /// The last turn of each network.
    last: HashMap<IpAddr, u64>,
}

struct Waiting {
    number: u64,
    /// The oldest turn that the line remembered when this request came.
    horizon: u64,
    account: Option<UserId>,
    /// Gives the request its turn. When it is dropped, the request is refused.
    called: oneshot::Sender<Turn>,
}

/// The right to use a worker. When it is dropped, the next request gets it.
pub(super) struct Turn(Arc<Queue>);

/// A place in a line, which is left when it is dropped.
struct QueuePlace<'a> {
    queue: &'a Queue,
    asking: Asking,
    number: u64,
}

impl Queue {
    pub(super) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(QueueState {
            idle_workers: workers,
            lines: PLACES_PER_WORKER.map(|places| Line::new(places, workers)),
            next_turn: 0,
            next_number: 0,
        })))
    }

    /// Waits for a turn.
    pub(super) async fn enter(self: &Arc<Self>, asking: Asking) -> Result<Turn, Full> {
        let (number, called) = {
            let mut state = self.state();
            if state.idle_workers > 0 {
                state.idle_workers -= 1;
                let line = &mut state.lines[asking.purpose as usize];
                line.served.note(asking.network);
                return Ok(Turn(Arc::clone(self)));
            }
            state.join(asking)?
        };
        let _place = QueuePlace {
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
            // A request that does not wait any more drops the turn, which passes it on to the next.
            drop(next.called.send(Turn(Arc::clone(self))));
        }
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.0.lock()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.queue.state();
            state.lines[self.asking.purpose as usize].leave(self.asking.network, self.number)
        };
        drop(left);
    }
}

impl QueueState {
    fn join(&mut self, asking: Asking) -> Result<(u64, oneshot::Receiver<Turn>), Full> {
        let line = &mut self.lines[asking.purpose as usize];
        if asking.account.is_some() && line.count_of(asking.account) >= ACCOUNT_PLACES_MAX {
            return Err(Full);
        }
        if line.count >= line.places {
            line.make_room_for(asking.network)?;
        }
        let number = self.next_number;
        self.next_number += 1;
        let (called, receiver) = oneshot::channel();
        let waiting = Waiting {
            number,
            horizon: line.served.horizon(),
            account: asking.account,
            called,
        };
        line.push(asking.network, waiting);
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
    fn new(places_per_worker: usize, workers: usize) -> Self {
        Self {
            places: places_per_worker * workers,
            waiting: HashMap::new(),
            count: 0,
            served: Served {
                turns: 0,
                remembered_turns: REMEMBERED_TURNS_PER_WORKER * workers as u64,
                last: HashMap::new(),
            },
        }
    }

    fn count_of(&self, account: Option<UserId>) -> usize {
        let all = self.waiting.values().flatten();
        all.filter(|waiting| waiting.account == account).count()
    }

    /// Drops the youngest request of the network that has most, if that is more than the newcomer's network will have.
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
        let of_network = self.waiting.entry(network).or_default();
        of_network.push_back(waiting);
        self.count += 1;
    }

    fn pop(&mut self) -> Option<Waiting> {
        let firsts = self.waiting.iter().filter_map(|(network, waiting)| {
            let first = waiting.front()?;
            let last_turn = self.served.last_turn(*network, first.horizon);
            Some((last_turn, first.number, *network))
        });
        let (_, number, network) = firsts.min()?;
        self.served.note(network);
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

impl Served {
    fn note(&mut self, network: IpAddr) {
        self.turns += 1;
        self.last.insert(network, self.turns);
        if self.turns.is_multiple_of(self.remembered_turns) {
            let horizon = self.horizon();
            self.last.retain(|_, turn| *turn > horizon);
        }
    }

    fn horizon(&self) -> u64 {
        self.turns.saturating_sub(self.remembered_turns)
    }

    /// The turn in which the network was served last, or the horizon of its request. The horizon rises with the turns,
    /// so that endless newcomers cannot pass a waiting request for ever (start tags of start-time fair queueing, P.
    /// Goyal et al., SIGCOMM 1996).
    fn last_turn(&self, network: IpAddr, horizon: u64) -> u64 {
        let last = self.last.get(&network);
        last.map_or(horizon, |turn| horizon.max(*turn))
    }
}

#[cfg(test)]
mod tests;
