//! The kinds that clients write, and what all of them are made of.

use crate::{UserId, word::words};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

words! {
    /// What an item is. A kind that this release does not know is carried like any other, and refused only when a client
    /// writes it.
    Kind {
        /// The room's own title and state; written by the server.
        Room = "room",
        /// A person's membership; written by the server.
        Member = "member",
        /// A session, in its person's own room; written by the server.
        Session = "session",
        /// A chat message.
        Message = "message",
        /// Something to be done.
        Todo = "todo",
    }
}

/// The kinds that clients write, each once: its state, what is written of a new one, and what is changed of one.
#[macro_export]
macro_rules! with_kinds {
    ($then:ident) => {
        $then! {
            Message: MessageState, MessageDraft, MessagePatch;
            Todo: TodoState, TodoDraft, TodoPatch;
        }
    };
}

/// Fields of a later release. They are kept, and written back when other fields change.
pub type Rest = Map<String, Value>;

/// The state of an item, which is stored and served in the same form.
pub trait ItemState {
    const KIND: Kind;

    /// The person who wrote the item.
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

            /// The schemas to which the types of the kinds refer.
            pub(crate) fn referred() -> Vec<Named> {
                let mut schemas = Vec::new();
                $(
                    $state::schemas(&mut schemas);
                    $draft::schemas(&mut schemas);
                    $patch::schemas(&mut schemas);
                )+
                schemas
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

/// Makes the state type of a kind: the fields that every item has, and those in the braces. Each field with its type,
/// and in brackets its appearance in the `OpenAPI` document.
macro_rules! kept {
    (
        $(#[$doc:meta])* $state:ident
        { $($(#[$field_doc:meta])* $field:ident: $type:ty [$($schema:tt)+],)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct $state {
            pub author_id: crate::UserId,
            pub created_at: chrono::DateTime<chrono::Utc>,
            $(
                $(#[$field_doc])*
                #[cfg_attr(feature = "openapi", schema($($schema)+))]
                pub $field: $type,
            )*
            #[serde(flatten)]
            #[cfg_attr(feature = "graphql", graphql(skip))]
            #[cfg_attr(feature = "openapi", schema(ignore))]
            pub rest: crate::Rest,
        }
    };
}
pub(crate) use kept;

/// Makes the two types that clients write of a kind: a draft, in which the fields of the first braces are required and
/// the others optional, and a patch, in which all are optional. Each field with its type, and in brackets its
/// appearance in the `OpenAPI` document.
macro_rules! written {
    (
        $(#[$draft_doc:meta])* $draft:ident, $(#[$patch_doc:meta])* $patch:ident
        { $($field:ident: $type:ty [$($schema:tt)+],)* }
        { $($option:ident: $option_type:ty [$($option_schema:tt)+],)* }
    ) => {
        $(#[$draft_doc])*
        #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        #[cfg_attr(feature = "graphql", derive(async_graphql::InputObject))]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct $draft {
            $(#[cfg_attr(feature = "openapi", schema($($schema)+))] pub $field: $type,)*
            $(
                #[serde(skip_serializing_if = "Option::is_none")]
                #[cfg_attr(feature = "openapi", schema($($option_schema)+))]
                pub $option: Option<$option_type>,
            )*
        }

        $(#[$patch_doc])*
        #[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default, deny_unknown_fields)]
        #[cfg_attr(feature = "graphql", derive(async_graphql::InputObject))]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct $patch {
            $(
                #[serde(skip_serializing_if = "crate::Patched::stays")]
                #[cfg_attr(feature = "openapi", schema($($schema)+, required = false))]
                pub $field: crate::Patched<$type>,
            )*
            $(
                #[serde(skip_serializing_if = "crate::Patched::stays")]
                #[cfg_attr(feature = "openapi", schema($($option_schema)+))]
                pub $option: crate::Patched<$option_type>,
            )*
        }

        impl From<$draft> for $patch {
            fn from(draft: $draft) -> Self {
                Self {
                    $($field: crate::Patched::Is(draft.$field),)*
                    $($option: draft.$option.into(),)*
                }
            }
        }
    };
}
pub(crate) use written;

/// A field of a patch. An absent field stays as it is, and `null` removes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patched<T> {
    #[default]
    Stays,
    Goes,
    Is(T),
}

impl<T> Patched<T> {
    /// Whether the field stays as it is. Such a field is not serialised.
    pub const fn stays(&self) -> bool {
        matches!(self, Self::Stays)
    }

    /// The new value, if there is one.
    pub const fn value_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Stays | Self::Goes => None,
        }
    }

    /// The field's value after the patch.
    pub fn or(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Stays => before,
            Self::Goes => None,
            Self::Is(value) => Some(value),
        }
    }
}

/// Converts an optional field of a draft: `None` does not name the field, so it stays as it is.
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

/// Used with `#[serde(default)]`, so this reads only fields that are present.
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
