//! What a mailbox answers besides "written": refusals, repeated operations, and what became of writes whose
//! outcome is unknown.

use super::{
    LiveError, Refusal, deliveries::DeliverySource, mailbox::Mailbox, retry::pause,
    write::PendingWrite,
};
use crate::store::journal::{Entry, JournalError};
use roost_schema::{OpId, UserId};
use std::{collections::HashMap, time::Duration};
use tokio::time::timeout;

/// How long the journal is asked what became of a batch before nothing is known of it.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(2);

impl Mailbox {
    /// An append has ended without an answer: looks at the head what became of its writes. Those that are there
    /// are acknowledged. Those that are not wait for another round under the same operation ids: an earlier try that
    /// is still on its way and the next one ask for the same operation, so the indexes let in one of them. What
    /// cannot be told in time is answered so.
    pub(super) async fn settle(
        &mut self,
        mut mails: Vec<PendingWrite>,
        entries: &[Entry],
        waiting: &mut Vec<PendingWrite>,
    ) {
        for (mail, entry) in mails.iter_mut().zip(entries) {
            mail.unsettle(entry.seq);
        }
        let operations: Vec<_> = mails.iter().map(PendingWrite::operation).collect();
        let found = timeout(SETTLE_WAIT_MAX, self.find(&operations)).await;
        let is_read = found.is_ok();
        let mut known = found.unwrap_or_default();
        let mut again = Vec::new();
        for mut mail in mails {
            if let Some(entry) = known.remove(&mail.operation()) {
                mail.answer_known(entry);
                continue;
            }
            if is_read {
                mail.settle_at(self.view.head);
            }
            if mail.is_unsettled() && !(is_read && mail.may_be_sent_again()) {
                mail.answer(Err(LiveError::OutcomeUnknown));
            } else {
                again.push(mail);
            }
        }
        waiting.splice(0..0, again);
    }

    /// Reads to the head, and delivers and tells what is there, until the operations could be looked up.
    async fn find(&mut self, operations: &[(UserId, OpId)]) -> HashMap<(UserId, OpId), Entry> {
        let mut failures = 0;
        loop {
            self.tells_what_it_finds = true;
            let found = match self.catch_up(DeliverySource::Repair).await {
                Ok(()) => self.look_up(operations).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(known) if known.values().all(|entry| entry.seq <= self.view.head) => {
                    return known;
                }
                // It came between the two reads: delivered first, then acknowledged.
                Ok(_) => {}
                // No second try reads it better: what is asked for stays unknown.
                Err(error) if error.is_lasting() => {
                    self.note_unread(&error);
                    return std::future::pending().await;
                }
                Err(_) => failures += 1,
            }
            pause(failures).await;
        }
    }

    /// A refusal stands only at the journal's head, and only if its operation is not in the journal:
    /// a retry of a write that succeeded is often refused by the state that it made itself. Gives
    /// back the writes that must be judged again because the head has moved.
    pub(super) async fn answer_refused(
        &mut self,
        refused: Vec<(PendingWrite, Refusal)>,
    ) -> Result<Vec<PendingWrite>, (Vec<PendingWrite>, JournalError)> {
        if refused.is_empty() {
            return Ok(Vec::new());
        }
        let operations: Vec<_> = refused.iter().map(|(mail, _)| mail.operation()).collect();
        let found = async {
            let known = self.look_up(&operations).await?;
            Ok((known, self.is_at_head().await?))
        };
        let (mut known, is_at_head) = match found.await {
            Ok(found) => found,
            Err(error) => {
                let mails = refused.into_iter().map(|(mail, _)| mail).collect();
                return Err((mails, error));
            }
        };
        let mut unanswered = Vec::new();
        for (mut mail, refusal) in refused {
            match known.remove(&mail.operation()) {
                Some(entry) => mail.answer_known(entry),
                None if is_at_head => {
                    mail.settle_at(self.view.head);
                    mail.answer(Err(LiveError::Refused(refusal)));
                }
                None => unanswered.push(mail),
            }
        }
        Ok(unanswered)
    }

    /// Whether the view is what the journal holds.
    async fn is_at_head(&self) -> Result<bool, JournalError> {
        let id = self.room.id();
        let heads = self.room.instance.journal.heads(&[id]).await?;
        let head = heads.rooms.get(&id).copied().unwrap_or_default().head;
        Ok(heads.epoch == self.view.epoch && head == self.view.head)
    }

    /// Answers those of the waiting writes whose operations are in the journal already.
    pub(super) async fn answer_repeated(
        &mut self,
        waiting: &mut Vec<PendingWrite>,
    ) -> Result<(), JournalError> {
        let operations: Vec<_> = waiting.iter().map(PendingWrite::operation).collect();
        let mut known = self.look_up(&operations).await?;
        let is_known = |mail: &mut PendingWrite| known.contains_key(&mail.operation());
        let repeated: Vec<_> = waiting.extract_if(.., is_known).collect();
        for mail in repeated {
            // The same operation may wait twice; the second is found again in the next round.
            if let Some(entry) = known.get(&mail.operation()).cloned() {
                mail.answer_known(entry);
            }
        }
        known.clear();
        Ok(())
    }

    async fn look_up(
        &self,
        operations: &[(UserId, OpId)],
    ) -> Result<HashMap<(UserId, OpId), Entry>, JournalError> {
        if operations.is_empty() {
            return Ok(HashMap::new());
        }
        let journal = &self.room.instance.journal;
        let found = journal.operations(self.room.id(), operations).await?;
        let with_key = |entry: Entry| Some(((entry.actor, entry.op_id.clone()?), entry));
        Ok(found.into_iter().filter_map(with_key).collect())
    }
}
