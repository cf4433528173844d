//! Password hashes: argon2id, in a pool of half the cores.

mod hasher;
mod queue;

pub(super) use queue::{Asking, Use};

use super::{Error, Result};
use argon2::{
    Params, PasswordHasher, PasswordVerifier,
    password_hash::{PasswordHash, SaltString},
};
use hasher::Hasher;
use parking_lot::Mutex;
use queue::{Full, Queue};
use roost_schema::{ErrorCode, Secret};
use std::{sync::Arc, time::Duration};

/// OWASP's second recommendation for argon2id (Password Storage Cheat Sheet): 19 MiB, 2 passes.
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// When a client may come back after the queue was full.
const RETRY_FULL: Duration = Duration::from_secs(1);
/// The hash of no password, with the present parameters: verifying it takes as long as any other.
const DUMMY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and verifies passwords. At most half of the cores work on it. The queue is bounded, as is the share of each
/// use, network and account.
pub struct Passwords {
    queue: Arc<Queue>,
    /// Hashers that are not in use; there are never more than workers.
    hashers: Arc<Mutex<Vec<Hasher>>>,
}

impl Passwords {
    /// `cores`: the cores of this host.
    pub fn new(cores: usize) -> Self {
        Self {
            queue: Queue::new((cores / 2).max(1)),
            hashers: Arc::default(),
        }
    }

    /// The hash to keep, in PHC's string form.
    pub(super) async fn hash(&self, asking: Asking, password: &Secret) -> Result<Secret> {
        let password = password.clone();
        self.work(asking, move |hasher| {
            let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>())?;
            let password = password.expose().as_bytes();
            let hash = hasher.hash_password_customized(password, None, None, params()?, &salt)?;
            Ok(Secret::new(hash.to_string()))
        })
        .await
    }

    /// Whether this is the password of the hash. Without a hash it returns `false`, after as much work.
    pub(super) async fn verify(
        &self,
        asking: Asking,
        password: &Secret,
        hash: Option<&Secret>,
    ) -> Result<bool> {
        let password = password.clone();
        let hash = hash.map_or_else(|| DUMMY_HASH.to_owned(), |hash| hash.expose().to_owned());
        self.work(asking, move |hasher| {
            let hash = PasswordHash::new(&hash)?;
            match hasher.verify_password(password.expose().as_bytes(), &hash) {
                Ok(()) => Ok(true),
                Err(argon2::password_hash::Error::Password) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        asking: Asking,
        job: impl FnOnce(&Hasher) -> Result<T, argon2::password_hash::Error> + Send + 'static,
    ) -> Result<T> {
        let turn = self.queue.enter(asking).await.map_err(overloaded)?;
        // The job holds the turn: a caller that gives up does not free a core that is still working.
        let hashers = Arc::clone(&self.hashers);
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let kept = hashers.lock().pop();
            let hasher = kept.unwrap_or_default();
            let done = job(&hasher);
            hashers.lock().push(hasher);
            done
        });
        let done = work.await.map_err(|error| Error::Internal(error.into()))?;
        done.map_err(|error| Error::Internal(anyhow::anyhow!("password hash: {error}")))
    }
}

fn overloaded(_: Full) -> Error {
    Error::Later {
        code: ErrorCode::Overloaded,
        sentence: "too many people sign in at the moment; nothing was written",
        retry_after: RETRY_FULL,
    }
}

fn params() -> Result<Params, argon2::Error> {
    Params::new(MEMORY_KIB, PASSES, LANES, None)
}

#[cfg(test)]
mod tests;
