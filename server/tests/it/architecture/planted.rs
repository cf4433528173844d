//! Texts that break a rule of the layers, each of which must be caught, and texts that break none.

use super::violations;

/// A file, and a text in it that breaks a rule.
const PLANTED: &[(&str, &str)] = &[
    ("app/rooms.rs", "use crate::transport::rest;"),
    ("app/rooms.rs", "use crate::{live::Live, transport};"),
    (
        "app/rooms.rs",
        "use crate::{store::{Rooms, Sql}, boot::{self, Server}};",
    ),
    (
        "app/rooms.rs",
        "fn f() -> crate::transport::Answer { todo!() }",
    ),
    ("app/rooms.rs", "use super::super::transport;"),
    ("app/mod.rs", "use super::{boot, live};"),
    ("app/rooms.rs", "use crate::*;"),
    ("app/rooms.rs", "use crate as roost; use roost::transport;"),
    ("app/rooms.rs", "use crate::{self as roost};"),
    ("app/rooms.rs", "use axum::Json;"),
    (
        "app/rooms.rs",
        "fn f(_: &async_graphql::Context<'_>, x: char) { x == '\"' ; }",
    ),
    ("app/rooms.rs", "use {socketioxide::SocketIo, std::fmt};"),
    ("live/bus.rs", "use crate::app::App;"),
    ("live/bus.rs", "use crate::store::Sql;"),
    ("live/bus.rs", "use crate::store::{journal::Entry, Sql};"),
    ("live/bus.rs", "use crate::store;"),
    ("live/bus.rs", "use crate::store::*;"),
    ("live/bus.rs", "use super::super::store::Rooms;"),
    ("store/rooms.rs", "use crate::live::Live;"),
    ("store/journal/sql.rs", "use crate::{app::Error};"),
    ("transport/rest/rooms.rs", "use sea_orm::DbErr;"),
    ("transport/rest/rooms.rs", "fn f(_: ::mongodb::Client) {}"),
    (
        "transport/rest/rooms.rs",
        "mod inner { use fred::prelude::*; }",
    ),
    (
        "transport/rest/rooms.rs",
        "use crate::store::journal::SqlJournal;",
    ),
    (
        "app/rooms.rs",
        "use crate::store::journal as j; fn f(_: j::MongoJournal) {}",
    ),
    ("app/rooms.rs", "use crate::live::RedisBackplane;"),
    (
        "transport/sockets/rooms.rs",
        "use socketioxide::extract::SocketRef;",
    ),
    (
        "transport/sockets/commands.rs",
        "use crate::transport::socketio::EngineSessions;",
    ),
    (
        "main.rs",
        "fn main() { roost_server::store::journal::SqlJournal; }",
    ),
    ("boot.rs", "let x = std::env::var(\"X\");"),
    (
        "app/rooms.rs",
        "use std::env; fn f() { env::var_os(\"X\"); }",
    ),
    ("app/rooms.rs", "use std::{env::{vars}, fmt};"),
    ("config.rs", "use crate::app::App;"),
    ("app/rooms.rs", "use crate::doctor;"),
    ("doctor.rs", "use crate::transport;"),
    ("doctor/database.rs", "use sea_orm::Statement;"),
    ("app/rooms.rs", "use crate::store::entity::room;"),
    (
        "app/rooms.rs",
        "use crate::store as s; fn f(_: s::entity::room::Model) {}",
    ),
    ("boot.rs", "use crate::{app::App, store::{entity, Store}};"),
    ("live/sweep.rs", "use crate::store::entity::member;"),
    ("live/room/feed.rs", "use crate::live::cluster::Backplane;"),
    ("live/room/feed.rs", "use super::super::cluster::Fence;"),
    ("live/room/mod.rs", "use super::{Damage, cluster::Fence};"),
    ("live/room/mod.rs", "use super::{Backplane, LiveError};"),
    (
        "live/presence/awareness.rs",
        "use crate::live::{Bucket, LiveRoom};",
    ),
    ("live/presence/mod.rs", "use super::cluster;"),
    ("app/rooms.rs", "use crate::store::{ActingMember, Rooms};"),
    (
        "app/items/engine.rs",
        "fn f(_: crate::store::ActingMember) {}",
    ),
    ("transport/rest/rooms.rs", "use crate::store::ActingMember;"),
    (
        "store/members.rs",
        "ActingMember::vouch_for(room, user, role, Read)",
    ),
    (
        "store/rooms.rs",
        "ActingMember::<Read>::vouch_for(room, user, role, Read)",
    ),
];

#[test]
fn planted_violations_are_caught() {
    for (file, text) in PLANTED {
        assert!(!violations(file, text).is_empty(), "{file}: {text}");
    }
}

#[test]
fn what_is_allowed_is_not_caught() {
    let good = [
        (
            "app/rooms.rs",
            "use super::{Actor, App}; use crate::{live::Live, store::{Store, StoreError}};",
        ),
        (
            "app/rooms.rs",
            "//! Nothing of crate::transport or axum.\n/* std::env::var /* axum */ axum */",
        ),
        (
            "app/rooms.rs",
            "const A: &str = \"crate::transport\"; const B: &str = r#\"axum \"::\" x\"#;",
        ),
        ("app/rooms.rs", "fn f<'a>(x: &'a str) -> char { '\"' }"),
        (
            "app/rooms.rs",
            "mod tests { use super::super::*; use super::*; }",
        ),
        (
            "live/bus.rs",
            "use crate::store::journal::{Entry, Journal};",
        ),
        ("live/bus.rs", "use crate::{store::{journal::{self}}};"),
        ("store/journal/sql.rs", "pub struct SqlJournal;"),
        ("store/journal/sql.rs", "use super::super::sql::Sql;"),
        (
            "boot.rs",
            "use crate::{app::App, config::Config, store::journal::MongoJournal, transport};",
        ),
        (
            "config.rs",
            "let x = std::env::var(\"X\"); let y = env!(\"CARGO\");",
        ),
        (
            "doctor/journal.rs",
            "use super::Check; use crate::store::journal::MongoJournal;",
        ),
        ("transport/rest/mod.rs", "use axum::Router;"),
        (
            "transport/socketio/reply.rs",
            "use crate::transport::sockets::Reply; use socketioxide::extract::SocketRef;",
        ),
        ("main.rs", "use roost_server::boot;"),
        (
            "store/rooms.rs",
            "use super::{Sql, entity::{Micros, room}};",
        ),
        (
            "store/members.rs",
            "use super::{ActingMember, Read}; fn f(_: ActingMember<Read>) {}",
        ),
        (
            "app/access/mod.rs",
            "use crate::store::ActingMember; fn f() { ActingMember::vouch_for(a, b, c, d); }",
        ),
        (
            "store/entity/member.rs",
            "use super::{Micros, room}; use sea_orm::entity::prelude::*;",
        ),
    ];
    for (file, text) in good {
        assert_eq!(violations(file, text), Vec::<String>::new(), "{text}");
    }
}
