//! Documents of `MongoDB`, as canonical extended JSON.

use crate::support::World;
use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use bson::{Binary, Bson, Document};
use chrono::TimeDelta;
use futures::TryStreamExt;
use mongodb::{Client, Database, options::ClientOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The one field with a time, in milliseconds.
const TIME: &str = "at";

pub(super) async fn dump(world: &World) -> BTreeMap<String, Vec<Value>> {
    let mut collections = BTreeMap::new();
    let Some(database) = database(world).await else {
        return collections;
    };
    for name in database.list_collection_names().await.unwrap() {
        let collection = database.collection::<Document>(&name);
        let found = collection.find(bson::doc! {}).await.unwrap();
        let found: Vec<Document> = found.try_collect().await.unwrap();
        let documents = found
            .into_iter()
            .map(|document| json(&Bson::Document(document)))
            .collect();
        collections.insert(name, documents);
    }
    collections
}

pub(super) async fn load(world: &World, collections: &BTreeMap<String, Vec<Value>>) {
    for (name, documents) in collections {
        let database = database(world).await.unwrap();
        let documents = documents.iter().map(bson);
        let documents = documents.map(|document| document.as_document().unwrap().clone());
        let documents: Vec<_> = documents.collect();
        let collection = database.collection::<Document>(name);
        collection.insert_many(documents).await.unwrap();
    }
}

/// Moves the times of the journal's documents. Their seals would not hold any more, so they are removed.
pub(super) async fn age_journal(world: &World, age: TimeDelta) {
    let Some(database) = database(world).await else {
        return;
    };
    let journal = database.collection::<Document>("journal");
    let move_all = bson::doc! {
        "$inc": { TIME: age.num_milliseconds() },
        "$unset": { "salt": "", "bodyHash": "", "rowHash": "" },
    };
    journal.update_many(bson::doc! {}, move_all).await.unwrap();
}

/// `None` when the journal is in the relational database.
async fn database(world: &World) -> Option<Database> {
    if world.journal_url.is_empty() {
        return None;
    }
    let options = ClientOptions::parse(&world.journal_url).await.unwrap();
    let name = options.default_database.clone().unwrap();
    Some(Client::with_options(options).unwrap().database(&name))
}

/// Converts the BSON types that the server writes.
fn json(value: &Bson) -> Value {
    match value {
        Bson::Document(document) => document
            .iter()
            .map(|(name, value)| (name.clone(), json(value)))
            .collect(),
        Bson::Array(items) => items.iter().map(json).collect(),
        Bson::Binary(binary) => json!({ "$binary": {
            "base64": BASE64.encode(&binary.bytes),
            "subType": format!("{:02x}", u8::from(binary.subtype)),
        } }),
        Bson::Int64(number) => json!({ "$numberLong": number.to_string() }),
        Bson::Int32(number) => json!({ "$numberInt": number.to_string() }),
        Bson::String(text) => text.as_str().into(),
        Bson::Boolean(value) => (*value).into(),
        Bson::Null => Value::Null,
        other => panic!("a type that is not written here yet: {other:?}"),
    }
}

fn bson(value: &Value) -> Bson {
    let text = |name| value.get(name).and_then(Value::as_str);
    if let Some(number) = text("$numberLong") {
        return Bson::Int64(number.parse().unwrap());
    }
    if let Some(number) = text("$numberInt") {
        return Bson::Int32(number.parse().unwrap());
    }
    if let Some(binary) = value.get("$binary") {
        let subtype = binary["subType"].as_str().unwrap();
        return Bson::Binary(Binary {
            subtype: u8::from_str_radix(subtype, 16).unwrap().into(),
            bytes: BASE64.decode(binary["base64"].as_str().unwrap()).unwrap(),
        });
    }
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| (name.clone(), bson(value));
            Bson::Document(fields.iter().map(field).collect())
        }
        Value::Array(items) => Bson::Array(items.iter().map(bson).collect()),
        Value::String(text) => Bson::String(text.clone()),
        Value::Bool(value) => Bson::Boolean(*value),
        Value::Null => Bson::Null,
        Value::Number(number) => panic!("a number without a type: {number}"),
    }
}
