//! The rows of any table, read from one database and inserted into another, as SQL literals.

use crate::support::World;
use chrono::TimeDelta;
use roost_migrations::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The table of applied migrations.
const MIGRATIONS: &str = "seaql_migrations";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Table {
    columns: Vec<String>,
    /// For each row, a literal for each column.
    rows: Vec<Vec<String>>,
    /// The last id that was given to a row: no id is given twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_number: Option<i64>,
}

pub(super) async fn dump(world: &World) -> BTreeMap<String, Table> {
    let mut tables = BTreeMap::new();
    for name in names(world).await {
        let columns: Vec<_> = columns(world, &name).await.into_keys().collect();
        let literals: Vec<_> = columns
            .iter()
            .enumerate()
            .map(|(number, column)| match world.sql.backend() {
                DbBackend::Sqlite => format!("quote({column}) AS value_{number}"),
                _ => format!("quote_nullable({column}::text) AS value_{number}"),
            })
            .collect();
        let query = format!("SELECT {} FROM {name} ORDER BY 1", literals.join(", "));
        let literal = |row: &QueryResult, number| {
            let value: String = row.try_get("", &format!("value_{number}")).unwrap();
            value
        };
        let rows = all(world, &query).await;
        let rows = rows
            .iter()
            .map(|row| {
                (0..columns.len())
                    .map(|number| literal(row, number))
                    .collect()
            })
            .collect();
        let last_number = last_number(world, &name).await;
        let table = Table {
            columns,
            rows,
            last_number,
        };
        tables.insert(name, table);
    }
    tables
}

/// The table of the journal, whose rows are sealed with their times.
const JOURNAL: &str = "journal";

/// Loads rows into a database with their schema. All times but the journal's are moved by `age`.
pub(super) async fn load(world: &World, tables: &BTreeMap<String, Table>, age: TimeDelta) {
    start_over(world, tables[MIGRATIONS].rows.len()).await;
    let mut waiting: Vec<_> = tables
        .iter()
        .filter(|(name, _)| *name != MIGRATIONS)
        .collect();
    // A table that refers to another one is loaded after it.
    while !waiting.is_empty() {
        let (before, mut later, mut failure) = (waiting.len(), Vec::new(), String::new());
        for (name, table) in waiting {
            let age = if *name == JOURNAL {
                TimeDelta::zero()
            } else {
                age
            };
            if let Err(error) = insert(world, name, table, age).await {
                failure = format!("{name}: {error}");
                later.push((name, table));
            }
        }
        assert!(later.len() < before, "{failure}");
        waiting = later;
    }
}

/// Moves the times of the journal's rows, too. Their seals would not hold any more, so they are removed.
pub(super) async fn age_journal(world: &World, age: TimeDelta) {
    let move_all = format!(
        "UPDATE {JOURNAL} SET at_ms = at_ms + {}, salt = NULL, body_hash = NULL, row_hash = NULL",
        age.num_milliseconds()
    );
    execute(world, &move_all).await.unwrap();
}

/// Empties the database and migrates it as far as the earlier release did.
async fn start_over(world: &World, migrations: usize) {
    if world.sql.backend() == DbBackend::Sqlite {
        execute(world, "PRAGMA foreign_keys = OFF").await.unwrap();
        for name in names(world).await {
            execute(world, &format!("DROP TABLE {name}")).await.unwrap();
        }
        execute(world, "PRAGMA foreign_keys = ON").await.unwrap();
    } else {
        let again = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
        execute(world, again).await.unwrap();
    }
    let steps = u32::try_from(migrations).unwrap();
    Migrator::up(&world.sql.write, Some(steps)).await.unwrap();
}

async fn insert(
    world: &World,
    name: &str,
    table: &Table,
    age: TimeDelta,
) -> Result<(), sea_orm::DbErr> {
    let types = columns(world, name).await;
    let is_postgres = world.sql.backend() != DbBackend::Sqlite;
    let overriding = if is_postgres {
        "OVERRIDING SYSTEM VALUE"
    } else {
        ""
    };
    let rows: Vec<_> = table
        .rows
        .iter()
        .map(|row| {
            let value = |(literal, column): (&String, &String)| match types[column].as_str() {
                // A transaction's number has no meaning on another server.
                "xid8" if literal != "NULL" => "pg_current_xact_id()".to_owned(),
                _ => moved(literal, column, age),
            };
            let values: Vec<_> = row.iter().zip(&table.columns).map(value).collect();
            format!("({})", values.join(", "))
        })
        .collect();
    if !rows.is_empty() {
        let (columns, rows) = (table.columns.join(", "), rows.join(",\n"));
        let insert = format!("INSERT INTO {name} ({columns}) {overriding} VALUES {rows}");
        execute(world, &insert).await?;
    }
    let Some(last) = table.last_number else {
        return Ok(());
    };
    let set = if is_postgres {
        format!("SELECT setval(pg_get_serial_sequence('{name}', 'id'), {last})")
    } else {
        format!(
            "DELETE FROM sqlite_sequence WHERE name = '{name}';
             INSERT INTO sqlite_sequence (name, seq) VALUES ('{name}', {last})"
        )
    };
    execute(world, &set).await
}

/// The end of a time's column name is its unit.
fn moved(literal: &str, column: &str, age: TimeDelta) -> String {
    let by = if column.ends_with("_us") {
        age.num_microseconds().unwrap()
    } else if column.ends_with("_ms") {
        age.num_milliseconds()
    } else {
        return literal.to_owned();
    };
    match literal.trim_matches('\'').parse::<i64>() {
        Ok(time) => (time + by).to_string(),
        Err(_) => literal.to_owned(),
    }
}

async fn names(world: &World) -> Vec<String> {
    let query = match world.sql.backend() {
        DbBackend::Sqlite => {
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        }
        _ => {
            "SELECT table_name::text AS name FROM information_schema.tables
             WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        }
    };
    let rows = all(world, query).await;
    rows.iter()
        .map(|row| row.try_get("", "name").unwrap())
        .collect()
}

/// The columns of a table and their types.
async fn columns(world: &World, table: &str) -> BTreeMap<String, String> {
    let query = match world.sql.backend() {
        DbBackend::Sqlite => format!("SELECT name, type FROM pragma_table_info('{table}')"),
        _ => format!(
            "SELECT column_name::text AS name, data_type::text AS type
             FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name = '{table}'"
        ),
    };
    let text = |row: &QueryResult, column| row.try_get("", column).unwrap();
    let rows = all(world, &query).await;
    rows.iter()
        .map(|row| (text(row, "name"), text(row, "type")))
        .collect()
}

async fn last_number(world: &World, table: &str) -> Option<i64> {
    let query = match world.sql.backend() {
        DbBackend::Sqlite => {
            format!("SELECT seq AS last FROM sqlite_sequence WHERE name = '{table}'")
        }
        _ => format!(
            "SELECT last_value AS last FROM pg_sequences WHERE schemaname = 'public'
             AND sequencename = '{table}_id_seq'"
        ),
    };
    let rows = all(world, &query).await;
    rows.first()?.try_get("", "last").unwrap()
}

async fn all(world: &World, query: &str) -> Vec<QueryResult> {
    let statement = Statement::from_string(world.sql.backend(), query);
    world.sql.write.query_all_raw(statement).await.unwrap()
}

async fn execute(world: &World, statement: &str) -> Result<(), sea_orm::DbErr> {
    world
        .sql
        .write
        .execute_unprepared(statement)
        .await
        .map(drop)
}
