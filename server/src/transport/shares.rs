//! A budget of which one client address may take no more than a share.

use parking_lot::Mutex;
use std::{collections::HashMap, net::IpAddr, sync::Arc};

pub(super) struct Shares {
    taken: Mutex<Taken>,
    all_max: usize,
    share_max: usize,
}

#[derive(Default)]
struct Taken {
    total: usize,
    by_client: HashMap<IpAddr, usize>,
}

impl Shares {
    pub(super) fn new(all_max: usize, share_max: usize) -> Self {
        Self {
            taken: Mutex::default(),
            all_max,
            share_max,
        }
    }

    /// `false`, and nothing is taken: not as much is left for this client, or at all.
    pub(super) fn take(&self, client: IpAddr, amount: usize) -> bool {
        let mut taken = self.taken.lock();
        let held = taken.by_client.get(&client).copied().unwrap_or_default();
        let has_room = taken.total + amount <= self.all_max && held + amount <= self.share_max;
        if has_room && amount > 0 {
            taken.total += amount;
            taken.by_client.insert(client, held + amount);
        }
        has_room
    }

    pub(super) fn give_back(&self, client: IpAddr, amount: usize) {
        if amount == 0 {
            return;
        }
        let mut taken = self.taken.lock();
        taken.total -= amount;
        if let Some(held) = taken.by_client.get_mut(&client) {
            *held -= amount;
            if *held == 0 {
                taken.by_client.remove(&client);
            }
        }
    }

    /// Takes one, which is given back when it is dropped.
    pub(super) fn take_one(self: &Arc<Self>, client: IpAddr) -> Option<One> {
        self.take(client, 1).then(|| One {
            of: Arc::clone(self),
            client,
        })
    }

    /// How much is taken, and by how many clients.
    #[cfg(test)]
    pub(super) fn taken(&self) -> (usize, usize) {
        let taken = self.taken.lock();
        (taken.total, taken.by_client.len())
    }
}

pub(super) struct One {
    of: Arc<Shares>,
    client: IpAddr,
}

impl Drop for One {
    fn drop(&mut self) {
        self.of.give_back(self.client, 1);
    }
}
