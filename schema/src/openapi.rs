//! How values and inputs with rules of their own appear in the `OpenAPI` document. The patterns are exact: the server
//! refuses a text for its shape if, and only if, its pattern does not match.

use crate::{Email, InviteMember, OpenConversation, Role, Title, UserId};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr,
        schema::{AdditionalProperties, AnyOfBuilder, ArrayBuilder, OneOfBuilder, Schema, Type},
    },
};

/// Describes a type that travels as a string of a given shape.
macro_rules! string {
    ($name:ident, $chars_min:expr, $chars_max:expr, $pattern:expr) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .min_length(Some($chars_min))
                    .max_length(Some($chars_max))
                    .pattern(Some($pattern))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}
pub(crate) use string;

/// White space as Unicode has it, spelled out because regular expressions differ about `\s`.
macro_rules! white {
    () => {
        r"\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
    };
}

/// Control characters.
macro_rules! control {
    () => {
        r"\u0000-\u001f\u007f-\u009f"
    };
}

/// One line with a visible character. White space around it is cut off.
pub(crate) const LINE: &str = concat!(
    "^[",
    white!(),
    "]*[^",
    white!(),
    control!(),
    "]([^",
    control!(),
    "]*[^",
    white!(),
    control!(),
    "])?[",
    white!(),
    "]*$"
);

/// Any text with a visible character.
pub(crate) const TEXT: &str = concat!(r"^[^\u0000]*[^\u0000", white!(), r"][^\u0000]*$");

impl PartialSchema for Email {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::Email,
            )))
            .max_length(Some(crate::EMAIL_CHARS_MAX))
            .into()
    }
}

impl ToSchema for Email {}

/// Exactly one of e-mail address and id.
impl PartialSchema for InviteMember {
    fn schema() -> RefOr<Schema> {
        let by = |given: &str, schema: RefOr<Schema>, absent: &str| {
            closed()
                .property(given, schema)
                .property(absent, nothing())
                .property("role", Role::schema())
                .required(given)
                .required("role")
        };
        OneOfBuilder::new()
            .description(Some(
                "Makes a person a member: by exact e-mail address or by id.",
            ))
            .item(by("email", Email::schema(), "userId"))
            .item(by("userId", UserId::schema(), "email"))
            .into()
    }
}

impl ToSchema for InviteMember {}

/// A title makes it a group; without one there is exactly one other person.
impl PartialSchema for OpenConversation {
    fn schema() -> RefOr<Schema> {
        let people = |at_most| {
            ArrayBuilder::new()
                .items(UserId::schema())
                .min_items(Some(1))
                .max_items(Some(at_most))
                .unique_items(true)
        };
        let group = closed()
            .property("userIds", people(crate::room::OTHERS_MAX))
            .property("title", Title::schema())
            .required("userIds")
            .required("title");
        let direct = closed()
            .property("userIds", people(1))
            .property("title", nothing())
            .required("userIds");
        AnyOfBuilder::new()
            .description(Some(
                "With one other person and no title the direct conversation of the two, else a group.",
            ))
            .item(group)
            .item(direct)
            .into()
    }
}

impl ToSchema for OpenConversation {}

pub(crate) fn closed() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

fn nothing() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Null)
}
