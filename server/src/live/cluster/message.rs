//! The messages between instances, as JSON. A release passes over messages that it does not know, so instances of two
//! releases can run side by side.

use super::{
    backplane::{Backplane, Bucket, Channel},
    peers::Beacon,
    presence::Record,
};
use crate::store::journal::Entry;
use bytes::Bytes;
use roost_schema::{Awareness, Epoch, RoomId, SessionId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Bytes of event bodies in one message, unless one event alone has more.
const MESSAGE_BYTES_MAX: usize = 256 * 1_024;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::live) enum Message {
    /// Entries that are in the journal, ascending without gaps.
    Events {
        room: RoomId,
        epoch: Epoch,
        entries: Vec<Entry>,
    },
    /// A person in a room, as Redis holds them now.
    Presence(Record),
    Awareness(Awareness),
    /// Sessions that ended.
    Revoked(Vec<SessionId>),
    /// The sender lives.
    Beacon(Beacon),
}

impl Message {
    /// `None` for a message of another release. Entries that cannot be read are left out: the gap is read from the
    /// journal.
    /// after it, and read from the journal.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match serde_json::from_slice(bytes) {
            Ok(message) => Some(message),
            Err(error) => {
                metrics::counter!("roost_backplane_unknown_total").increment(1);
                tracing::debug!(%error, "a message of another release is passed over");
                Self::readable_part(bytes)
            }
        }
    }

    fn readable_part(bytes: &[u8]) -> Option<Self> {
        let Unread::Events {
            room,
            epoch,
            entries,
        } = serde_json::from_slice(bytes).ok()?;
        let entries: Vec<Entry> = entries
            .into_iter()
            .filter_map(|entry| serde_json::from_str(entry.get()).ok())
            .collect();
        (!entries.is_empty()).then_some(Self::Events {
            room,
            epoch,
            entries,
        })
    }

    pub(in crate::live) fn send(&self, backplane: &dyn Backplane, channel: Channel) {
        match serde_json::to_vec(self) {
            Ok(bytes) => backplane.send(channel, Bytes::from(bytes)),
            Err(error) => tracing::error!(%error, "a message cannot be encoded"),
        }
    }
}

/// A message of entries before they are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Unread<'a> {
    Events {
        room: RoomId,
        epoch: Epoch,
        #[serde(borrow)]
        entries: Vec<&'a RawValue>,
    },
}

/// Announces to the other instances what was committed in a room, in messages of bounded size.
pub(in crate::live) fn send_entries(
    backplane: &dyn Backplane,
    room: RoomId,
    epoch: Epoch,
    entries: &[Entry],
) {
    let channel = Channel::Bucket(Bucket::of(room));
    let mut rest = entries;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(count_that_fits(rest));
        rest = later;
        let message = Message::Events {
            room,
            epoch,
            entries: now.to_vec(),
        };
        message.send(backplane, channel);
    }
}

/// How many of the first entries fit into one message; at least one.
fn count_that_fits(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.body.as_str().len();
        bytes <= MESSAGE_BYTES_MAX
    };
    entries.iter().take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests;
