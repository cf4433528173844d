//! The journal on a `MongoDB` replica set: one document per entry.
//!
//! No transactions. The unique index on (room, seq) orders the writers. An entry is inserted current first and clears
//! older ones afterwards, so a reader may see two current entries for a moment.

mod append;
mod diagnostics;
mod document;
mod heads;
mod page;
mod trim;
mod verify;

use super::{
    Appended, Entry, FindQuery, FindRoom, Gate, Heads, Journal, JournalError, Page, Result, Trim,
    check_batch, check_rooms,
    encoding::{signed, unsound},
    new_epoch, share_bytes,
};
use anyhow::anyhow;
use async_trait::async_trait;
use bson::{Document, doc};
use moka::sync::Cache;
use mongodb::{
    Client, Collection, Database, IndexModel,
    error::ErrorKind,
    options::{
        Acknowledgment, ClientOptions, IndexOptions, ReadConcern, ReadPreference,
        SelectionCriteria, WriteConcern,
    },
};
use roost_schema::{Epoch, ItemId, OpId, RoomId, Seq, UserId};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, SemaphorePermit};

pub use diagnostics::MongoDiagnostics;

/// The database when the URL names none.
const DATABASE: &str = "roost";
/// The `_id` of the one document that holds the epoch.
const EPOCH: &str = "epoch";
/// Connections to each server of the set, unless `maxPoolSize` in the URL says otherwise.
const CONNECTIONS_MAX: u32 = 32;
/// How many values one query lists, because a query is never larger than 16 MB.
const LIST_MAX: usize = 8_000;
/// How many rooms' heads are kept in memory.
const KNOWN_ROOMS_MAX: u64 = 100_000;
const SELECTION_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a majority may take to make a write durable.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long any answer may take. It is longer than the timeouts above, so that it only ends calls whose server has
/// stopped answering.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long the indexes of a new release may take to build when the journal is opened.
const CREATE_DEADLINE: Duration = Duration::from_mins(1);

/// The journal in `MongoDB`.
pub struct MongoJournal {
    database: Database,
    entries: Collection<Document>,
    /// `{_id: room, floor}` of each room that has a floor.
    floors: Collection<Document>,
    /// `{_id: "epoch", epoch}`.
    epochs: Collection<Document>,
    /// The heads that this instance knew last. The true head is never lower, unless the store was restored.
    known: Cache<RoomId, Seq>,
    /// One permit for each connection. The deadline of a query starts when it has its permit. Otherwise queries that
    /// waited for most of their time would be sent and then given up, which keeps a slow server slow.
    turns: Semaphore,
}

impl MongoJournal {
    /// Connects to `mongodb://…/database?…` (`roost` when the URL names none). Creates the indexes and the epoch if
    /// they do not exist.
    pub async fn open(url: &str) -> Result<Arc<Self>> {
        let options = within_deadline(async { ClientOptions::parse(url).await });
        Self::open_with(options.await.map_err(unavailable)?).await
    }

    /// Like [`open`](Self::open), with the caller's options, for example to watch commands. The options that the
    /// promises need are set here and override the caller's.
    pub async fn open_with(options: ClientOptions) -> Result<Arc<Self>> {
        let journal = Self::connect(options)?;
        let created = tokio::time::timeout(CREATE_DEADLINE, journal.create());
        match created
            .await
            .map_err(|_| unavailable(Failure::Deadline(CREATE_DEADLINE)))?
        {
            Ok(()) => Ok(Arc::new(journal)),
            Err(error) => Err(unavailable(error)),
        }
    }

    fn connect(mut options: ClientOptions) -> Result<Self> {
        options.app_name = Some("roost".to_owned());
        options.server_selection_timeout = Some(SELECTION_TIMEOUT);
        options.connect_timeout = Some(SELECTION_TIMEOUT);
        // A URL may say 0 for no limit; this pool always has one.
        let asked = options.max_pool_size.filter(|count| *count > 0);
        let connections = asked.unwrap_or(CONNECTIONS_MAX);
        options.max_pool_size = Some(connections);
        options.write_concern = Some(durable());
        options.read_concern = Some(ReadConcern::majority());
        options.selection_criteria =
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        // A driver's retry would take its own first insert for a rival's. The mailbox retries instead, by op id.
        options.retry_writes = Some(false);
        let name = options.default_database.clone();
        let client = Client::with_options(options).map_err(unavailable)?;
        let database = client.database(name.as_deref().unwrap_or(DATABASE));
        Ok(Self {
            entries: database.collection("journal"),
            floors: database.collection("journal_floors"),
            epochs: database.collection("journal_epoch"),
            known: Cache::new(KNOWN_ROOMS_MAX),
            turns: Semaphore::new(connections as usize),
            database,
        })
    }

