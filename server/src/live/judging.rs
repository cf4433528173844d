//! How a mailbox judges a batch of writes before it appends them.

use super::{
    Refusal,
    mailbox::{BATCH_BYTES_MAX, Mailbox},
    write::PendingWrite,
};
use crate::store::journal::Entry;
use chrono::{SubsecRound, Utc};
use roost_schema::{ItemId, Kind};
use std::collections::HashSet;

/// Writes judged good, in order, with the entries they make.
pub(super) type Accepted = Vec<(PendingWrite, Entry)>;

impl Mailbox {
    /// Judges writes in order on the view, each seeing those before it; stops before a write whose
    /// judgement could depend on what this batch does to roles.
    pub(super) fn judge(
        &mut self,
        waiting: Vec<PendingWrite>,
    ) -> (Accepted, Vec<(PendingWrite, Refusal)>, Vec<PendingWrite>) {
        let mut accepted: Accepted = Vec::new();
        let mut refused = Vec::new();
        let mut operations = HashSet::new();
        let mut seq = self.view.head;
        let mut bytes = 0;
        let at = Utc::now().trunc_subsecs(3);
        let mut waiting = waiting.into_iter();
        for mail in waiting.by_ref() {
            let is_repeat = !operations.insert(mail.operation());
            let changes_roles = accepted
                .last()
                .is_some_and(|(_, entry)| matches!(entry.kind, Kind::Member | Kind::Room));
            // A patch of a few bytes makes an entry of many: an append is bounded by what it holds.
            if is_repeat || changes_roles || bytes >= BATCH_BYTES_MAX {
                let later = std::iter::once(mail).chain(waiting).collect();
                return (accepted, refused, later);
            }
            match (mail.write.judge)(&self.view) {
                // Refused, it may be, by what this batch has not committed: judged again after it.
                Err(_) if touches(&accepted, mail.write.item) => {
                    let later = std::iter::once(mail).chain(waiting).collect();
                    return (accepted, refused, later);
                }
                Err(refusal) => refused.push((mail, refusal)),
                Ok(change) => {
                    seq = seq.next();
                    bytes += change.body.as_str().len();
                    let born = self.view.item(change.item).map_or(seq, |known| known.born);
                    let entry = Entry {
                        room: self.room.id(),
                        seq,
                        item: change.item,
                        kind: change.kind,
                        op: change.op,
                        body: change.body,
                        actor: mail.write.actor,
                        op_id: Some(mail.op_id.clone()),
                        request_hash: mail.write.request_hash,
                        asked_hash: Some(mail.write.asked_hash),
                        at,
                        born,
                        terms: change.terms,
                        current: true,
                    };
                    // Later writes see it; should it not be committed, the items are read anew.
                    self.view.keep(&entry);
                    accepted.push((mail, entry));
                }
            }
        }
        (accepted, refused, Vec::new())
    }
}

fn touches(accepted: &Accepted, item: ItemId) -> bool {
    accepted.iter().any(|(_, entry)| entry.item == item)
}
