//! How items of each kind appear in the `OpenAPI` document: what is written of one, what is changed, what is read.

use crate::{
    BATCH_OPS_MAX, ItemId, ItemOps, NewItem, Seq,
    kind::described::{Described, Named, kinds, referred},
    openapi::closed,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, Ref, RefOr, SchemaFormat,
        schema::{AnyOfBuilder, ArrayBuilder, OneOfBuilder, Schema, SchemaType, Type},
    },
};

/// What `PUT` takes of an item.
pub struct WrittenItem;
/// What `PATCH` takes.
pub struct PatchedItem;
/// What brings an item back.
pub struct RestoredItem;
/// The state of an item that is read: of the kinds named here, or an object of a later release.
pub struct AnyState;

/// One of the three shapes that a kind has.
type Shape = fn(Described) -> Named;

const STATE: Shape = |kind| kind.state;
const DRAFT: Shape = |kind| kind.draft;
const PATCH: Shape = |kind| kind.patch;

impl PartialSchema for NewItem {
    fn schema() -> RefOr<Schema> {
        let with_id = |object: ObjectBuilder| object.property("id", chosen_id());
        of_each_kind("A new item.", DRAFT, with_id).into()
    }
}

impl PartialSchema for WrittenItem {
    fn schema() -> RefOr<Schema> {
        of_each_kind("Makes an item, or changes all that it names.", DRAFT, same).into()
    }
}

impl PartialSchema for PatchedItem {
    fn schema() -> RefOr<Schema> {
        let sentence = "Changes an item: what is absent stays, what is null goes.";
        of_each_kind(sentence, PATCH, same).into()
    }
}

impl PartialSchema for RestoredItem {
    fn schema() -> RefOr<Schema> {
        let body = any_object("As it was served before the item was deleted.");
        of_kind(None, body).into()
    }
}

impl PartialSchema for AnyState {
    fn schema() -> RefOr<Schema> {
        let states = kinds().into_iter().map(|kind| reference(STATE(kind)));
        let mut any = AnyOfBuilder::new();
        for state in states {
            any = any.item(state);
        }
        any.item(ObjectBuilder::new().schema_type(Type::Object))
            .into()
    }
}

/// Each change of a batch is refused by itself, for its kind and body, too. So both are described here as any value.
impl PartialSchema for ItemOps {
    fn schema() -> RefOr<Schema> {
        let op = |op: &str| closed().property("op", constant(op)).required("op");
        let written = |op: ObjectBuilder| {
            let any = ObjectBuilder::new().schema_type(Type::String);
            op.property("kind", any)
                .property(
                    "body",
                    any_object("What `POST` or `PATCH` takes of the kind, or what was served."),
                )
                .required("kind")
                .required("body")
        };
        let of_known = |op: ObjectBuilder| op.property("item", ItemId::schema()).required("item");
        let versioned = |op: ObjectBuilder| op.property("ifMatch", Option::<Seq>::schema());
        let op = OneOfBuilder::new()
            .item(versioned(written(op("put")).property("item", chosen_id())))
            .item(versioned(of_known(written(op("patch")))))
            .item(versioned(of_known(op("delete"))))
            .item(of_known(written(op("restore"))));
        let ops = ArrayBuilder::new()
            .items(op)
            .min_items(Some(1))
            .max_items(Some(BATCH_OPS_MAX));
        closed().property("ops", ops).required("ops").into()
    }
}

impl ToSchema for ItemOps {}

/// Adds the schemas to which a schema refers to the document.
macro_rules! referring {
    ($($name:ident: $($shape:expr),+;)+) => {
        $(impl ToSchema for $name {
            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                $(schemas.extend(kinds().into_iter().map($shape));)+
                schemas.extend(referred());
            }
        })+
    };
}
referring! {
    NewItem: DRAFT;
    WrittenItem: DRAFT;
    PatchedItem: PATCH;
    AnyState: STATE;
}

impl ToSchema for RestoredItem {}

fn of_each_kind(
    sentence: &str,
    shape: Shape,
    more: impl Fn(ObjectBuilder) -> ObjectBuilder,
) -> OneOfBuilder {
    let mut one_of = OneOfBuilder::new().description(Some(sentence));
    for kind in kinds() {
        let name = kind.kind.as_str().to_owned();
        let object = of_kind(Some(&name), reference(shape(kind)));
        one_of = one_of.item(more(object));
    }
    one_of
}

/// `kind`: `None` stands for any kind.
fn of_kind(kind: Option<&str>, body: RefOr<Schema>) -> ObjectBuilder {
    let any = ObjectBuilder::new().schema_type(Type::String);
    closed()
        .property("kind", kind.map_or(any, constant))
        .property("body", body)
        .required("kind")
        .required("body")
}

fn any_object(sentence: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(sentence))
        .into()
}

const fn same(object: ObjectBuilder) -> ObjectBuilder {
    object
}

fn reference((name, _): Named) -> RefOr<Schema> {
    Ref::from_schema_name(name).into()
}

fn constant(text: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some([text]))
}

/// An optional `UUIDv7` that the client chooses.
fn chosen_id() -> ObjectBuilder {
    const VERSION_7: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$";
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
        .pattern(Some(VERSION_7))
}
