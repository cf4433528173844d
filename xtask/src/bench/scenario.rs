//! The rows of the bench: which scenario with which numbers, against which targets, and which figures are shown.

use super::{
    Against, Choice,
    target::{Seqs, Setup, Target},
};

/// What the generator is asked, and what is shown of its answer.
pub(super) struct Scenario {
    pub(super) name: String,
    /// Before the name of the scenario.
    pub(super) options: Vec<String>,
    /// The scenario and its own options.
    pub(super) arguments: Vec<String>,
    pub(super) people: usize,
    /// It takes so long that it is measured once, whatever was asked.
    pub(super) once: bool,
    /// How many messages of other rooms a journal in `PostgreSQL` holds beforehand.
    pub(super) entries: usize,
    pub(super) setups: &'static [Setup],
    pub(super) peers: &'static [(Against, Target)],
    /// Shown, in this order.
    pub(super) figures: &'static [&'static str],
}

const SQLITE: &[Setup] = &[Setup::Sqlite];
const POSTGRES: &[Setup] = &[Setup::Postgres];
const PAIR_OF_INSTANCES: &[Setup] = &[Setup::Pair];
const BOTH: &[Setup] = &[Setup::Sqlite, Setup::Postgres];

const SOCKETS: &[(Against, Target)] = &[
    (Against::Node, Target::Node),
    (Against::Socketioxide, Target::Socketioxide),
    (Against::Bare, Target::Bare),
];
/// Besides those, what stands before Roost in a deployment.
const IDLE: &[(Against, Target)] = &[
    (Against::Caddy, Target::BehindCaddy),
    (Against::Node, Target::Node),
    (Against::Socketioxide, Target::Socketioxide),
    (Against::Bare, Target::Bare),
];
const DURABLE: &[(Against, Target)] = &[(Against::Node, Target::NodeDurable(Seqs::Room))];
/// What durability costs others, with seqs that promise as much as Roost's, and with such that promise less.
const DURABLE_EACH: &[(Against, Target)] = &[
    (Against::Node, Target::NodeDurable(Seqs::Room)),
    (Against::Node, Target::NodeDurable(Seqs::Table)),
    (
        Against::Socketioxide,
        Target::SocketioxideDurable(Seqs::Room),
    ),
    (
        Against::Socketioxide,
        Target::SocketioxideDurable(Seqs::Table),
    ),
];
const PAIR: &[(Against, Target)] = &[(Against::Node, Target::NodePair)];
const REQUESTS: &[(Against, Target)] = &[
    (Against::Node, Target::NodeDurable(Seqs::Room)),
    (Against::Axum, Target::Axum(Seqs::Room)),
    (Against::Axum, Target::Axum(Seqs::Table)),
];

const DELIVERIES: &[&str] = &[
    "delivery rate",
    "write rate",
    "server CPU per delivery",
    "database CPU per delivery",
    "Redis CPU per delivery",
    "server switches per delivery",
    "bytes per delivery",
    "server memory per socket",
    "delivery p50",
    "delivery p99",
    "acknowledgement p99",
    "server memory per slow reader",
    "generator CPU per delivery",
    "generator late p99",
    "superseded or lost",
    "lost",
    "doubled",
    "reordered",
    "errors",
    "unanswered",
    "closed by the server",
];
const CONNECTIONS: &[&str] = &[
    "server CPU per connect",
    "Caddy CPU per connect",
    "server memory per socket",
    "Caddy memory per socket",
    "kernel memory per socket",
    "server CPU while idle",
    "bytes per connect",
    "closed by the server",
];
const ANSWERS: &[&str] = &[
    "read rate",
    "server CPU per read",
    "database CPU per read",
    "read p99",
    "server CPU per page",
    "database CPU per page",
    "page p99",
    "server CPU per write",
    "database CPU per write",
    "write p99",
    "server CPU per sign-in",
    "errors",
];
const RESUMES: &[&str] = &[
    "all are back after",
    "server CPU per resume",
    "connect p50",
    "connect p99",
    "lost",
    "doubled",
    "reordered",
    "errors",
    "unanswered",
];
const VISITS: &[&str] = &[
    "server CPU per visit",
    "connect p50",
    "connect p99",
    "errors",
];

