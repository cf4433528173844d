//! Values that are checked once, when they are parsed: a value of one of these types keeps its rules.

use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, str::FromStr};

pub const TITLE_CHARS_MAX: usize = 200;
pub const NAME_CHARS_MAX: usize = 100;
pub const EMAIL_CHARS_MAX: usize = 254;
pub const PASSWORD_CHARS_MIN: usize = 8;
pub const PASSWORD_CHARS_MAX: usize = 128;
pub const MESSAGE_BYTES_MAX: usize = 32 * 1_024;
pub const OP_ID_CHARS_MAX: usize = 64;
pub const TERM_CHARS_MAX: usize = 96;
pub const SORT_KEY_CHARS_MAX: usize = 64;

/// The prefix of operation ids that the server makes. Clients may not choose an id with it.
pub const OP_ID_RESERVED_PREFIX: &str = "roost.";

/// Why a text breaks the rules of its type. The sentence continues the field's name: "title is empty".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

macro_rules! value {
    ($(#[$doc:meta])* $name:ident, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let parse: fn(&str) -> Result<String, Invalid> = $parse;
                parse(text).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

value!(/** A title of a room or of something in it: 1 to 200 characters, at least one of them visible. */ Title, |text| line(text, TITLE_CHARS_MAX));
value!(/** A person's or a session's name: 1 to 100 characters, at least one of them visible. */ Name, |text| line(text, NAME_CHARS_MAX));
value!(/** An e-mail address, lowercased: people do not remember how they typed it. */ Email, email);
value!(/** The text of a message: 1 byte to 32 KiB, at least one visible character. */ MessageText, message);
value!(/** Names one operation of one person, so that repeating it has one effect: 1 to 64 characters of `A-Z a-z 0-9 . _ : -`. */ OpId, op_id);

value!(/** What an item can be found by: a word that its kind names, a colon and a value, such as `to:<user id>`. At most 96 characters, none of them white space. */ Term, term);

value!(/** A place in a list: keys are compared as text, and between two of them there is another as long as it is not too long. 1 to 64 characters of `0-9 A-Z a-z`, not a `0` at the end. */ SortKey, sort_key);

impl SortKey {
    /// The middle of all keys, for items that name no place.
    pub const MIDDLE: &str = "V";
}

/// Makes a string type that is checked when a client sends it, and not when it is read back from a store.
macro_rules! checked {
    ($name:ident, $field:literal) => {
        impl $name {
            /// A value from a store. It is not checked again, because a later release with other rules may have written
            /// it.
            pub fn from_kept(text: String) -> Self {
                Self(text)
            }
        }

        /// Checks what a client sends.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse()
                    .map_err(|problem| serde::de::Error::custom(format!("{} {problem}", $field)))
            }
        }

        #[cfg(feature = "graphql")]
        #[async_graphql::Scalar]
        impl async_graphql::ScalarType for $name {
            fn parse(value: async_graphql::Value) -> async_graphql::InputValueResult<Self> {
                match value {
                    async_graphql::Value::String(text) => Ok(text.parse()?),
                    other => Err(async_graphql::InputValueError::expected_type(other)),
                }
            }

            fn to_value(&self) -> async_graphql::Value {
                async_graphql::Value::String(self.0.clone())
            }
        }
    };
}
checked!(OpId, "opId");
checked!(Term, "term");

impl Term {
    /// `prefix`: lower-case letters. `value`: text that the kind has checked.
    pub fn new(prefix: &str, value: impl fmt::Display) -> Self {
        Self(format!("{prefix}:{value}"))
    }

    /// The word before the colon, which names the sort of term.
    pub fn prefix(&self) -> &str {
        self.0.split_once(':').map_or("", |(prefix, _)| prefix)
    }
}

impl OpId {
    /// An operation id that the server makes and no client can choose.
    pub fn reserved(suffix: impl fmt::Display) -> Self {
        Self(format!("{OP_ID_RESERVED_PREFIX}{suffix}"))
    }

    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(OP_ID_RESERVED_PREFIX)
    }
}

#[cfg(feature = "openapi")]
crate::openapi::string!(Title, 1, TITLE_CHARS_MAX, crate::openapi::LINE);
#[cfg(feature = "openapi")]
crate::openapi::string!(Name, 1, NAME_CHARS_MAX, crate::openapi::LINE);
#[cfg(feature = "openapi")]
crate::openapi::string!(MessageText, 1, MESSAGE_BYTES_MAX, crate::openapi::TEXT);
#[cfg(feature = "openapi")]
crate::openapi::string!(
    OpId,
    1,
    OP_ID_CHARS_MAX,
    r"^(?!roost\.)[A-Za-z0-9._:-]{1,64}$"
);
#[cfg(feature = "openapi")]
crate::openapi::string!(
    SortKey,
    1,
    SORT_KEY_CHARS_MAX,
    r"^[0-9A-Za-z]{0,63}[1-9A-Za-z]$"
);
#[cfg(feature = "openapi")]
crate::openapi::string!(Term, 3, TERM_CHARS_MAX, r"^[a-z]{1,16}:[!-~]{1,79}$");

