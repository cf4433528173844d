//! The stores of all facts. Rows and documents never leave this module.

mod acting_member;
mod chores;
mod clock;
mod diagnostics;
mod entity;
mod instances;
pub mod journal;
mod keys;
mod members;
mod operations;
mod outbox;
mod postgres;
mod private;
mod refresh_tokens;
mod revocations;
mod room_change;
mod rooms;
mod sessions;
mod sql;
mod transaction;
mod users;

pub use acting_member::{ActingMember, ManageMembers, Read};
pub use chores::{Chore, Chores};
pub use clock::{CLOCK_DRIFT_MAX, Clock};
pub use diagnostics::{DatabaseDiagnostics, Migrations};
pub use instances::{Instances, KeptInstance, LEASE, NewInstance};
pub use keys::Keys;
pub use members::{Invitee, MEMBERS_PER_ROOM_MAX, MemberKey, Members, Removal};
pub use operations::{Known, Operation, Operations, Owner};
pub use outbox::{Claim, Outbox, OutboxEvent, OutboxRow};
pub use private::Exposed;
pub use refresh_tokens::{FirstToken, Place};
pub use revocations::{Horizon, Revocations, RevokedSessions};
pub use room_change::{ROOMS_PER_PERSON_MAX, RoomError};
pub use rooms::{NewRoom, RoomEdit, Rooms};
pub use sessions::{
    Exchange, KeptSession, NewSession, Opened, Renewed, SESSION_IDLE_MAX, SESSIONS_PER_PERSON_MAX,
    Sessions,
};
pub use sql::{DataLock, Sql, lock_data};
pub use users::{Account, Created, NewUser, PasswordChange, USERS_FOUND_MAX, Users};

use chrono::{DateTime, Utc};
use journal::Journal;
use std::sync::Arc;

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or is too busy. Nothing was written.
    #[error("the store is unavailable")]
    Unavailable(#[source] anyhow::Error),
    /// Another transaction was in the way. Nothing was written, and the same transaction may succeed when it is
    /// repeated.
    #[error("another transaction got in the way")]
    Contended(#[source] anyhow::Error),
    /// The connection broke while a transaction was being committed.
    #[error("the outcome of a transaction is unknown")]
    OutcomeUnknown(#[source] anyhow::Error),
    /// A bug: a statement that the store does not understand, or a row that cannot be read.
    #[error("the store refuses")]
    Broken(#[source] anyhow::Error),
}

impl StoreError {
    /// The error for stored data that this program cannot have written.
    fn unreadable(cause: impl Into<anyhow::Error>) -> Self {
        Self::Broken(cause.into())
    }
}

/// The relational facts, one type per noun, and the journal, which is a port.
#[derive(Clone)]
pub struct Store {
    pub sql: Sql,
    pub journal: Arc<dyn Journal>,
    pub clock: Clock,
    pub chores: Chores,
    pub rooms: Rooms,
    pub members: Members,
    pub outbox: Outbox,
    pub users: Users,
    pub sessions: Sessions,
    pub revocations: Revocations,
    pub keys: Keys,
    pub instances: Instances,
    pub operations: Operations,
}

impl Store {
    pub fn new(sql: Sql, journal: Arc<dyn Journal>, clock: Clock) -> Self {
        Self {
            chores: Chores::new(sql.clone()),
            rooms: Rooms::new(sql.clone(), clock.clone()),
            members: Members::new(sql.clone(), clock.clone()),
            outbox: Outbox::new(sql.clone()),
            users: Users::new(sql.clone(), clock.clone()),
            sessions: Sessions::new(sql.clone(), clock.clone()),
            revocations: Revocations::new(sql.clone()),
            keys: Keys::new(sql.clone()),
            instances: Instances::new(sql.clone()),
            operations: Operations::new(sql.clone(), clock.clone()),
            sql,
            journal,
            clock,
        }
    }

    /// Database time, in whole microseconds.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}