    /// Waits for a free connection. After an error nothing was sent.
    async fn turn(&self) -> Result<SemaphorePermit<'_>> {
        let turn = tokio::time::timeout(DEADLINE, self.turns.acquire()).await;
        match turn {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(JournalError::Unavailable(anyhow!(
                "no connection to MongoDB was free for {DEADLINE:?}"
            ))),
        }
    }

    async fn create(&self) -> mongodb::error::Result<()> {
        self.entries.create_indexes(indexes()).await?;
        let epoch = doc! { "_id": EPOCH, "epoch": signed(new_epoch().0) };
        match self.epochs.insert_one(epoch).await {
            Err(error) if !append::is_duplicate(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Acknowledged by a majority that has the write on disk.
fn durable() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .w_timeout(WRITE_TIMEOUT)
        .build()
}

/// The two unique indexes, which errors name, and one index for each way to read.
fn indexes() -> Vec<IndexModel> {
    let index = |name: &str, keys: Document, unique: bool, only: Option<Document>| {
        let options = IndexOptions::builder()
            .name(name.to_owned())
            .unique(unique.then_some(true))
            .partial_filter_expression(only)
            .build();
        IndexModel::builder().keys(keys).options(options).build()
    };
    let current = || Some(doc! { "current": true });
    let superseded = doc! { "current": false, "body": { "$exists": true } };
    let with_terms = doc! { "current": true, "terms": { "$exists": true } };
    let tombstones = doc! { "current": true, "op": "delete" };
    vec![
        index("journal_slot", doc! { "room": 1, "seq": 1 }, true, None),
        index(
            "journal_operation",
            doc! { "room": 1, "operation": 1 },
            true,
            None,
        ),
        index(
            "journal_item",
            doc! { "room": 1, "current": 1, "item": 1, "seq": 1 },
            false,
            None,
        ),
        index(
            "journal_changes",
            doc! { "room": 1, "current": 1, "seq": 1 },
            false,
            current(),
        ),
        index(
            "journal_history",
            doc! { "room": 1, "kind": 1, "current": 1, "born": 1 },
            false,
            current(),
        ),
        index(
            "journal_terms",
            doc! { "terms": 1, "room": 1, "kind": 1, "current": 1, "born": 1 },
            false,
            Some(with_terms),
        ),
        index(
            "journal_superseded",
            doc! { "current": 1, "at": 1 },
            false,
            Some(superseded),
        ),
        index(
            "journal_tombstones",
            doc! { "current": 1, "op": 1, "at": 1 },
            false,
            Some(tombstones),
        ),
    ]
}

#[async_trait]
impl Journal for MongoJournal {
    async fn append(
        &self,
        room: RoomId,
        batch: &[Entry],
        gate: &Arc<dyn Gate>,
    ) -> Result<Appended> {
        check_batch(room, batch)?;
        let _turn = self.turn().await?;
        append::append(self, room, batch, &**gate).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Heads> {
        let _turn = self.turn().await?;
        heads::heads(self, rooms).await
    }

    async fn log(&self, room: RoomId, after: Seq, limit_bytes: usize) -> Result<Page> {
        let _turn = self.turn().await?;
        page::log(self, room, after, limit_bytes).await
    }

    async fn changes(&self, room: RoomId, since: Seq, limit_bytes: usize) -> Result<Page> {
        let _turn = self.turn().await?;
        page::changes(self, room, since, limit_bytes).await
    }

    async fn items(&self, room: RoomId, items: &[ItemId]) -> Result<Vec<Entry>> {
        let _turn = self.turn().await?;
        page::items(self, room, items).await
    }

    async fn operations(&self, room: RoomId, operations: &[(UserId, OpId)]) -> Result<Vec<Entry>> {
        let _turn = self.turn().await?;
        page::operations(self, room, operations).await
    }

    async fn find(&self, rooms: &[FindRoom], query: FindQuery) -> Result<Vec<Page>> {
        check_rooms(rooms)?;
        let limit_bytes = share_bytes(rooms.len());
        let mut pages = Vec::with_capacity(rooms.len());
        for room in rooms {
            // Each page takes its own turn, so that a search of fifty rooms does not keep a connection from the
            // appends.
            let _turn = self.turn().await?;
            pages.push(page::find(self, *room, &query, limit_bytes).await?);
        }
        Ok(pages)
    }

    async fn rooms(&self, beyond: Option<RoomId>, limit_rooms: usize) -> Result<Vec<RoomId>> {
        let _turn = self.turn().await?;
        page::rooms(self, beyond, limit_rooms).await
    }

    async fn trim(&self, bounds: Trim) -> Result<u64> {
        let _turn = self.turn().await?;
        Ok(trim::tombstones(self, bounds).await? + trim::superseded(self, bounds).await?)
    }

    async fn change_epoch(&self, known: Epoch) -> Result<Epoch> {
        let filter = doc! { "_id": EPOCH, "epoch": signed(known.0) };
        let change = doc! { "$set": { "epoch": signed(new_epoch().0) } };
        within_deadline(async { self.epochs.update_one(filter, change).await })
            .await
            .map_err(append::failed_write)?;
        Ok(self.heads(&[]).await?.epoch)
    }

    async fn verify(&self) -> Result<()> {
        verify::verify(self).await
    }
}

/// Why a call to `MongoDB` has no answer.
enum Failure {
    Driver(mongodb::error::Error),
    Deadline(Duration),
}

impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Driver(error) => error.into(),
            Failure::Deadline(passed) => anyhow!("no answer from MongoDB within {passed:?}"),
        }
    }
}

impl From<mongodb::error::Error> for Failure {
    fn from(error: mongodb::error::Error) -> Self {
        Self::Driver(error)
    }
}

fn unavailable(failure: impl Into<Failure>) -> JournalError {
    match failure.into() {
        // The document does not fit the types, so a second read would fail, too.
        Failure::Driver(error) if matches!(*error.kind, ErrorKind::BsonDeserialization(_)) => {
            unsound(error)
        }
        failure => JournalError::Unavailable(failure.into()),
    }
}

async fn within_deadline<T>(
    work: impl Future<Output = mongodb::error::Result<T>>,
) -> Result<T, Failure> {
    within(DEADLINE, work).await
}

async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = mongodb::error::Result<T>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(deadline, work).await {
        Ok(done) => done.map_err(Failure::Driver),
        Err(_) => Err(Failure::Deadline(deadline)),
    }
}
