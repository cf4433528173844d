//! Pages: how many items, and where the next one begins.

use super::{Error, Result};
use roost_schema::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, PageQuery, Position, Seq};
use std::{fmt, str::FromStr};

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

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (born, position) = text.split_once('.').ok_or(BROKEN_CURSOR)?;
        let born: u64 = born.parse().map_err(|_| BROKEN_CURSOR)?;
        // Seqs are kept as signed 64-bit integers.
        i64::try_from(born).map_err(|_| BROKEN_CURSOR)?;
        Ok(Self {
            born: Seq(born),
            position: position.parse().map_err(|_| BROKEN_CURSOR)?,
        })
    }
}
