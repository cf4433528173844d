//! The one queue of a room's writes on this instance: it batches them, judges each by the room's
//! state at the head it would follow, appends them to the journal and delivers what became of them.
//!
//! The journal's unique (room, seq) is the sequencer: another writer may take the slot first. Then
//! the mailbox reads what it missed, judges again on the new state, and tries again.

use super::{
    Instance, LiveError, LiveRoom, RoomView, Written,
    bus::Delivery,
    deliveries::DeliverySource,
    judging::Accepted,
    remote::gap_is_due,
    retry::{Retry, pause},
    room::Condition,
    write::PendingWrite,
};
use crate::store::journal::{Appended, Entry, JournalError, Stop};
use futures::FutureExt;
use roost_schema::{Epoch, Seq};
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

/// Bytes of writes that go into the journal at once.
pub(super) const BATCH_BYTES_MAX: usize = 1_024 * 1_024;
/// Writes that go into the journal at once.
const BATCH_WRITES_MAX: usize = 256;
/// How long a write waits for a journal that does not answer before it is refused.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often a write may lose the race for a slot before it is refused.
const RACES_MAX: u32 = 32;
/// When to come back after too many lost races.
const RETRY_RACES: Duration = Duration::from_millis(500);
/// A writer elsewhere that was heard of this recently is a rival.
const RIVAL_RECENT: Duration = Duration::from_millis(250);
/// How long a room stays loaded without readers and writes.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The same for a room without entries, which nobody has made.
const EMPTY_MAX: Duration = Duration::from_secs(1);

/// How long a mailbox waits after it panicked: what made it panic may be there still.
const PANIC_PAUSE: Duration = Duration::from_secs(1);
/// How long the journal may be ahead of a room without being read, before nobody is let in by what was known.
const STALE_AFTER: Duration = Duration::from_secs(2);

/// The task behind a room: the only one that writes and delivers in it on this instance.
pub(super) struct Mailbox {
    pub(super) room: Arc<LiveRoom>,
    inbox: mpsc::Receiver<PendingWrite>,
    pub(super) view: RoomView,
    pub(super) is_loaded: bool,
    /// The journal may hold more than the view, and why: it is read before the next write.
    pub(super) stale: Option<DeliverySource>,
    /// Until when what is missing may still come by itself, and why it is read then.
    pub(super) gap: Option<(Instant, DeliverySource)>,
    /// An outcome of ours is unknown: nobody else will tell of it.
    pub(super) tells_what_it_finds: bool,
    /// When another instance was last seen to write here.
    pub(super) rival_seen: Option<Instant>,
    /// Reads in a row that showed a head below what was delivered before them.
    pub(super) heads_below: u32,
    /// Since when the journal cannot be read, though there is something to read.
    pub(super) unread_since: Option<Instant>,
    /// When it is read again after it could not be.
    pub(super) retry: Retry,
    /// How long the last commit took: what a winner waits so that the loser gets its turn.
    last_commit: Duration,
}

impl Mailbox {
    pub(super) fn new(room: Arc<LiveRoom>, inbox: mpsc::Receiver<PendingWrite>) -> Self {
        Self {
            view: RoomView::new(room.id(), Epoch(0), Seq::ZERO),
            room,
            inbox,
            is_loaded: false,
            stale: Some(DeliverySource::Sweep),
            gap: None,
            tells_what_it_finds: false,
            rival_seen: None,
            heads_below: 0,
            unread_since: None,
            retry: Retry::default(),
            last_commit: Duration::ZERO,
        }
    }

    /// Serves the room until it is idle, or the instance stops and everything queued is answered. A room
    /// outlives a panic: its readers stay, what waits is written, and only the writes at hand get no answer.
    pub(super) async fn run(mut self, instance: Arc<Instance>) {
        while AssertUnwindSafe(self.serve(&instance))
            .catch_unwind()
            .await
            .is_err()
        {
            metrics::counter!("roost_panics_total", "task" => "mailbox").increment(1);
            tracing::error!(room.id = %self.room.id(), "a mailbox panicked; it begins anew");
            self.begin_anew();
            instance
                .cancel
                .run_until_cancelled(sleep(PANIC_PAUSE))
                .await;
        }
    }

    /// Goes on from what readers were given; what was half done is read from the journal.
    fn begin_anew(&mut self) {
        if let Some(delivery) = self.room.delivery().as_mut() {
            self.view = (*delivery.view()).clone();
            // The ring may lack what the view has: whoever is behind reads the journal.
            *delivery = Delivery::new(delivery.view());
            self.room.announce(self.view.position());
        } else {
            self.is_loaded = false;
        }
        self.gap = None;
        self.mark_stale(DeliverySource::Repair);
        self.tells_what_it_finds = true;
    }

