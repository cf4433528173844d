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
const DUMMY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and verifies passwords. At most half of the cores work on it. The queue is bounded, as is the share of each use,
/// network and account.
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
mod tests {
    use super::*;
    use futures::FutureExt;
    use roost_schema::UserId;
    use std::net::Ipv4Addr;

    fn asking(purpose: Use, account: Option<UserId>) -> Asking {
        Asking {
            purpose,
            network: Ipv4Addr::LOCALHOST.into(),
            account,
        }
    }

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_only() {
        let passwords = Passwords::new(2);
        let somebody = asking(Use::SignIn, None);
        let right = Secret::new("correct horse");
        let hash = passwords.hash(somebody, &right).await.unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(
            passwords
                .verify(somebody, &right, Some(&hash))
                .await
                .unwrap()
        );
        let wrong = Secret::new("correct horsf");
        assert!(
            !passwords
                .verify(somebody, &wrong, Some(&hash))
                .await
                .unwrap()
        );
        let other = passwords.hash(somebody, &right).await.unwrap();
        assert_ne!(hash, other, "each hash has its own salt");
    }

    #[tokio::test]
    async fn nobodys_hash_costs_as_much_and_never_matches() {
        let nobody = PasswordHash::new(DUMMY_HASH).unwrap();
        let params = Params::try_from(&nobody).unwrap();
        assert_eq!(params.m_cost(), MEMORY_KIB);
        assert_eq!(params.t_cost(), PASSES);
        assert_eq!(params.p_cost(), LANES);
        let passwords = Passwords::new(2);
        let somebody = asking(Use::SignIn, None);
        assert!(
            !passwords
                .verify(somebody, &Secret::new(""), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn a_full_queue_says_when_to_come_back() {
        let passwords = Passwords::new(2);
        let asking = asking(Use::Change, Some(UserId::generate()));
        let held = passwords.queue.enter(asking).await.ok().unwrap();
        let password = Secret::new("correct horse");
        let (mut one, mut two) = (
            Box::pin(passwords.hash(asking, &password)),
            Box::pin(passwords.hash(asking, &password)),
        );
        assert!((&mut one).now_or_never().is_none() && (&mut two).now_or_never().is_none());
        let refused = passwords.hash(asking, &password).await.unwrap_err();
        let refused = refused.report();
        assert_eq!(refused.code, ErrorCode::Overloaded);
        assert_eq!(refused.retry_after_ms, Some(1_000));
        drop(held);
        assert!(one.await.is_ok() && two.await.is_ok());
    }
}
