//! The people of a proof: the writers, the readers, their rooms, and what they saw.

use super::{
    ledger::Ledger,
    node::{Node, Script},
    reader,
    retry::retry_unavailable,
    sender,
};
use anyhow::{Context, Result, bail};
use roost_client::{Client, Endpoint};
use roost_schema::{OpenConversation, Register, RoomId, Secret, Seq};
use roost_testbed::interrupt;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

pub(super) const SENDERS: usize = 20;
const JAVASCRIPT_SENDERS: usize = 3;
const READERS: usize = 30;
const JAVASCRIPT_READERS: usize = 6;
/// Rooms besides the hot room, which takes half of the writes.
const QUIET_ROOMS: usize = 50;
/// Rooms in which one person writes over one socket, so that one instance commits all of their entries.
const SOLE_ROOMS: usize = 6;
const SOLE_READERS: usize = 6;
/// A kill waits until at least this many writes have no answer.
pub(super) const UNANSWERED_MIN: u64 = 10;
/// The whole run gives up after this long.
const RUN_MAX: Duration = Duration::from_mins(15);
/// How long readers may take to catch up after the last acknowledgement.
const CATCH_UP_MAX: Duration = Duration::from_mins(1);

/// How much is written, and how fast at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Writes by many people, half of them in one room.
    pub(super) writes: u64,
    /// Further writes, in rooms with one writer each.
    pub(super) sole_writes: u64,
    /// The writes take at least this long.
    pub(super) spread: Duration,
    /// How long each worker of the JavaScript senders waits after a write.
    pub(super) script_pace: Duration,
}

impl Plan {
    pub(super) fn total(self) -> u64 {
        self.writes + self.sole_writes
    }
}

/// What the run recorded, to be compared with the journal.
pub(super) struct Evidence {
    pub(super) rooms: Vec<RoomId>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) readings: Vec<reader::Reading>,
    pub(super) unanswered_at_kill: Vec<u64>,
    pub(super) elapsed: Duration,
}

/// All running writers and readers.
pub(super) struct People {
    pub(super) clients: Vec<Client>,
    pub(super) rooms: Vec<RoomId>,
    plan: Plan,
    pub(super) ledger: Arc<Ledger>,
    node: Node,
    readers: reader::Readers,
    senders: JoinSet<Result<()>>,
    unanswered_at_kill: Vec<u64>,
    is_written: bool,
    started: Instant,
}

impl People {
    /// Makes accounts and rooms, and starts the readers and writers.
    pub(super) async fn start(url: &str, plan: Plan) -> Result<Self> {
        let soles = if plan.sole_writes > 0 { SOLE_ROOMS } else { 0 };
        let sole_readers = if plan.sole_writes > 0 {
            SOLE_READERS
        } else {
            0
        };
        let endpoint = Endpoint::new(url)?;
        let people = register(&endpoint, 1 + SENDERS + READERS + soles + sole_readers).await?;
        let (owner, others) = people.split_first().context("nobody registered")?;
        let mut rooms = make_rooms(owner, others, 1 + QUIET_ROOMS + soles).await?;
        let sole_rooms = rooms.split_off(1 + QUIET_ROOMS);

        let (sender_people, others) = others.split_at(SENDERS);
        let (reader_people, others) = others.split_at(READERS);
        let (sole_people, sole_readers) = others.split_at(soles);
        let (script_senders, own_senders) = sender_people.split_at(JAVASCRIPT_SENDERS);
        let (script_readers, own_readers) = reader_people.split_at(JAVASCRIPT_READERS);
        let script_writes = plan.writes * JAVASCRIPT_SENDERS as u64 / SENDERS as u64;
        let ledger = Arc::new(Ledger::new(plan, script_writes, rooms.clone()));
        let mut readers = reader::start(own_readers, &rooms, &ledger);
        for (number, client) in sole_readers.iter().enumerate() {
            readers.follow_all(number, client, &sole_rooms, &ledger);
        }
        // An instance without readers of a room gets no deliveries of it, so the backplane would not be tested.
        let following = readers.wait_until_following(sole_readers.len());
        timeout(CATCH_UP_MAX, following)
            .await
            .context("the readers do not begin")?;
        let started = Instant::now();
        let script = Script {
            senders: script_senders,
            readers: script_readers,
            rooms: &rooms,
            writes: script_writes,
            pace: plan.script_pace,
        };
        let node = Node::start(url, &script).await?;
        let mut senders = JoinSet::new();
        for (number, client) in own_senders.iter().enumerate() {
            sender::start(&mut senders, number, client, &ledger);
        }
        for (room, client) in sole_rooms.iter().zip(sole_people) {
            sender::start_sole(&mut senders, *room, client, &ledger);
        }
        rooms.extend(sole_rooms);
        Ok(Self {
            clients: people,
            rooms,
            plan,
            ledger,
            node,
            readers,
            senders,
            unanswered_at_kill: Vec::new(),
            is_written: false,
            started,
        })
    }

