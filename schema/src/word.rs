//! Words of which a later release may know more: each is a known word, or another one that is carried unchanged.

use std::{fmt, sync::Arc};

/// A word of another release, kept as it came. It equals no known word.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OtherWord(Arc<str>);

impl OtherWord {
    /// Only for `words!`, which looks up the known words first.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OtherWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Makes an enum of words that is sent and stored as text, and that carries unknown words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$word_doc])* $word,)+
            /// A word of another release: carried, never interpreted.
            Other(crate::word::OtherWord),
        }

        impl $name {
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$word => $text,)+
                    Self::Other(word) => word.as_str(),
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$word,)+
                    _ => Self::Other(crate::word::OtherWord::new(text)),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.as_str().fmt(f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a string")
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        Ok(text.into())
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }

        #[cfg(feature = "graphql")]
        crate::word::graphql_string!($name);
    };
}
pub(crate) use words;

/// Appears as a `String`, so that the schema does not change when a word is added.
#[cfg(feature = "graphql")]
macro_rules! graphql_string {
    ($name:ident) => {
        impl async_graphql::OutputType for $name {
            fn type_name() -> std::borrow::Cow<'static, str> {
                <String as async_graphql::OutputType>::type_name()
            }

            fn create_type_info(registry: &mut async_graphql::registry::Registry) -> String {
                <String as async_graphql::OutputType>::create_type_info(registry)
            }

            async fn resolve(
                &self,
                _: &async_graphql::ContextSelectionSet<'_>,
                _: &async_graphql::Positioned<async_graphql::parser::types::Field>,
            ) -> async_graphql::ServerResult<async_graphql::Value> {
                Ok(async_graphql::Value::String(self.as_str().to_owned()))
            }
        }
    };
}
#[cfg(feature = "graphql")]
pub(crate) use graphql_string;

#[cfg(test)]
mod tests {
    use crate::{Kind, Op};

    #[test]
    fn a_known_word_is_itself_and_another_is_carried() {
        assert_eq!(Kind::from("message"), Kind::Message);
        let poll = Kind::from("poll");
        assert!(matches!(&poll, Kind::Other(word) if word.as_str() == "poll"));
        assert_eq!(serde_json::to_string(&poll).unwrap(), r#""poll""#);
        assert_eq!(serde_json::from_str::<Kind>(r#""poll""#).unwrap(), poll);
        assert_eq!(serde_json::from_str::<Op>(r#""put""#).unwrap(), Op::Put);
        assert_eq!(serde_json::to_string(&Op::Delete).unwrap(), r#""delete""#);
        assert!(serde_json::from_str::<Op>("1").is_err());
    }
}
