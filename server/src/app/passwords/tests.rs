//! Hashes that verify, hashes that do not, and the refusals of a full queue.

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
