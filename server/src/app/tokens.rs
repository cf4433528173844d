//! Access tokens: JWTs signed with `EdDSA`, told apart by `kid`.

use super::{Actor, Error, Result};
use anyhow::Context;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use chrono::{DateTime, TimeDelta, Utc};
use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use moka::sync::Cache;
use roost_schema::{Secret, SessionId, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::HashMap, time::Duration};
use uuid::Uuid;

/// The longest lifetime an access token may be given: revocations are remembered for as long.
pub const ACCESS_TOKEN_LIFETIME_MAX: Duration = crate::live::REVOCATION_KEPT;
/// By how much clocks may differ when an expiry is judged.
const LEEWAY: TimeDelta = TimeDelta::seconds(5);
/// Ours have some 400 bytes.
const TOKEN_BYTES_MAX: usize = 2_048;
/// How many verified tokens are remembered: verifying one again costs more than most requests.
const VERIFIED_TOKENS_MAX: u64 = 100_000;

/// How access tokens are made out.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// `iss`: who signs, for example the public URL.
    pub issuer: String,
    /// `aud`: who is meant to read them.
    pub audience: String,
    pub lifetime: Duration,
}

/// Signs and verifies access tokens.
pub struct Tokens {
    settings: TokenSettings,
    lifetime: TimeDelta,
    kid: String,
    signing: EncodingKey,
    /// By `kid`: each key has a validation of its own, and a token's `alg` chooses nothing.
    verifying: HashMap<String, (DecodingKey, Validation)>,
    jwks: serde_json::Value,
    /// By SHA-256 of the token.
    verified: Cache<[u8; 32], Actor>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    iat: i64,
    exp: i64,
    jti: Uuid,
}

impl Tokens {
    /// `private_pems`: Ed25519 keys as PKCS#8 PEM. The first signs; all verify, so that a key can be
    /// replaced while its tokens live.
    pub fn new(settings: TokenSettings, private_pems: &[Secret]) -> anyhow::Result<Self> {
        let lifetime = settings.lifetime;
        anyhow::ensure!(
            !lifetime.is_zero() && lifetime <= ACCESS_TOKEN_LIFETIME_MAX,
            "the lifetime of access tokens must be at most {} s",
            ACCESS_TOKEN_LIFETIME_MAX.as_secs()
        );
        let keys = private_pems
            .iter()
            .map(read_key)
            .collect::<anyhow::Result<Vec<_>>>()?;
        let first = keys.first().context("there is no signing key")?;
        let signing = EncodingKey::from_ed_der(first.to_pkcs8_der()?.as_bytes());
        let mut verifying = HashMap::new();
        let mut jwks = Vec::new();
        for key in &keys {
            let x = BASE64URL.encode(key.verifying_key());
            let kid = thumbprint(&x);
            let decoding = DecodingKey::from_ed_components(&x)?;
            verifying.insert(kid.clone(), (decoding, validation(&settings)));
            jwks.push(serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x,
            }));
        }
        Ok(Self {
            kid: thumbprint(&BASE64URL.encode(first.verifying_key())),
            lifetime: TimeDelta::from_std(lifetime)?,
            settings,
            signing,
            verifying,
            jwks: serde_json::json!({ "keys": jwks }),
            verified: Cache::builder()
                .max_capacity(VERIFIED_TOKENS_MAX)
                .time_to_live(lifetime)
                .build(),
        })
    }

    /// A new private key as PKCS#8 PEM, for a database that holds none.
    pub fn generate_key() -> anyhow::Result<Secret> {
        let key = SigningKey::from_bytes(&rand::random());
        let pem = key.to_pkcs8_pem(LineEnding::LF)?;
        Ok(Secret::new(pem.as_str()))
    }

    /// Whether a private key could sign.
    pub fn check_key(private_pem: &Secret) -> anyhow::Result<()> {
        read_key(private_pem).map(drop)
    }

    /// The public keys as a JSON Web Key Set (RFC 7517), for `GET /.well-known/jwks.json`.
    pub fn jwks(&self) -> &serde_json::Value {
        &self.jwks
    }

    /// A token for a session, and when it expires.
    pub(super) fn issue(
        &self,
        user: UserId,
        session: SessionId,
        now: DateTime<Utc>,
    ) -> Result<(Secret, DateTime<Utc>)> {
        let expires_at = whole_seconds(now + self.lifetime);
        let claims = Claims {
            iss: self.settings.issuer.clone(),
            aud: self.settings.audience.clone(),
            sub: user,
            sid: session,
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
            jti: Uuid::now_v7(),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.signing)
            .map_err(|error| Error::Internal(error.into()))?;
        Ok((Secret::new(token), expires_at))
    }

    /// Who a token speaks for. Whether the session was revoked is for the caller to ask.
    pub(super) fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Actor> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Error::unauthenticated());
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        let remembered = self.verified.get(&digest);
        let actor = remembered
            .or_else(|| self.read(token))
            .filter(|actor| now < actor.expires_at + LEEWAY)
            .ok_or_else(Error::unauthenticated)?;
        if remembered.is_none() {
            self.verified.insert(digest, actor);
        }
        Ok(actor)
    }

    /// The header is believed in one thing only, which of our keys to try: never `alg`, and no key
    /// it brings along or points to (`jwk`, `jku`, `x5c`, `x5u`).
    fn read(&self, token: &str) -> Option<Actor> {
        let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
        let (key, validation) = self.verifying.get(&kid)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, validation)
            .ok()?
            .claims;
        Some(Actor {
            user_id: claims.sub,
            session_id: claims.sid,
            expires_at: DateTime::from_timestamp(claims.exp, 0)?,
        })
    }
}

/// Expiry is judged by database time, in [`Tokens::verify`]; the library knows this host's only.
fn validation(settings: &TokenSettings) -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[&settings.issuer]);
    validation.set_audience(&[&settings.audience]);
    validation.validate_exp = false;
    validation
}

fn read_key(pem: &Secret) -> anyhow::Result<SigningKey> {
    SigningKey::from_pkcs8_pem(pem.expose()).context("a signing key is not Ed25519 in PKCS#8 PEM")
}

/// RFC 7638: the same key has the same name everywhere.
fn thumbprint(x: &str) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64URL.encode(Sha256::digest(members))
}

fn whole_seconds(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time)
}

#[cfg(test)]
mod tests;
