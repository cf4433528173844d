//! How many connections there may be: of all clients, and of each address.

use super::limits::network;
use crate::config::Config;
use ipnet::IpNet;
use parking_lot::Mutex;
use std::{collections::HashMap, net::IpAddr, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One address may hold one in this many of all connections.
const ADDRESS_SHARE: u32 = 10;
/// However few there may be in all, one address may hold this many.
const ADDRESS_CONNECTIONS_MIN: u32 = 64;

/// Counts the connections, of all clients and of each address, which may have no more than a share.
pub(super) struct Slots {
    all: Arc<Semaphore>,
    shares: Arc<AddressShares>,
    /// Proxies connect for many clients, so their connections do not count against their own address.
    trusted_proxies: Vec<IpNet>,
}

impl Slots {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            all: Arc::new(Semaphore::new(config.connections_max as usize)),
            shares: Arc::new(AddressShares {
                held: Mutex::default(),
                max: (config.connections_max / ADDRESS_SHARE).max(ADDRESS_CONNECTIONS_MIN),
            }),
            trusted_proxies: config.trusted_proxies.clone(),
        }
    }

    pub(super) fn take(&self, peer: IpAddr) -> Option<Slot> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let peer = peer.to_canonical();
        let slot = Slot {
            holder: Mutex::default(),
            shares: Arc::clone(&self.shares),
            _permit: permit,
        };
        let is_proxy = self.trusted_proxies.iter().any(|net| net.contains(&peer));
        (is_proxy || slot.pass_to(peer)).then_some(slot)
    }
}

/// How many connections each address has.
struct AddressShares {
    held: Mutex<HashMap<IpAddr, u32>>,
    max: u32,
}

impl AddressShares {
    fn take(&self, address: IpAddr) -> bool {
        let mut held = self.held.lock();
        let held = held.entry(address).or_default();
        let has_room = *held < self.max;
        *held += u32::from(has_room);
        has_room
    }

    fn give_back(&self, address: IpAddr) {
        let mut held = self.held.lock();
        if let Some(count) = held.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                held.remove(&address);
            }
        }
    }
}

/// One connection among those that are counted, until it is dropped.
pub(super) struct Slot {
    /// The client that the connection counts for. A proxy's connection counts for the client of its last request.
    holder: Mutex<Option<IpAddr>>,
    shares: Arc<AddressShares>,
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    /// Counts the connection for this client. `false`: the client has as many as it may have.
    pub(super) fn pass_to(&self, client: IpAddr) -> bool {
        let client = network(client);
        let mut holder = self.holder.lock();
        if *holder == Some(client) {
            return true;
        }
        if !self.shares.take(client) {
            return false;
        }
        if let Some(before) = holder.replace(client) {
            self.shares.give_back(before);
        }
        true
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(holder) = self.holder.get_mut().take() {
            self.shares.give_back(holder);
        }
    }
}
