//! Something there is so much of, and of which one client address has a share only.

use parking_lot::{Mutex, MutexGuard};
use std::{collections::HashMap, net::IpAddr, sync::Arc};

pub(super) struct Shares {
    books: Mutex<Books>,
    all_max: usize,
    share_max: usize,
}

#[derive(Default)]
struct Books {
    taken: usize,
    by_client: HashMap<IpAddr, usize>,
}

impl Shares {
    pub(super) fn new(all_max: usize, share_max: usize) -> Self {
        Self {
            books: Mutex::default(),
            all_max,
            share_max,
        }
    }

    /// `false`, and nothing taken: there is not as much left, for this client or at all.
    pub(super) fn take(&self, client: IpAddr, amount: usize) -> bool {
        let mut books = self.books();
        let held = books.by_client.get(&client).copied().unwrap_or_default();
        let has_room = books.taken + amount <= self.all_max && held + amount <= self.share_max;
        if has_room && amount > 0 {
            books.taken += amount;
            books.by_client.insert(client, held + amount);
        }
        has_room
    }

    pub(super) fn give_back(&self, client: IpAddr, amount: usize) {
        if amount == 0 {
            return;
        }
        let mut books = self.books();
        books.taken -= amount;
        if let Some(held) = books.by_client.get_mut(&client) {
            *held -= amount;
            if *held == 0 {
                books.by_client.remove(&client);
            }
        }
    }

    /// One of them, until it is dropped.
    pub(super) fn take_one(self: &Arc<Self>, client: IpAddr) -> Option<One> {
        self.take(client, 1).then(|| One {
            of: Arc::clone(self),
            client,
        })
    }

    /// How much is taken, and by how many.
    #[cfg(test)]
    pub(super) fn taken(&self) -> (usize, usize) {
        let books = self.books();
        (books.taken, books.by_client.len())
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock()
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
