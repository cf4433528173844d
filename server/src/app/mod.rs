//! What the product does. Every use case is a method on [`App`]; nothing here knows a transport.

mod access;
mod accounts;
mod error;
mod events;
mod instances;
mod items;
mod members;
mod messages;
mod operations;
mod outbox;
mod page;
mod passwords;
mod peers;
mod presence;
mod revocations;
mod rooms;
mod sessions;
mod speaks;
mod tokens;
mod upkeep;
mod users;

pub use access::{Actor, Origin, Permission, allows, network};
pub use error::{Error, Result};
pub use events::BAD_TICKET;
pub use instances::NotAdmitted;
pub use passwords::Passwords;
pub use presence::Joined;
pub use revocations::{FENCED, RETRY_FENCED};
pub use tokens::{ACCESS_TOKEN_LIFETIME_MAX, StreamTicket, TICKET_LIFETIME, TokenSettings, Tokens};

use crate::{live::Live, store::Store};
use std::sync::Arc;

/// The use cases, with what they need to run. Cheap to clone.
#[derive(Clone)]
pub struct App {
    store: Store,
    live: Arc<Live>,
    tokens: Arc<Tokens>,
    passwords: Arc<Passwords>,
}

impl App {
    pub fn new(store: Store, live: Arc<Live>, tokens: Tokens, passwords: Passwords) -> Self {
        Self {
            store,
            live,
            tokens: Arc::new(tokens),
            passwords: Arc::new(passwords),
        }
    }
}
