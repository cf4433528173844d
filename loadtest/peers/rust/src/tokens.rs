//! Access tokens, signed with HS256 or Ed25519.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use roost_schema::{Secret, SessionId, UserId};
use serde::{Deserialize, Serialize};

/// Nothing is protected by it: every process of a measurement has the same key.
const SEED: &[u8; 32] = b"thirty-two bytes of open secret!";

/// No run of a benchmark is longer, and a peer has no route to refresh a token.
const LIFETIME: TimeDelta = TimeDelta::days(1);

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Signature {
    Hs256,
    /// Ed25519, as Roost does.
    Eddsa,
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub sub: UserId,
    pub sid: SessionId,
    exp: i64,
}

/// Issues tokens and verifies them.
pub struct Tokens {
    header: Header,
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
}

impl Tokens {
    pub fn new(signature: Signature) -> anyhow::Result<Self> {
        let (algorithm, signing, verifying) = match signature {
            Signature::Hs256 => (
                Algorithm::HS256,
                EncodingKey::from_secret(SEED),
                DecodingKey::from_secret(SEED),
            ),
            Signature::Eddsa => {
                let key = SigningKey::from_bytes(SEED);
                let public = URL_SAFE_NO_PAD.encode(key.verifying_key());
                (
                    Algorithm::EdDSA,
                    EncodingKey::from_ed_der(key.to_pkcs8_der()?.as_bytes()),
                    DecodingKey::from_ed_components(&public)?,
                )
            }
        };
        Ok(Self {
            header: Header::new(algorithm),
            signing,
            verifying,
            validation: Validation::new(algorithm),
        })
    }

    /// A token, and when it expires.
    pub fn issue(&self, sub: UserId, sid: SessionId) -> anyhow::Result<(Secret, DateTime<Utc>)> {
        let expires_at = Utc::now() + LIFETIME;
        let exp = expires_at.timestamp();
        let token = jsonwebtoken::encode(&self.header, &Claims { sub, sid, exp }, &self.signing)?;
        Ok((Secret::new(token), expires_at))
    }

    /// What a token of ours says; `None`: it is none, or has expired.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        let decoded = jsonwebtoken::decode(token, &self.verifying, &self.validation);
        Some(decoded.ok()?.claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_where_it_was_signed_in_the_same_way() {
        let [hs256, eddsa] =
            [Signature::Hs256, Signature::Eddsa].map(|signature| Tokens::new(signature).unwrap());
        let (user, session) = (UserId::generate(), SessionId::generate());
        for (own, other) in [(&hs256, &eddsa), (&eddsa, &hs256)] {
            let (token, _) = own.issue(user, session).unwrap();
            let claims = own.verify(token.expose()).unwrap();
            assert_eq!((claims.sub, claims.sid), (user, session));
            assert!(other.verify(token.expose()).is_none());
        }
    }
}