    async fn serve(&mut self, instance: &Instance) {
        // What happens elsewhere does not make a room be needed here.
        let mut idle_since = Instant::now();
        loop {
            self.apply_remote();
            self.try_catch_up().await;
            let idle_until = idle_since + self.idle_max();
            tokio::select! {
                biased;
                () = instance.cancel.cancelled() => break,
                // Before all that may always be due.
                () = sleep_until(idle_until) => {
                    if instance.forget_idle(&self.room, &self.inbox) {
                        return;
                    }
                    idle_since = Instant::now();
                }
                () = self.retry.due(), if self.stale.is_some() => {}
                () = self.room.hint.notified() => self.stale = Some(DeliverySource::Sweep),
                mail = self.inbox.recv() => if let Some(mail) = mail {
                    let batch = self.gather(mail);
                    self.commit(batch).await;
                    idle_since = Instant::now();
                },
                () = self.room.news.notified() => {}
                () = gap_is_due(self.gap) => self.give_up_gap(),
            }
        }
        self.inbox.close();
        while let Some(mail) = self.inbox.recv().await {
            let batch = self.gather(mail);
            self.commit(batch).await;
        }
        instance.forget(self.room.id());
    }

    /// A room that has no entries does not exist: nobody can ask for many of those at a time.
    fn idle_max(&self) -> Duration {
        match self.view.head {
            // Forgotten with the room, the pause after what cannot be read would be none.
            Seq::ZERO if self.retry.damage().is_none() => EMPTY_MAX,
            _ => IDLE_MAX,
        }
    }

    /// Reads what is missing, if something is and the last failure is long enough ago.
    async fn try_catch_up(&mut self) {
        let Some(source) = self.stale.filter(|_| self.retry.is_due()) else {
            return;
        };
        if let Err(error) = self.catch_up(source).await {
            self.note_unread(&error);
        }
    }

    /// Nobody is let in by what is not known any more, and no second try reads better what cannot be read.
    pub(super) fn note_unread(&mut self, error: &JournalError) {
        let since = *self.unread_since.get_or_insert_with(Instant::now);
        let is_first = self.retry.fail(error);
        if let Some(damage) = self.retry.damage() {
            self.room.set_condition(Condition::Damaged(damage));
            tracing::error!(room.id = %self.room.id(), %error, "the room cannot be read; it is left alone");
            return;
        }
        let is_stale = since.elapsed() > STALE_AFTER;
        self.room.set_condition(if is_stale {
            Condition::Stale
        } else {
            Condition::Known
        });
        if is_first {
            tracing::warn!(room.id = %self.room.id(), %error, "cannot catch up, retrying");
        }
    }

