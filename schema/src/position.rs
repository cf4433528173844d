//! Where a reader stands in a room's journal: an epoch and a sequence number.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected, Visitor},
};
use std::{fmt, str::FromStr};

/// The place of an entry in its room: 1, 2, 3, … without gaps. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 0))]
pub struct Seq(pub u64);

/// Reads a whole number that fits a signed 64-bit integer, in which stores keep it. JSON knows no integers: 7.0 is 7.
impl<'de> Deserialize<'de> for Seq {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl Visitor<'_> for Whole {
            type Value = Seq;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number below 2^63")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Seq, E> {
                let is_kept = i64::try_from(number).is_ok();
                let seq = is_kept.then_some(Seq(number));
                seq.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Seq, E> {
                // Floating-point numbers above this are not exact.
                const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
                if number.fract() != 0.0 || !(0.0..=EXACT_MAX).contains(&number) {
                    return Err(E::invalid_value(Unexpected::Float(number), &self));
                }
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it is whole and between 0 and 2^53"
                )]
                Ok(Seq(number as u64))
            }
        }

        // `deserialize_any` also works for a seq inside an untagged enum, whose content serde buffers first.
        deserializer.deserialize_any(Whole)
    }
}

impl Seq {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one history of a journal. A restore from a backup begins another, so that positions handed out before it
/// differ from the same numbers handed out after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A reader's place in a room, opaque to clients; written `epoch.seq`, and `epoch.seq.floor` while a
/// load of the full state is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    pub epoch: Epoch,
    pub seq: Seq,
    /// The floor at which this reader's load of the full state began: tombstones up to it were never part of that
    /// state. 0 for a reader that loads nothing.
    pub floor: Seq,
}

impl Position {
    pub const fn new(epoch: Epoch, seq: Seq) -> Self {
        Self {
            epoch,
            seq,
            floor: Seq::ZERO,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)?;
        match self.floor {
            Seq::ZERO => Ok(()),
            floor => write!(f, ".{floor}"),
        }
    }
}

/// The error of a text that is not a position of this server.
#[derive(Debug, thiserror::Error)]
#[error("is not a position")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, seqs) = text.split_once('.').ok_or(InvalidPosition)?;
        let (seq, floor) = seqs.split_once('.').unwrap_or((seqs, "0"));
        if !epoch.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidPosition);
        }
        Ok(Self {
            epoch: Epoch(u64::from_str_radix(epoch, 16).map_err(|_| InvalidPosition)?),
            seq: parse_seq(seq)?,
            floor: parse_seq(floor)?,
        })
    }
}

/// Stores keep seqs as signed 64-bit integers. Numbers of up to 18 digits always fit.
fn parse_seq(text: &str) -> Result<Seq, InvalidPosition> {
    const DIGITS_MAX: usize = 18;
    if text.len() > DIGITS_MAX || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidPosition);
    }
    text.parse().map(Seq).map_err(|_| InvalidPosition)
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
crate::openapi::string!(
    Position,
    3,
    54,
    r"^[0-9a-f]{1,16}\.(0|[1-9][0-9]{0,17})(\.[1-9][0-9]{0,17})?$"
);

#[cfg(feature = "graphql")]
async_graphql::scalar!(
    Seq,
    "Seq",
    "The place of an entry in its room: 1, 2, 3, … without gaps."
);
#[cfg(feature = "graphql")]
async_graphql::scalar!(
    Position,
    "Position",
    "A reader's place in a room; opaque, give it back as it came."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seq_is_a_whole_number_that_can_be_kept() {
        let read = |text: &str| serde_json::from_str::<Seq>(text).ok();
        assert_eq!(read("7"), Some(Seq(7)));
        assert_eq!(read("7.0"), Some(Seq(7)));
        assert_eq!(read("9223372036854775807"), Some(Seq(u64::MAX >> 1)));
        for other in ["9223372036854775808", "7.5", "-1", "1e30", "\"7\"", "null"] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn a_position_reads_back_what_it_wrote() {
        let position = Position::new(Epoch(0x3f2a), Seq(17));
        assert_eq!(position.to_string(), "3f2a.17");
        assert_eq!("3f2a.17".parse::<Position>().unwrap(), position);
        let loading = Position {
            floor: Seq(20),
            ..position
        };
        assert_eq!(loading.to_string(), "3f2a.17.20");
        assert_eq!("3f2a.17.20".parse::<Position>().unwrap(), loading);
        for wrong in [
            "3f2a.17.",
            "3f2a.17.1.2",
            "",
            "17",
            ".17",
            "3f2a.",
            "3f2a.-1",
            "+1.1",
            "3f2a.1f",
            "zz.1",
        ] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }
}
