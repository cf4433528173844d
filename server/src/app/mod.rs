//! What the product does. Every use case is a method on [`App`]; nothing here knows a transport.

mod access;
mod accounts;
mod counts;
mod error;
mod events;
mod instances;
mod items;
mod members;
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
pub use counts::Api;
pub use error::{Error, Result};
pub use events::BAD_TICKET;
pub use instances::NotAdmitted;
pub use items::ItemQuery;
pub use operations::Queued;
pub use passwords::Passwords;
pub use presence::Joined;
pub use revocations::{FENCED, RETRY_FENCED};
pub use tokens::{ACCESS_TOKEN_LIFETIME_MAX, StreamTicket, TICKET_LIFETIME, TokenSettings, Tokens};

use crate::{live::Live, store::Store};
use std::{ops::Deref, sync::Arc};

/// The use cases. Each request and each socket has one, so it is a pointer to what they need.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What the use cases need to run.
pub struct Parts {
    store: Store,
    live: Arc<Live>,
    tokens: Tokens,
    passwords: Passwords,
}

impl App {
    pub fn new(store: Store, live: Arc<Live>, tokens: Tokens, passwords: Passwords) -> Self {
        Self(Arc::new(Parts {
            store,
            live,
            tokens,
            passwords,
        }))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