const MEMORY: &[&str] = &[
    "memory slope",
    "memory at the end",
    "server CPU per delivery",
    "delivery p99",
    "lost",
    "doubled",
    "reordered",
    "errors",
    "unanswered",
];

/// Short, so that all tables together take about an hour; each still has some ten thousand deliveries.
const DELIVERING: [&str; 4] = ["--warm-up", "1", "--duration", "3"];
/// Each sort of request has these of its own.
const REQUESTING: [&str; 4] = ["--warm-up", "1", "--duration", "3"];

/// One fan-out: rooms, members, and writes a second in each room.
type Shape = (usize, usize, &'static str);

/// As many writes a second each time, so few that the generator keeps up with 16,000 sockets.
const MORE_SOCKETS: [Shape; 3] = [(100, 10, "5"), (400, 10, "1.25"), (1_600, 10, "0.3125")];
/// As many writes a second each time, and how many rooms the same two people share.
const MORE_ROOMS: [(Shape, usize); 3] = [
    ((10, 2, "50"), 1),
    ((1_000, 2, "0.5"), 10),
    ((10_000, 2, "0.05"), 10),
];
/// So many sockets or rooms take minutes to open.
const LONG: usize = 10_000;
const MORE_ENTRIES: [usize; 2] = [1_000, 1_000_000];

/// So many deliveries that a server which takes five times as much as the best still keeps up on its processor.
const EPHEMERAL: [Shape; 3] = [(1, 1_000, "15"), (100, 10, "10"), (1_000, 2, "2.5")];
const KEPT: [Shape; 3] = [(1, 1_000, "8"), (100, 10, "4"), (1_000, 2, "0.5")];

pub(super) fn of(choice: Choice) -> Vec<Scenario> {
    let mut all = Vec::new();
    let is = |other| choice == other || choice == Choice::All;
    if choice == Choice::Quick {
        return quick();
    }
    if is(Choice::Fanout) {
        all.extend(EPHEMERAL.map(|shape| fanout(shape, false)));
        let [large, middle, small] = KEPT.map(|shape| fanout(shape, true));
        let middle = Scenario {
            peers: DURABLE_EACH,
            ..middle
        };
        all.extend([large, middle, small]);
    }
    if is(Choice::Pair) {
        let pair = |shape| Scenario {
            name: format!("two instances, {}", fanout(shape, true).name),
            setups: PAIR_OF_INSTANCES,
            peers: PAIR,
            ..fanout(shape, true)
        };
        let [large, middle, small] = KEPT.map(pair);
        all.push(middle);
        if choice == Choice::Pair {
            all.extend([large, small]);
        }
    }
    if is(Choice::Idle) {
        all.push(idle(1_000));
    }
    if is(Choice::Rest) {
        all.push(rest());
    }
    if is(Choice::Growth) {
        all.extend(MORE_SOCKETS.map(more_sockets));
        all.extend(MORE_ROOMS.map(more_rooms));
        all.extend(MORE_ENTRIES.map(more_entries));
    }
    for (one, name, people, figures, options) in [
        (Choice::Graphql, "graphql", 50, ANSWERS, REQUESTING),
        (Choice::Storm, "storm", 2_200, RESUMES, DELIVERING),
        (Choice::Churn, "churn", 1_000, VISITS, DELIVERING),
        (Choice::Board, "board", 50, DELIVERIES, DELIVERING),
        (Choice::Chat, "chat", 1_000, DELIVERIES, DELIVERING),
        (Choice::Slow, "slow", 101, DELIVERIES, DELIVERING),
    ] {
        if is(one) {
            all.push(Scenario {
                people,
                figures,
                options: strings(&options),
                ..bare(name, &[])
            });
        }
    }
    if choice == Choice::Soak {
        all.push(soak());
    }
    all
}

/// Short enough to be run for each change.
fn quick() -> Vec<Scenario> {
    let mut all = vec![
        fanout((50, 10, "20"), false),
        fanout((50, 10, "8"), true),
        idle(500),
        rest(),
    ];
    for scenario in &mut all {
        scenario.setups = SQLITE;
    }
    all[2].options = strings(&["--warm-up", "1", "--duration", "4"]);
    all
}

/// An hour for each setup, so it is not part of all.
fn soak() -> Scenario {
    Scenario {
        people: 500,
        once: true,
        figures: MEMORY,
        setups: BOTH,
        ..bare("soak", &[])
    }
}

fn fanout((rooms, members, rate): Shape, durable: bool) -> Scenario {
    let (kind, setups, peers) = if durable {
        ("durable", BOTH, DURABLE)
    } else {
        ("ephemeral", SQLITE, SOCKETS)
    };
    let (count, size) = (rooms.to_string(), members.to_string());
    let mut arguments = vec!["--rooms", &count, "--members", &size, "--rate", rate];
    arguments.extend(durable.then_some("--durable"));
    Scenario {
        name: format!("fanout, {kind}, {rooms} rooms of {members}"),
        people: rooms * members,
        options: strings(&DELIVERING),
        figures: DELIVERIES,
        setups,
        peers,
        ..bare("fanout", &arguments)
    }
}

/// Of the same people.
fn more_sockets(shape: Shape) -> Scenario {
    const PEOPLE: usize = 1_000;
    let mut scenario = Scenario {
        name: format!("growth, {} sockets", shape.0 * shape.1),
        people: PEOPLE,
        once: shape.0 * shape.1 >= LONG,
        peers: &[],
        ..fanout(shape, false)
    };
    scenario
        .arguments
        .extend(strings(&["--people", &PEOPLE.to_string()]));
    scenario
}

fn more_rooms((shape, rooms_each): (Shape, usize)) -> Scenario {
    let mut scenario = Scenario {
        name: format!("growth, {} rooms", shape.0),
        people: shape.0 / rooms_each * shape.1,
        once: shape.0 >= LONG,
        setups: SQLITE,
        peers: &[],
        ..fanout(shape, true)
    };
    let rooms_each = rooms_each.to_string();
    scenario
        .arguments
        .extend(strings(&["--rooms-each", &rooms_each]));
    scenario
}

fn more_entries(entries: usize) -> Scenario {
    let mut scenario = Scenario {
        name: format!("growth, a journal of {entries} entries"),
        setups: POSTGRES,
        peers: &[],
        entries,
        ..rest()
    };
    // What does not touch the journal is left out.
    scenario
        .arguments
        .extend(strings(&["--reads", "0", "--sign-ins", "0"]));
    scenario
}

fn idle(sockets: usize) -> Scenario {
    Scenario {
        name: format!("idle, {sockets} sockets"),
        people: sockets,
        options: strings(&["--warm-up", "0"]),
        figures: CONNECTIONS,
        peers: IDLE,
        ..bare("idle", &["--sockets", &sockets.to_string()])
    }
}

fn rest() -> Scenario {
    Scenario {
        people: 50,
        options: strings(&REQUESTING),
        figures: ANSWERS,
        setups: BOTH,
        peers: REQUESTS,
        ..bare("rest", &[])
    }
}

fn bare(name: &str, arguments: &[&str]) -> Scenario {
    let mut all = strings(&[name]);
    all.extend(strings(arguments));
    Scenario {
        name: name.to_owned(),
        options: Vec::new(),
        arguments: all,
        people: 0,
        once: false,
        entries: 0,
        setups: SQLITE,
        peers: &[],
        figures: &[],
    }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