    /// Waits until this many writes were acknowledged and [`UNANSWERED_MIN`] others are in flight. Answers the number
    /// in flight, for a kill right after.
    pub(super) async fn reach(&mut self, share: u64) -> Result<u64> {
        self.pass(share).await?;
        self.ledger.rush(true);
        while self.ledger.unanswered() < UNANSWERED_MIN {
            self.wait_a_moment().await?;
        }
        self.ledger.rush(false);
        let unanswered = self.ledger.unanswered();
        self.unanswered_at_kill.push(unanswered);
        Ok(unanswered)
    }

    /// Waits until this many writes were acknowledged.
    pub(super) async fn pass(&mut self, share: u64) -> Result<()> {
        while self.acknowledged()? < share {
            self.wait_a_moment().await?;
        }
        Ok(())
    }

    pub(super) fn acknowledged(&mut self) -> Result<u64> {
        Ok(self.ledger.acknowledged() + self.node.acknowledged()?)
    }

    async fn wait_a_moment(&mut self) -> Result<()> {
        if self.started.elapsed() > RUN_MAX {
            bail!(
                "no progress: {} of {} writes",
                self.acknowledged()?,
                self.plan.total()
            );
        }
        interrupt::check()?;
        sleep(Duration::from_millis(1)).await;
        Ok(())
    }

    /// Waits until all writes are done.
    pub(super) async fn write_all(&mut self) -> Result<()> {
        if self.is_written {
            return Ok(());
        }
        while let Some(sent) = self.senders.join_next().await {
            sent??;
        }
        self.node.wait_for_senders(&self.ledger, RUN_MAX).await?;
        self.is_written = true;
        Ok(())
    }

    /// Waits until all writes are done and every reader has them.
    pub(super) async fn finish(mut self) -> Result<Evidence> {
        self.write_all().await?;
        let owner = self.clients.first().context("nobody registered")?;
        let heads = read_heads(owner, &self.rooms).await?;
        let mut readings = self.readers.finish(&heads, CATCH_UP_MAX).await?;
        readings.extend(self.node.finish(&heads, CATCH_UP_MAX).await?);
        Ok(Evidence {
            rooms: self.rooms,
            ledger: self.ledger,
            readings,
            unanswered_at_kill: self.unanswered_at_kill,
            elapsed: self.started.elapsed(),
        })
    }
}

/// Registers people, each with their own address.
pub(super) async fn register(endpoint: &Endpoint, count: usize) -> Result<Vec<Client>> {
    let mut people = Vec::new();
    for number in 0..count {
        let last = u8::try_from(number + 1)?;
        let own = endpoint.from_address(IpAddr::V4(Ipv4Addr::new(127, 7, 0, last)))?;
        let input = Register {
            email: format!("person-{number}@example.com"),
            password: Secret::new("correct horse battery"),
            name: format!("Person {number}"),
            op_id: None,
        };
        people.push(own.register(&input).await.context("cannot register")?);
    }
    Ok(people)
}

/// Makes the hot room first, then the others; all people are members of each.
async fn make_rooms(owner: &Client, people: &[Client], count: usize) -> Result<Vec<RoomId>> {
    let others: Vec<_> = people.iter().map(Client::user_id).collect();
    let mut rooms = Vec::new();
    for number in 0..count {
        let input = OpenConversation {
            user_ids: others.clone(),
            title: Some(format!("Room {number}")),
            op_id: Some(format!("room-{number}").parse()?),
        };
        rooms.push(
            make_room(owner, &input)
                .await
                .context("cannot open a room")?,
        );
    }
    Ok(rooms)
}

/// Retried, because a busy machine may take longer to journal that many members than a request may take.
async fn make_room(owner: &Client, input: &OpenConversation) -> Result<RoomId> {
    let opened = retry_unavailable(CATCH_UP_MAX, async || owner.open_conversation(input).await);
    Ok(opened.await?.id)
}

/// Retried, because a store may refuse for a moment while slow readers catch up.
async fn read_heads(client: &Client, rooms: &[RoomId]) -> Result<HashMap<RoomId, Seq>> {
    let began = Instant::now();
    let mut heads = HashMap::new();
    for room in rooms {
        let mut after = None;
        let head = loop {
            let listing = async || client.list_events(*room, after).await;
            let left = CATCH_UP_MAX.saturating_sub(began.elapsed());
            let frame = retry_unavailable(left, listing).await?;
            if frame.live {
                break frame.position.seq;
            }
            after = Some(frame.position);
        };
        heads.insert(*room, head);
    }
    Ok(heads)
}
