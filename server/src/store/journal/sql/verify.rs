//! Checks, on pooled connections, that the database is as durable as the promises need.

use crate::store::{
    journal::{JournalError, Result, encoding::unsound},
    sql::Sql,
};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

/// The unique indexes, each with the end of its definition as both databases store it.
const UNIQUE_INDEXES: [(&str, &str); 2] = [
    ("journal_slot", "(room, seq)"),
    ("journal_operation", "(room, actor, op_id)"),
];

pub(super) async fn verify(sql: &Sql) -> Result<()> {
    match sql.backend() {
        DbBackend::Sqlite => verify_sqlite(sql).await,
        _ => verify_postgres(sql).await,
    }
}

async fn verify_sqlite(sql: &Sql) -> Result<()> {
    for connection in [&sql.write, &sql.read] {
        expect(connection, "PRAGMA journal_mode", "journal_mode", &["wal"]).await?;
    }
    let synchronous = "SELECT CAST(synchronous AS text) AS synchronous FROM pragma_synchronous";
    expect(&sql.write, synchronous, "synchronous", &["2", "3"]).await?;
    for (name, columns) in UNIQUE_INDEXES {
        let definition = format!(
            "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = '{name}'
            AND tbl_name = 'journal'"
        );
        expect_unique(&sql.write, &definition, name, columns).await?;
    }
    Ok(())
}

async fn verify_postgres(sql: &Sql) -> Result<()> {
    let local = ["on", "remote_write", "remote_apply"];
    for (setting, accepted) in [("synchronous_commit", &local[..]), ("fsync", &["on"])] {
        let question = format!("SELECT current_setting('{setting}') AS value");
        expect(&sql.write, &question, "value", accepted).await?;
    }
    for (name, columns) in UNIQUE_INDEXES {
        let definition = format!(
            "SELECT pg_get_indexdef(indexrelid) AS sql FROM pg_index
            WHERE indexrelid = to_regclass('{name}') AND indrelid = to_regclass('journal')
            AND indisvalid AND indisunique"
        );
        expect_unique(&sql.write, &definition, name, columns).await?;
    }
    Ok(())
}

async fn expect_unique(
    connection: &DatabaseConnection,
    question: &str,
    name: &str,
    columns: &str,
) -> Result<()> {
    let definition = ask(connection, question, "sql").await?.unwrap_or_default();
    let (head, filter) = definition.split_once(columns).unwrap_or_default();
    // The slot's index covers every row; the operation's index only rows that have an op id.
    let filter = filter.to_lowercase().replace(['(', ')'], "");
    let is_right = match filter.trim() {
        "" => name == "journal_slot",
        "where op_id is not null" => name == "journal_operation",
        _ => false,
    };
    if head.starts_with("CREATE UNIQUE INDEX") && is_right {
        return Ok(());
    }
    Err(JournalError::Unsound(format!(
        "the unique index {name} {columns} is not there"
    )))
}

async fn expect(
    connection: &DatabaseConnection,
    question: &str,
    setting: &str,
    accepted: &[&str],
) -> Result<()> {
    match ask(connection, question, setting).await? {
        Some(value) if accepted.contains(&value.as_str()) => Ok(()),
        value => Err(JournalError::Unsound(format!(
            "`{question}` answers {value:?}, acknowledged writes need one of {accepted:?}"
        ))),
    }
}

/// The text in one column of the first row.
async fn ask(
    connection: &DatabaseConnection,
    question: &str,
    column: &str,
) -> Result<Option<String>> {
    let backend = connection.get_database_backend();
    let answer = connection
        .query_one_raw(Statement::from_string(backend, question))
        .await;
    let row = answer.map_err(|error| JournalError::Unavailable(error.into()))?;
    row.map(|row| row.try_get("", column))
        .transpose()
        .map_err(unsound)
}
