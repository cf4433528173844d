//! The order of turns, and the refusals.

use super::*;
use futures::FutureExt;
use std::{net::Ipv4Addr, ops::RangeInclusive, pin::Pin};

type Entering = Pin<Box<dyn Future<Output = Result<Turn, Full>>>>;

fn asking(purpose: Use, network: u8) -> Asking {
    Asking {
        purpose,
        network: Ipv4Addr::new(192, 0, 2, network).into(),
        account: None,
    }
}

/// A request that has a place or is refused once this returns.
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

fn those_of(queue: &Arc<Queue>, networks: RangeInclusive<u8>) -> Vec<Entering> {
    let all = networks.map(|network| enters(queue, asking(Use::SignIn, network)));
    all.collect()
}

/// Checks that each of them gets the turn, in this order, and passes it on.
#[track_caller]
fn is_passed_on(turn: Turn, all: &mut [Entering]) -> Turn {
    all.iter_mut().fold(turn, |turn, entering| {
        drop(turn);
        is_called(entering).expect("its turn")
    })
}

/// A request of the network with this number.
fn newcomer(number: u64) -> Asking {
    let bits = u32::try_from(number).unwrap();
    Asking {
        network: Ipv4Addr::from_bits(bits).into(),
        ..asking(Use::SignIn, 0)
    }
}

fn assert_nobody_is_left(queue: &Arc<Queue>) {
    let state = queue.state();
    let mut lines = state.lines.iter();
    assert!(lines.all(|line| line.count == 0 && line.waiting.is_empty()));
    assert_eq!(state.idle_workers, 1);
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
    let turn = busy(&queue);
    let turn = is_passed_on(turn, &mut those_of(&queue, 1..=20));
    // All of them come again, and then a new network, twice.
    let mut again = those_of(&queue, 1..=20);
    let mut newcomer = enters(&queue, asking(Use::SignIn, 21));
    drop(turn);
    let turn = is_called(&mut newcomer).expect("the newcomer's turn");
    let mut second = enters(&queue, asking(Use::SignIn, 21));
    drop(is_passed_on(turn, &mut again));
    drop(is_called(&mut second).expect("now the newcomer is no newcomer"));
    assert_nobody_is_left(&queue);
}

#[test]
fn networks_that_come_in_waves_are_new_in_the_first_only() {
    let queue = Queue::new(1);
    // One of twenty finds an idle worker, the others wait; the next wave comes when the last one is answered.
    let turn = busy(&queue);
    drop(is_passed_on(turn, &mut those_of(&queue, 1..=19)));
    for _ in 0..3 {
        let turn = busy(&queue);
        let mut wave = those_of(&queue, 1..=19);
        let mut victim = enters(&queue, asking(Use::SignIn, 100));
        drop(turn);
        let turn = is_called(&mut victim).expect("the victim's turn");
        drop(is_passed_on(turn, &mut wave));
        assert_nobody_is_left(&queue);
    }
}

#[test]
fn newcomers_without_end_keep_nobody_waiting_for_ever() {
    let queue = Queue::new(1);
    drop(busy(&queue));
    let mut turn = busy(&queue);
    let mut known = enters(&queue, asking(Use::SignIn, 250));
    for number in 0..=REMEMBERED_TURNS_PER_WORKER {
        let mut newcomer = enters(&queue, newcomer(number));
        drop(turn);
        if is_called(&mut known).is_some() {
            return;
        }
        turn = is_called(&mut newcomer).expect("the newcomer's turn");
    }
    panic!("somebody waits for ever");
}

#[test]
fn only_those_who_were_served_lately_are_remembered() {
    let queue = Queue::new(1);
    for number in 0..10 * REMEMBERED_TURNS_PER_WORKER {
        drop(queue.enter(newcomer(number)).now_or_never());
    }
    let state = queue.state();
    let served = &state.lines[Use::SignIn as usize].served;
    assert_eq!(served.turns, 10 * REMEMBERED_TURNS_PER_WORKER);
    assert!(served.last.len() as u64 <= 2 * REMEMBERED_TURNS_PER_WORKER);
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
    // The other lines still have places.
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
    // It gets its turn and is dropped before it takes it.
    let gone = enters(&queue, asking(Use::SignIn, 1));
    drop(called);
    drop(gone);
    assert_eq!(queue.state().idle_workers, 1);
}
