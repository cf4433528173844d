//! Pages of lists: the number of items, and the cursors of the next page.

use super::{Error, Result};
use roost_schema::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, PageQuery, Position, RoomId, Seq};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// How many items a page may have.
pub(super) fn page_limit(page: &PageQuery) -> Result<usize> {
    match page.limit.unwrap_or(PAGE_ITEMS_DEFAULT) {
        limit @ 1..=PAGE_ITEMS_MAX => Ok(limit as usize),
        _ => Err(Error::Invalid {
            field: "limit",
            problem: "must be 1 to 100",
        }),
    }
}

pub(super) const BROKEN_CURSOR: Error = Error::Invalid {
    field: "cursor",
    problem: "is not the `next` of a page",
};

/// Where a page of a room's history ended, with the position that was read before the first page.
pub(super) struct Cursor {
    pub(super) born: Seq,
    pub(super) position: Position,
}

impl Cursor {
    pub(super) const fn new(born: Seq, position: Position) -> Self {
        Self { born, position }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.born, self.position)
    }
}

/// Where a page of items of many rooms ended.
#[derive(Clone, Copy)]
pub(super) struct FoundCursor {
    pub(super) room: RoomId,
    pub(super) born: Seq,
}

impl FoundCursor {
    /// Goes on in a room after the item with this first seq; `None`: at the room's beginning.
    pub(super) fn new(room: RoomId, born: Option<Seq>) -> Self {
        let born = born.unwrap_or_default();
        Self { room, born }
    }

    /// Goes on after all items of a room: with the next room id.
    pub(super) fn after(room: RoomId) -> Self {
        let next = room.as_uuid().as_u128().saturating_add(1);
        Self {
            room: RoomId::from_uuid(Uuid::from_u128(next)),
            born: Seq::ZERO,
        }
    }
}

impl fmt::Display for FoundCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.room, self.born)
    }
}

impl FromStr for FoundCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (room, born) = text.split_once('.').ok_or(BROKEN_CURSOR)?;
        let room = room.parse().map_err(|_| BROKEN_CURSOR)?;
        let born = parse_seq(born)?;
        Ok(Self { room, born })
    }
}

/// Seqs are kept as signed 64-bit integers.
fn parse_seq(text: &str) -> Result<Seq> {
    let seq: u64 = text.parse().map_err(|_| BROKEN_CURSOR)?;
    i64::try_from(seq).map_err(|_| BROKEN_CURSOR)?;
    Ok(Seq(seq))
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (born, position) = text.split_once('.').ok_or(BROKEN_CURSOR)?;
        Ok(Self {
            born: parse_seq(born)?,
            position: position.parse().map_err(|_| BROKEN_CURSOR)?,
        })
    }
}