fn line(text: &str, chars_max: usize) -> Result<String, Invalid> {
    if text.chars().count() > chars_max {
        return Err(Invalid("is too long"));
    }
    let text = text.trim();
    if text.is_empty() {
        return Err(Invalid("is empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid("contains a control character"));
    }
    Ok(text.to_owned())
}

fn email(text: &str) -> Result<String, Invalid> {
    let text = text.trim().to_lowercase();
    if text.chars().count() > EMAIL_CHARS_MAX {
        return Err(Invalid("is too long"));
    }
    let good = text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains('@')
    });
    // Only a message to an address shows whether it exists. This refuses what cannot be an address.
    if !good || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Invalid("is not an e-mail address"));
    }
    Ok(text)
}

fn message(text: &str) -> Result<String, Invalid> {
    if text.trim().is_empty() {
        return Err(Invalid("is empty"));
    }
    if text.len() > MESSAGE_BYTES_MAX {
        return Err(Invalid("is longer than 32 KiB"));
    }
    if text.contains('\0') {
        return Err(Invalid("contains a NUL character"));
    }
    Ok(text.to_owned())
}

fn op_id(text: &str) -> Result<String, Invalid> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    if text.is_empty() || text.len() > OP_ID_CHARS_MAX || !text.chars().all(good) {
        return Err(Invalid("must be 1 to 64 of A-Z a-z 0-9 . _ : -"));
    }
    if text.starts_with(OP_ID_RESERVED_PREFIX) {
        return Err(Invalid("must not begin with \"roost.\""));
    }
    Ok(text.to_owned())
}

fn sort_key(text: &str) -> Result<String, Invalid> {
    let is_good = (1..=SORT_KEY_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    // A key that ends in 0, the lowest digit, is refused: between it and the same key without the 0 there is no other.
    if !is_good || text.ends_with('0') {
        return Err(Invalid(
            "must be 1 to 64 of 0-9 A-Z a-z, without a 0 at the end",
        ));
    }
    Ok(text.to_owned())
}

fn term(text: &str) -> Result<String, Invalid> {
    const PREFIX_CHARS_MAX: usize = 16;
    let is_prefix = |prefix: &str| {
        (1..=PREFIX_CHARS_MAX).contains(&prefix.len())
            && prefix.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    let is_value =
        |value: &str| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
    let parts = text.split_once(':');
    if !parts.is_some_and(|(prefix, value)| is_prefix(prefix) && is_value(value)) {
        return Err(Invalid("must be a word of a-z, a colon and a value"));
    }
    if text.len() > TERM_CHARS_MAX {
        return Err(Invalid("is too long"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_trimmed_and_bounded() {
        assert_eq!(" Plan ".parse::<Title>().unwrap().as_str(), "Plan");
        assert!("x".repeat(200).parse::<Title>().is_ok());
        assert!("x".repeat(201).parse::<Title>().is_err());
        assert!(" \n".parse::<Title>().is_err());
        assert_eq!(
            "Ann@Example.COM".parse::<Email>().unwrap().as_str(),
            "ann@example.com"
        );
        assert!("ann".parse::<Email>().is_err());
        assert!(
            "é".repeat(MESSAGE_BYTES_MAX / 2)
                .parse::<MessageText>()
                .is_ok()
        );
        assert!(
            "é".repeat(MESSAGE_BYTES_MAX / 2 + 1)
                .parse::<MessageText>()
                .is_err()
        );
    }

    #[test]
    fn a_term_has_a_word_and_a_value() {
        assert_eq!("due:2026-12-01".parse::<Term>().unwrap().prefix(), "due");
        for bad in ["due", ":x", "due:", "Due:x", "due:a b", "due:\u{e9}"] {
            assert!(bad.parse::<Term>().is_err(), "{bad}");
        }
        let longest = format!("{}:{}", "a".repeat(16), "x".repeat(TERM_CHARS_MAX - 17));
        assert!(longest.parse::<Term>().is_ok());
        assert!(format!("{longest}x").parse::<Term>().is_err());
    }

    #[test]
    fn there_is_a_sort_key_before_and_after_each() {
        for good in [SortKey::MIDDLE, "a0V", "1", "z"] {
            assert!(good.parse::<SortKey>().is_ok(), "{good}");
        }
        for bad in ["", "a0", "a b", "é", &"x".repeat(SORT_KEY_CHARS_MAX + 1)] {
            assert!(bad.parse::<SortKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn clients_cannot_choose_the_servers_operation_ids() {
        assert!("roost.outbox.1".parse::<OpId>().is_err());
        assert!("7f-1:a".parse::<OpId>().is_ok());
        assert!("a b".parse::<OpId>().is_err());
    }
}
