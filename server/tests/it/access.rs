//! Which role has which permission: the whole table on one page.

use roost_schema::Role;
use roost_server::app::{Permission, allows};
use std::fmt::Write;

#[test]
fn the_permission_table_is_as_committed() {
    insta::assert_snapshot!(table());
}

/// A permission that is missing from `Permission::ALL` would silently be missing from the table.
#[test]
fn every_permission_has_a_row() {
    let source = include_str!("../../src/app/access/mod.rs");
    let (_, after) = source.split_once("pub enum Permission {").unwrap();
    let (variants, _) = after.split_once('}').unwrap();
    let declared: Vec<&str> = variants
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .map(|line| line.trim_end_matches(','))
        .collect();
    let table = table();
    let rows: Vec<&str> = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(declared, rows);
}

fn table() -> String {
    let mut table = format!("{:<16}", "");
    for role in Role::ALL {
        write!(table, "{:<11}", role.as_str()).unwrap();
    }
    for permission in Permission::ALL {
        table.truncate(table.trim_end().len().max(1));
        write!(table, "\n{:<16}", format!("{permission:?}")).unwrap();
        for role in Role::ALL {
            let answer = if allows(role, permission) { "yes" } else { "-" };
            write!(table, "{answer:<11}").unwrap();
        }
    }
    table.trim_end().to_owned()
}
