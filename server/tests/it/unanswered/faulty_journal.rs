//! A real journal with faults: each test chooses the fault of one append.

use async_trait::async_trait;
use roost_schema::{Epoch, ItemId, OpId, RoomId, Seq, UserId};
use roost_server::store::journal::{
    Appended, Entry, FindQuery, FindRoom, Gate, Heads, Journal, JournalError, Page, Result,
    STATEMENT_MAX, SqlJournal, Trim,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet};

/// The fault of an append.
pub(super) enum Fault {
    /// The append is written and gets no answer.
    LostAnswer,
    /// The append is not written and gets no answer.
    NeverSent,
    /// The append gets no answer, and is written this much later.
    Late(Duration),
    /// The append gets no answer, and another writer takes its slot.
    TakenByAnother,
    /// The append is written, and from then on the journal answers nothing.
    SilentAfterwards,
    Panic,
    /// The append waits until its gate is shut, as it would for a connection.
    WaitUntilShut,
    /// The append waits until the journal answers again.
    Hang,
}

pub(super) struct FaultyJournal {
    journal: Arc<SqlJournal>,
    troubles: Mutex<VecDeque<Fault>>,
    late: Mutex<JoinSet<()>>,
    is_silent: watch::Sender<bool>,
    is_hanging: watch::Sender<bool>,
}

impl FaultyJournal {
    pub(super) fn upon(journal: Arc<SqlJournal>) -> Arc<Self> {
        Arc::new(Self {
            journal,
            troubles: Mutex::default(),
            late: Mutex::default(),
            is_silent: watch::Sender::new(false),
            is_hanging: watch::Sender::new(false),
        })
    }

    pub(super) fn next(&self, trouble: Fault) {
        self.troubles.lock().unwrap().push_back(trouble);
    }

    pub(super) fn fall_silent(&self) {
        self.is_silent.send_replace(true);
    }

    /// Lets the journal answer again.
    pub(super) fn speak(&self) {
        self.is_silent.send_replace(false);
    }

    /// Waits until a late append was written or refused.
    pub(super) async fn late_is_over(&self) {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        late.join_all().await;
    }

    /// Waits until an append hangs.
    pub(super) async fn is_hanging(&self) {
        let mut is_hanging = self.is_hanging.subscribe();
        is_hanging.wait_for(|is_hanging| *is_hanging).await.unwrap();
    }

    async fn spoken(&self) {
        let mut is_silent = self.is_silent.subscribe();
        is_silent.wait_for(|is_silent| !is_silent).await.unwrap();
    }

    async fn take_slot(&self, room: RoomId, of: &Entry, gate: &Arc<dyn Gate>) {
        let rival = Entry {
            item: ItemId::generate(),
            actor: UserId::generate(),
            op_id: Some("a-rival".parse().unwrap()),
            ..of.clone()
        };
        self.journal.append(room, &[rival], gate).await.unwrap();
    }
}

fn unknown() -> Result<Appended> {
    let error = anyhow::anyhow!("trouble that a test made");
    Err(JournalError::OutcomeUnknown(error))
}

#[async_trait]
impl Journal for FaultyJournal {
    async fn append(
        &self,
        room: RoomId,
        batch: &[Entry],
        gate: &Arc<dyn Gate>,
    ) -> Result<Appended> {
        let trouble = self.troubles.lock().unwrap().pop_front();
        match trouble {
            None => {}
            Some(Fault::Panic) => panic!("trouble that a test made"),
            Some(Fault::NeverSent) => return unknown(),
            Some(Fault::LostAnswer) => {
                self.journal.append(room, batch, gate).await?;
                return unknown();
            }
            Some(Fault::SilentAfterwards) => {
                self.journal.append(room, batch, gate).await?;
                self.is_silent.send_replace(true);
                return unknown();
            }
            Some(Fault::TakenByAnother) => {
                self.take_slot(room, &batch[0], gate).await;
                return unknown();
            }
            Some(Fault::Late(pause)) => {
                let (journal, gate) = (Arc::clone(&self.journal), Arc::clone(gate));
                let batch = batch.to_vec();
                self.late.lock().unwrap().spawn(async move {
                    tokio::time::sleep(pause).await;
                    journal.append(room, &batch, &gate).await.unwrap();
                });
                return unknown();
            }
            Some(Fault::WaitUntilShut) => {
                while gate.is_open_for(STATEMENT_MAX) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Some(Fault::Hang) => {
                self.is_silent.send_replace(true);
                self.is_hanging.send_replace(true);
                self.spoken().await;
            }
        }
        self.journal.append(room, batch, gate).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Heads> {
        self.spoken().await;
        self.journal.heads(rooms).await
    }

    async fn log(&self, room: RoomId, after: Seq, limit_bytes: usize) -> Result<Page> {
        self.spoken().await;
        self.journal.log(room, after, limit_bytes).await
    }

    async fn changes(&self, room: RoomId, since: Seq, limit_bytes: usize) -> Result<Page> {
        self.spoken().await;
        self.journal.changes(room, since, limit_bytes).await
    }

    async fn items(&self, room: RoomId, items: &[ItemId]) -> Result<Vec<Entry>> {
        self.spoken().await;
        self.journal.items(room, items).await
    }

    async fn operations(&self, room: RoomId, operations: &[(UserId, OpId)]) -> Result<Vec<Entry>> {
        self.spoken().await;
        self.journal.operations(room, operations).await
    }

    async fn find(&self, rooms: &[FindRoom], query: FindQuery) -> Result<Vec<Page>> {
        self.spoken().await;
        self.journal.find(rooms, query).await
    }

    async fn rooms(&self, beyond: Option<RoomId>, limit_rooms: usize) -> Result<Vec<RoomId>> {
        self.journal.rooms(beyond, limit_rooms).await
    }

    async fn trim(&self, bounds: Trim) -> Result<u64> {
        self.journal.trim(bounds).await
    }

    async fn change_epoch(&self, known: Epoch) -> Result<Epoch> {
        self.journal.change_epoch(known).await
    }

    async fn verify(&self) -> Result<()> {
        self.journal.verify().await
    }
}
