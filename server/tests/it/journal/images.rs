//! Entries as a store keeps them, column by column, so that a test can change one bit behind the journal's back and
//! restore everything afterwards.

use super::stores::Store;
use bson::{Binary, Bson, Document, spec::BinarySubtype};
use futures::TryStreamExt;
use roost_schema::{RoomId, Seq};
use roost_server::store::Sql;
use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};
use uuid::Uuid;

/// One stored value. `None` is an empty column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Int(i64),
    Flag(bool),
    Id(Uuid),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    Texts(Vec<String>),
}

/// A stored entry: its columns in their order.
pub(super) type Image = Vec<(String, Cell)>;

type ReadCell = fn(&QueryResult, &str) -> Cell;

const COLUMNS: [(&str, ReadCell); 18] = [
    ("room", id),
    ("seq", int),
    ("item", id),
    ("kind", text),
    ("op", text),
    ("actor", id),
    ("op_id", text),
    ("request_hash", bytes),
    ("asked_hash", bytes),
    ("at_ms", int),
    ("born", int),
    ("is_current", flag),
    ("size_bytes", int),
    ("body", text),
    ("terms", text),
    ("salt", bytes),
    ("body_hash", bytes),
    ("row_hash", bytes),
];

/// Reads and changes stored entries directly.
pub(super) enum Images {
    Sql(Sql),
    Mongo(mongodb::Collection<Document>),
}

impl Images {
    pub(super) async fn of(store: &Store) -> Self {
        if store.is_sql() {
            return Self::Sql(store.sql().await);
        }
        Self::Mongo(store.mongo_database().await.collection("journal"))
    }

    /// All entries of a room, by seq.
    pub(super) async fn read(&self, room: RoomId) -> Vec<Image> {
        match self {
            Self::Sql(sql) => {
                let text = "SELECT * FROM journal WHERE room = $1 ORDER BY seq";
                let values = [room.as_uuid().into()];
                let query = Statement::from_sql_and_values(sql.backend(), text, values);
                let rows = sql.read.query_all_raw(query).await.unwrap();
                rows.iter().map(image).collect()
            }
            Self::Mongo(entries) => {
                let filter = bson::doc! { "room": bson::Uuid::from(room.as_uuid()) };
                let found = entries.find(filter).sort(bson::doc! { "seq": 1 });
                let documents: Vec<_> = found.await.unwrap().try_collect().await.unwrap();
                documents.into_iter().map(image_of_document).collect()
            }
        }
    }

    /// Removes entries and inserts others, in one step.
    pub(super) async fn replace(&self, old: &[Image], new: &[Image]) {
        match self {
            Self::Sql(sql) => replace_rows(sql, old, new).await,
            Self::Mongo(entries) => {
                let ids: Vec<_> = old
                    .iter()
                    .map(|image| document(image).remove("_id"))
                    .collect();
                let filter = bson::doc! { "_id": { "$in": ids } };
                entries.delete_many(filter).await.unwrap();
                if !new.is_empty() {
                    let new = new.iter().map(document);
                    entries.insert_many(new).await.unwrap();
                }
            }
        }
    }
}

/// The value in a column.
pub(super) fn cell<'a>(image: &'a mut Image, column: &str) -> &'a mut Cell {
    let found = image.iter_mut().find(|(name, _)| name == column);
    &mut found.unwrap().1
}

pub(super) fn seq(image: &Image) -> Seq {
    let found = image.iter().find(|(name, _)| name == "seq");
    match found {
        Some((_, Cell::Int(seq))) => Seq(seq.unsigned_abs()),
        _ => panic!("no seq in {image:?}"),
    }
}

async fn replace_rows(sql: &Sql, old: &[Image], new: &[Image]) {
    let transaction = sql.begin().await.unwrap();
    for image in old {
        let text = "DELETE FROM journal WHERE room = $1 AND seq = $2";
        let values = image.iter().take(2).map(|(_, cell)| value(cell));
        let delete = Statement::from_sql_and_values(sql.backend(), text, values);
        let deleted = transaction.execute_raw(delete).await.unwrap();
        assert_eq!(deleted.rows_affected(), 1);
    }
    for image in new {
        let names: Vec<_> = image.iter().map(|(name, _)| name.as_str()).collect();
        let places: Vec<_> = (1..=image.len()).map(|place| format!("${place}")).collect();
        let text = format!(
            "INSERT INTO journal ({}) VALUES ({})",
            names.join(", "),
            places.join(", ")
        );
        let values = image.iter().map(|(_, cell)| value(cell));
        let insert = Statement::from_sql_and_values(sql.backend(), text, values);
        transaction.execute_raw(insert).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

fn image(row: &QueryResult) -> Image {
    let column = |(name, read): &(&str, ReadCell)| ((*name).to_owned(), read(row, name));
    COLUMNS.iter().map(column).collect()
}

fn id(row: &QueryResult, column: &str) -> Cell {
    Cell::Id(row.try_get("", column).unwrap())
}

fn int(row: &QueryResult, column: &str) -> Cell {
    Cell::Int(row.try_get("", column).unwrap())
}

fn flag(row: &QueryResult, column: &str) -> Cell {
    Cell::Flag(row.try_get("", column).unwrap())
}

fn text(row: &QueryResult, column: &str) -> Cell {
    Cell::Text(row.try_get("", column).unwrap())
}

fn bytes(row: &QueryResult, column: &str) -> Cell {
    Cell::Bytes(row.try_get("", column).unwrap())
}

fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Int(number) => (*number).into(),
        Cell::Flag(flag) => (*flag).into(),
        Cell::Id(id) => (*id).into(),
        Cell::Text(text) => text.clone().into(),
        Cell::Bytes(bytes) => bytes.clone().into(),
        Cell::Texts(_) => panic!("a row has no lists"),
    }
}

fn image_of_document(document: Document) -> Image {
    let cell = |value| match value {
        Bson::Int64(number) => Cell::Int(number),
        Bson::Boolean(flag) => Cell::Flag(flag),
        Bson::String(text) => Cell::Text(Some(text)),
        Bson::Array(texts) => {
            let text = |text: Bson| text.as_str().unwrap().to_owned();
            Cell::Texts(texts.into_iter().map(text).collect())
        }
        Bson::Binary(binary) if binary.subtype == BinarySubtype::Uuid => {
            Cell::Id(binary.to_uuid().unwrap().into())
        }
        Bson::Binary(binary) => Cell::Bytes(Some(binary.bytes)),
        other => panic!("a document has no {other:?}"),
    };
    let fields = document.into_iter();
    fields.map(|(name, value)| (name, cell(value))).collect()
}

fn document(image: &Image) -> Document {
    let bson = |cell: &Cell| match cell.clone() {
        Cell::Int(number) => Bson::Int64(number),
        Cell::Flag(flag) => Bson::Boolean(flag),
        Cell::Id(id) => bson::Uuid::from(id).into(),
        Cell::Text(text) => Bson::String(text.unwrap()),
        Cell::Texts(texts) => texts.into(),
        Cell::Bytes(bytes) => Bson::Binary(Binary {
            subtype: BinarySubtype::Generic,
            bytes: bytes.unwrap(),
        }),
    };
    let fields = image.iter();
    fields
        .map(|(name, cell)| (name.clone(), bson(cell)))
        .collect()
}
