//! The items that a room's writes looked at last, so that their next change needs no read.

use crate::store::journal::Entry;
use lru::LruCache;
use roost_schema::{ItemId, Term};

/// Bytes of items that an active room keeps: some 600 short ones.
const KEPT_BYTES_MAX: usize = 256 * 1_024;
/// What an entry takes besides its body and its terms.
const ENTRY_BYTES: usize = 256;

#[derive(Clone, Debug, Default)]
pub(super) struct KeptItems {
    /// `None` until the first item is kept. Most views keep none.
    entries: Option<LruCache<ItemId, Entry>>,
    bytes: usize,
}

impl KeptItems {
    /// The newest entry of an item, if the item is kept.
    pub(super) fn get(&self, item: ItemId) -> Option<&Entry> {
        self.entries.as_ref()?.peek(&item)
    }

    /// Whether the item is kept. If so, this counts as a use: the item used last is evicted last.
    pub(super) fn touch(&mut self, item: ItemId) -> bool {
        let used = self.entries.as_mut().and_then(|it| it.get(&item));
        used.is_some()
    }

    /// Replaces the entry of an item that is kept. An item that is not kept stays out, because no write may ever look
    /// at it.
    pub(super) fn follow(&mut self, entry: &Entry) {
        if self.touch(entry.item) {
            self.keep(entry.clone());
        }
    }

    /// Keeps an entry as the newest of its item. `shrink` enforces the bound on bytes, not this.
    pub(super) fn keep(&mut self, entry: Entry) {
        let entries = self.entries.get_or_insert_with(LruCache::unbounded);
        self.bytes += size(&entry);
        if let Some(before) = entries.put(entry.item, entry) {
            self.bytes -= size(&before);
        }
    }

    /// Evicts the items that were not used for longest, until the rest is within `KEPT_BYTES_MAX`. Not to be called
    /// while writes are judged: the judge takes an item that is not kept for one that does not exist.
    pub(super) fn shrink(&mut self) {
        while self.bytes > KEPT_BYTES_MAX
            && let Some(entries) = &mut self.entries
            && let Some((_, gone)) = entries.pop_lru()
        {
            self.bytes -= size(&gone);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn size(entry: &Entry) -> usize {
    let term_bytes = |term: &Term| term.as_str().len() + size_of::<Term>();
    let terms: usize = entry.terms.iter().map(term_bytes).sum();
    entry.body.as_str().len() + terms + ENTRY_BYTES
}

#[cfg(test)]
impl KeptItems {
    /// Whether some items are kept, and the kept items are within the bound.
    pub(super) fn are_bounded(&self) -> bool {
        let kept = self.entries.as_ref().map_or(0, LruCache::len);
        kept > 0 && self.bytes <= KEPT_BYTES_MAX
    }
}

#[cfg(test)]
pub(super) mod tests;
