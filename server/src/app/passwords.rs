//! Password hashes: argon2id, in a pool of half the cores.

use super::{Error, Result};
use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version,
    password_hash::{PasswordHash, SaltString},
};
use roost_schema::{ErrorCode, Secret};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// OWASP's second recommendation for argon2id (Password Storage Cheat Sheet): 19 MiB, 2 passes.
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// How many may wait for each worker: at some 30 ms a hash, the last one waits for a second.
const QUEUE_PER_WORKER: usize = 32;
/// When to come back after the queue was full.
const RETRY_FULL: Duration = Duration::from_secs(1);
/// The hash of no password, with today's parameters: verifying it takes as long as any other.
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and verifies passwords. At most half the cores work on it; a bounded number wait.
pub struct Passwords {
    workers: Arc<Semaphore>,
    /// Those who work and those who wait.
    places: Arc<Semaphore>,
}

impl Passwords {
    /// `cores`: how many this host has.
    pub fn new(cores: usize) -> Self {
        let workers = (cores / 2).max(1);
        Self {
            workers: Arc::new(Semaphore::new(workers)),
            places: Arc::new(Semaphore::new(workers * (1 + QUEUE_PER_WORKER))),
        }
    }

    /// The hash to keep, in PHC's string form.
    pub(super) async fn hash(&self, password: &Secret) -> Result<Secret> {
        let password = password.clone();
        self.work(move || {
            let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>())?;
            let hash = argon2()?.hash_password(password.expose().as_bytes(), &salt)?;
            Ok(Secret::new(hash.to_string()))
        })
        .await
    }

    /// Whether this is the password of the hash. Without a hash it is not, after as much work.
    pub(super) async fn verify(&self, password: &Secret, hash: Option<&Secret>) -> Result<bool> {
        let password = password.clone();
        let hash = hash.map_or_else(|| NOBODYS_HASH.to_owned(), |hash| hash.expose().to_owned());
        self.work(move || {
            let hash = PasswordHash::new(&hash)?;
            match argon2()?.verify_password(password.expose().as_bytes(), &hash) {
                Ok(()) => Ok(true),
                Err(argon2::password_hash::Error::Password) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, argon2::password_hash::Error> + Send + 'static,
    ) -> Result<T> {
        let permits = self.enter().await?;
        // Both permits go with the job: a caller who gives up does not free a core that still works.
        let work = tokio::task::spawn_blocking(move || {
            let _permits = permits;
            job()
        });
        let done = work.await.map_err(|error| Error::Internal(error.into()))?;
        done.map_err(|error| Error::Internal(anyhow::anyhow!("password hash: {error}")))
    }

    async fn enter(&self) -> Result<[OwnedSemaphorePermit; 2]> {
        let place = self
            .places
            .clone()
            .try_acquire_owned()
            .map_err(|_| Error::Later {
                code: ErrorCode::Overloaded,
                sentence: "too many people sign in at the moment; nothing was written",
                retry_after: RETRY_FULL,
            })?;
        let worker = self.workers.clone().acquire_owned().await;
        let worker = worker.map_err(|error| Error::Internal(error.into()))?;
        Ok([place, worker])
    }
}

fn argon2() -> Result<Argon2<'static>, argon2::Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_only() {
        let passwords = Passwords::new(2);
        let right = Secret::new("correct horse");
        let hash = passwords.hash(&right).await.unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(passwords.verify(&right, Some(&hash)).await.unwrap());
        let wrong = Secret::new("correct horsf");
        assert!(!passwords.verify(&wrong, Some(&hash)).await.unwrap());
        let other = passwords.hash(&right).await.unwrap();
        assert_ne!(hash, other, "each hash has its own salt");
    }

    #[tokio::test]
    async fn nobodys_hash_costs_as_much_and_never_matches() {
        let nobody = PasswordHash::new(NOBODYS_HASH).unwrap();
        let params = Params::try_from(&nobody).unwrap();
        assert_eq!(params.m_cost(), MEMORY_KIB);
        assert_eq!(params.t_cost(), PASSES);
        assert_eq!(params.p_cost(), LANES);
        let passwords = Passwords::new(2);
        assert!(!passwords.verify(&Secret::new(""), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_full_queue_says_when_to_come_back() {
        let passwords = Passwords::new(2);
        let everything = u32::try_from(1 + QUEUE_PER_WORKER).unwrap();
        let held = passwords.places.clone().acquire_many_owned(everything);
        let held = held.await.unwrap();
        let password = Secret::new("correct horse");
        let refused = passwords.hash(&password).await.unwrap_err().report();
        assert_eq!(refused.code, ErrorCode::Overloaded);
        assert_eq!(refused.retry_after_ms, Some(1_000));
        drop(held);
        assert!(passwords.hash(&password).await.is_ok());
    }
}
