//! The use cases. Each is a method on [`App`], and independent of the transport.

mod access;
mod accounts;
mod api;
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
pub use api::Api;
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

/// The use cases. Each request and each socket has a clone, so it is one pointer.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts that the use cases call.
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
