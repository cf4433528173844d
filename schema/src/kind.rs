//! The kinds that clients write, and what all of them are made of.

use crate::{Kind, UserId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// The kinds that clients write, each once: its state, what is written of a new one, and what is changed of one.
#[macro_export]
macro_rules! with_kinds {
    ($then:ident) => {
        $then! {
            Message: MessageState, MessageDraft, MessagePatch;
        }
    };
}

/// Fields of a later release: kept, and written back by who changes the rest.
pub type Rest = Map<String, Value>;

/// What is kept of an item, and served as it is kept.
pub trait ItemState {
    const KIND: Kind;

    /// Whose it is.
    fn author(&self) -> UserId;
}

macro_rules! inputs {
    ($($kind:ident: $state:ident, $draft:ident, $patch:ident;)+) => {
        use $crate::{$($state, $draft, $patch),+};

        $(impl ItemState for $state {
            const KIND: Kind = Kind::$kind;

            fn author(&self) -> UserId {
                self.author_id
            }
        })+

        /// What is written of a new item: of exactly one kind.
        #[derive(Clone, Debug, Serialize)]
        #[serde(untagged)]
        #[cfg_attr(feature = "graphql", derive(async_graphql::OneofObject))]
        pub enum ItemDraft {
            $($kind($draft),)+
        }

        /// What is changed of an item: of exactly one kind.
        #[derive(Clone, Debug, Serialize)]
        #[serde(untagged)]
        #[cfg_attr(feature = "graphql", derive(async_graphql::OneofObject))]
        pub enum ItemPatch {
            $($kind($patch),)+
        }

        impl ItemDraft {
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind),+ }
            }
        }

        impl ItemPatch {
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind),+ }
            }
        }

        #[cfg(feature = "openapi")]
        pub(crate) mod described {
            use super::*;
            use utoipa::{PartialSchema, ToSchema, openapi::{RefOr, schema::Schema}};

            /// The name and the schema of a type.
            pub(crate) type Named = (String, RefOr<Schema>);

            /// A kind in the `OpenAPI` document.
            pub(crate) struct Described {
                pub(crate) kind: Kind,
                pub(crate) state: Named,
                pub(crate) draft: Named,
                pub(crate) patch: Named,
            }

            fn named<T: ToSchema>() -> Named {
                (T::name().into_owned(), <T as PartialSchema>::schema())
            }

            pub(crate) fn kinds() -> Vec<Described> {
                vec![$(Described {
                    kind: Kind::$kind,
                    state: named::<$state>(),
                    draft: named::<$draft>(),
                    patch: named::<$patch>(),
                }),+]
            }
        }
    };
}
with_kinds!(inputs);

/// A field of a change: what is absent stays, and `null` takes it away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patched<T> {
    #[default]
    Stays,
    Goes,
    Is(T),
}

impl<T> Patched<T> {
    /// Leaves it out of what is written.
    pub const fn stays(&self) -> bool {
        matches!(self, Self::Stays)
    }

    /// What the field is afterwards.
    pub fn or(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Stays => before,
            Self::Goes => None,
            Self::Is(value) => Some(value),
        }
    }
}

/// As a draft says it, which leaves out what it does not name.
impl<T> From<Option<T>> for Patched<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Stays, Self::Is)
    }
}

impl<T: Serialize> Serialize for Patched<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Is(value) => serializer.serialize_some(value),
            Self::Stays | Self::Goes => serializer.serialize_none(),
        }
    }
}

/// With `#[serde(default)]`: what is absent is not read.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patched<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::deserialize(deserializer)?;
        Ok(value.map_or(Self::Goes, Self::Is))
    }
}

#[cfg(feature = "graphql")]
impl<T: async_graphql::InputType> async_graphql::InputType for Patched<T> {
    type RawValueType = T::RawValueType;

    fn type_name() -> std::borrow::Cow<'static, str> {
        T::type_name()
    }

    fn qualified_type_name() -> String {
        T::type_name().to_string()
    }

    fn create_type_info(registry: &mut async_graphql::registry::Registry) -> String {
        T::create_type_info(registry);
        T::type_name().to_string()
    }

    fn parse(value: Option<async_graphql::Value>) -> async_graphql::InputValueResult<Self> {
        match value {
            None => Ok(Self::Stays),
            Some(async_graphql::Value::Null) => Ok(Self::Goes),
            Some(value) => T::parse(Some(value))
                .map(Self::Is)
                .map_err(async_graphql::InputValueError::propagate),
        }
    }

    fn to_value(&self) -> async_graphql::Value {
        match self {
            Self::Is(value) => value.to_value(),
            Self::Stays | Self::Goes => async_graphql::Value::Null,
        }
    }

    fn as_raw_value(&self) -> Option<&Self::RawValueType> {
        match self {
            Self::Is(value) => value.as_raw_value(),
            Self::Stays | Self::Goes => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Change {
        #[serde(default, skip_serializing_if = "Patched::stays")]
        due: Patched<u32>,
    }

    #[test]
    fn absent_is_not_null() {
        for (text, due) in [
            ("{}", Patched::Stays),
            (r#"{"due":null}"#, Patched::Goes),
            (r#"{"due":7}"#, Patched::Is(7)),
        ] {
            let change: Change = serde_json::from_str(text).unwrap();
            assert_eq!(change, Change { due });
            assert_eq!(serde_json::to_string(&change).unwrap(), text);
        }
        assert_eq!(Patched::Stays.or(Some(1)), Some(1));
        assert_eq!(Patched::Goes.or(Some(1)), None);
        assert_eq!(Patched::Is(2).or(Some(1)), Some(2));
    }
}