    fn gather(&mut self, first: PendingWrite) -> Vec<PendingWrite> {
        let mut bytes = first.write.bytes;
        let mut batch = vec![first];
        while batch.len() < BATCH_WRITES_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(mail) = self.inbox.try_recv() else {
                break;
            };
            bytes += mail.write.bytes;
            batch.push(mail);
        }
        batch
    }

    /// Brings writes into the journal and answers every one of them.
    async fn commit(&mut self, waiting: Vec<PendingWrite>) {
        self.commit_all(waiting).await;
        self.view.items.shrink();
    }

    async fn commit_all(&mut self, mut waiting: Vec<PendingWrite>) {
        let mut failures = 0;
        let mut races = 0;
        while !waiting.is_empty() {
            if self.stale.is_some() && self.retry.damage().is_none() {
                pause(failures + races).await;
            }
            self.apply_remote();
            if let Some(damage) = self.retry.damage() {
                for mail in waiting.drain(..) {
                    mail.answer(Err(damage.into()));
                }
                return;
            }
            let done = if self.room.instance.fence.is_shut() {
                Err(JournalError::Fenced)
            } else {
                self.try_commit(&mut waiting, races).await
            };
            if let Err(JournalError::Fenced) = done {
                // Not later either: whoever asked may have no right to it by then.
                for mail in waiting.drain(..) {
                    mail.answer(Err(LiveError::Fenced));
                }
                return;
            }
            if let Err(error) = done {
                if error.is_lasting() {
                    self.mark_stale(DeliverySource::Repair);
                    self.note_unread(&error);
                    continue;
                }
                tracing::warn!(room.id = %self.room.id(), %error, "journal slow, retrying");
                self.mark_stale(DeliverySource::Repair);
                failures += 1;
                let is_overdue =
                    |mail: &mut PendingWrite| mail.queued_at.elapsed() > WRITE_WAIT_MAX;
                for mail in waiting.extract_if(.., is_overdue) {
                    mail.answer(Err(LiveError::Unavailable));
                }
                continue;
            }
            races += u32::from(self.stale.is_some());
            if races > RACES_MAX {
                let retry_after = RETRY_RACES;
                for mail in waiting.drain(..) {
                    mail.answer(Err(LiveError::Overloaded { retry_after }));
                }
            }
        }
    }

    /// The view may not be what the journal holds: read the head, and the items, before judging.
    fn mark_stale(&mut self, source: DeliverySource) {
        self.stale = Some(source);
        self.view.items.clear();
    }

    /// One round: what is answered leaves `waiting`. An error means that nothing was written.
    async fn try_commit(
        &mut self,
        waiting: &mut Vec<PendingWrite>,
        races: u32,
    ) -> Result<(), JournalError> {
        if let Some(source) = self.stale {
            self.catch_up(source).await?;
        }
        self.read_items(waiting).await?;
        let (accepted, refused, later) = self.judge(std::mem::take(waiting));
        // Whatever is not answered below waits for the next round, in its order.
        *waiting = later;
        let unanswered = match self.answer_refused(refused).await {
            Ok(unanswered) => unanswered,
            Err((mails, error)) => {
                put_back(waiting, mails, accepted);
                return Err(error);
            }
        };
        if !unanswered.is_empty() {
            put_back(waiting, unanswered, accepted);
            self.mark_stale(DeliverySource::Race);
            return Ok(());
        }
        if accepted.is_empty() {
            return Ok(());
        }
        self.append(accepted, waiting, races).await
    }

    async fn append(
        &mut self,
        accepted: Accepted,
        waiting: &mut Vec<PendingWrite>,
        races: u32,
    ) -> Result<(), JournalError> {
        let (mails, entries): (Vec<_>, Vec<_>) = accepted.into_iter().unzip();
        let started = Instant::now();
        let journal = Arc::clone(&self.room.instance.journal);
        let (id, gate) = (self.room.id(), self.room.instance.fence.gate());
        let appended = match self
            .receive_during(journal.append(id, &entries, &gate))
            .await
        {
            Ok(appended) => appended,
            Err(JournalError::OutcomeUnknown(error)) => {
                tracing::warn!(room.id = %self.room.id(), %error, "outcome of a batch unknown");
                self.mark_stale(DeliverySource::Repair);
                self.settle(mails, &entries, waiting).await;
                return Ok(());
            }
            Err(error) => {
                waiting.splice(0..0, mails);
                return Err(error);
            }
        };
        self.last_commit = started.elapsed();
        let rest = self.acknowledge(mails, entries, appended);
        waiting.splice(0..0, rest);
        match appended.stop {
            Some(stop) => {
                self.rival_seen = Some(Instant::now());
                self.mark_stale(DeliverySource::Race);
                // The rival may be an earlier try of our own, of which nobody else will tell.
                self.tells_what_it_finds |= waiting.iter().any(PendingWrite::is_unsettled);
                if stop == Stop::OperationKnown {
                    self.answer_repeated(waiting).await?;
                }
            }
            // Won against another writer: leave it the next turn, or it would starve.
            None if races > 0 || self.has_rival() => sleep(self.last_commit).await,
            None => {}
        }
        Ok(())
    }

    fn has_rival(&self) -> bool {
        self.rival_seen
            .is_some_and(|seen| seen.elapsed() < RIVAL_RECENT)
    }

    /// Delivers and answers what is durable now; gives back the writes that are not.
    fn acknowledge(
        &mut self,
        mut mails: Vec<PendingWrite>,
        mut entries: Vec<Entry>,
        appended: Appended,
    ) -> Vec<PendingWrite> {
        let rest = mails.split_off(appended.committed.min(mails.len()));
        entries.truncate(appended.committed);
        self.apply(&entries, DeliverySource::Local);
        self.announce(&entries);
        for (mail, entry) in mails.into_iter().zip(entries) {
            mail.answer(Ok(Written {
                entry,
                is_retry: false,
            }));
        }
        rest
    }
}

/// Returns writes to the queue's front, in the order in which they came.
fn put_back(waiting: &mut Vec<PendingWrite>, mails: Vec<PendingWrite>, accepted: Accepted) {
    waiting.extend(mails);
    waiting.extend(accepted.into_iter().map(|(mail, _)| mail));
    waiting.sort_by_key(|mail| mail.queued_at);
}
