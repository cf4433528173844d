//! Access tokens and stream tickets: JWTs signed with `EdDSA`, whose `kid` names the key.

use super::{Actor, Api, Error, Result};
use anyhow::Context;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use chrono::{DateTime, TimeDelta, Utc};
use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use moka::sync::Cache;
use roost_schema::{RoomId, Secret, SessionId, UserId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{collections::HashMap, time::Duration};
use uuid::Uuid;

/// The longest lifetime of an access token: revocations are kept for as long.
pub const ACCESS_TOKEN_LIFETIME_MAX: Duration = crate::live::REVOCATION_KEPT;
/// How long a stream ticket may be used.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(30);
/// How much the clocks of instances may differ.
const LEEWAY: TimeDelta = TimeDelta::seconds(5);
/// Tokens of this server have some 400 bytes.
const TOKEN_BYTES_MAX: usize = 2_048;
/// Verified tokens that are cached: verifying one again costs more than most requests.
const VERIFIED_TOKENS_MAX: u64 = 100_000;

/// The settings of access tokens.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// `iss`: the issuer, for example the public URL.
    pub issuer: String,
    /// `aud`: the intended reader.
    pub audience: String,
    pub lifetime: Duration,
}

/// Signs and verifies access tokens.
pub struct Tokens {
    settings: TokenSettings,
    lifetime: TimeDelta,
    kid: String,
    signing: EncodingKey,
    /// By `kid`: each key has a validation of its own, so a token's `alg` has no effect.
    verifying: HashMap<String, Verifying>,
    jwks: serde_json::Value,
    /// By SHA-256 of the token.
    verified: Cache<[u8; 32], Actor>,
}

struct Verifying {
    key: DecodingKey,
    token: Validation,
    ticket: Validation,
}

/// A ticket that opens one stream of one room, on any instance.
#[derive(Clone, Copy, Debug)]
pub struct StreamTicket {
    /// Identifies the ticket, which may be used once.
    pub id: Uuid,
    pub actor: Actor,
}

#[derive(Serialize, Deserialize)]
struct TicketClaims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    exp: i64,
    jti: Uuid,
    room: RoomId,
    /// When the access token expires that the ticket was issued for.
    token_exp: i64,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    iat: i64,
    /// This server writes none; a token that was made elsewhere with its key may have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
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
            let known = Verifying {
                key: decoding,
                token: validation(&settings.issuer, &settings.audience),
                ticket: validation(&settings.issuer, &ticket_audience(&settings)),
            };
            verifying.insert(kid.clone(), known);
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

    /// Checks that a private key can sign.
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
            nbf: None,
            exp: expires_at.timestamp(),
            jti: Uuid::now_v7(),
        };
        Ok((self.sign(&claims)?, expires_at))
    }

    /// A ticket for a stream of a room, and when it expires.
    pub(super) fn issue_ticket(
        &self,
        actor: &Actor,
        room: RoomId,
        now: DateTime<Utc>,
    ) -> Result<(Secret, DateTime<Utc>)> {
        let expires_at = whole_seconds(now + TICKET_LIFETIME);
        let claims = TicketClaims {
            iss: self.settings.issuer.clone(),
            aud: ticket_audience(&self.settings),
            sub: actor.user_id,
            sid: actor.session_id,
            exp: expires_at.timestamp(),
            jti: Uuid::new_v4(),
            room,
            token_exp: actor.expires_at.timestamp(),
        };
        Ok((self.sign(&claims)?, expires_at))
    }

    fn sign(&self, claims: &impl Serialize) -> Result<Secret> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.clone());
        let signed = jsonwebtoken::encode(&header, claims, &self.signing);
        Ok(Secret::new(
            signed.map_err(|error| Error::Internal(error.into()))?,
        ))
    }

    /// Reads a ticket; `None`: it is not for this room, or has expired.
    pub(super) fn read_ticket(
        &self,
        ticket: &str,
        room: RoomId,
        now: DateTime<Utc>,
    ) -> Option<StreamTicket> {
        let claims: TicketClaims = self.decode(ticket, |known| &known.ticket)?;
        let expires_at = at_most(claims.exp, now, TICKET_LIFETIME)?;
        let actor = Actor {
            user_id: claims.sub,
            session_id: claims.sid,
            expires_at: at_most(claims.token_exp, now, ACCESS_TOKEN_LIFETIME_MAX)?,
            api: Api::Rest,
        };
        (claims.room == room && now < expires_at).then_some(StreamTicket {
            id: claims.jti,
            actor,
        })
    }

    /// The actor of a token. The caller has to check whether the session was revoked.
    pub(super) fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Actor> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let remembered = self.verified.get(&digest);
        let actor = remembered
            .or_else(|| self.read(token, now))
            .filter(|actor| now < actor.expires_at + LEEWAY)
            .ok_or_else(Error::unauthenticated)?;
        if remembered.is_none() {
            self.verified.insert(digest, actor);
        }
        Ok(actor)
    }

    /// Decodes a token. Of its header only `kid` is used, to choose the key: never `alg`, and no key that it contains
    /// or points to (`jwk`, `jku`, `x5c`, `x5u`). A header with `crit` names extensions that its reader must understand,
    /// and this server understands none (RFC 7515, section 4.1.11).
    fn decode<C: DeserializeOwned>(
        &self,
        text: &str,
        validation: impl Fn(&Verifying) -> &Validation,
    ) -> Option<C> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let header = jsonwebtoken::decode_header(text).ok()?;
        if header.crit.is_some() {
            return None;
        }
        let known = self.verifying.get(&header.kid?)?;
        let decoded = jsonwebtoken::decode(text, &known.key, validation(known));
        Some(decoded.ok()?.claims)
    }

    /// Reads the claims of an access token. A token that lives longer than any instance may be configured for is
    /// refused, though its signature is valid: its revocation would be deleted before it expires. The lifetime
    /// configured here is no measure, because instances may differ in it while it is being changed.
    fn read(&self, token: &str, now: DateTime<Utc>) -> Option<Actor> {
        let claims: Claims = self.decode(token, |known| &known.token)?;
        let issued_at = DateTime::from_timestamp(claims.iat, 0)?;
        let expires_at = at_most(claims.exp, now, ACCESS_TOKEN_LIFETIME_MAX)?;
        let longest = TimeDelta::from_std(ACCESS_TOKEN_LIFETIME_MAX).ok()?;
        let begins_at = DateTime::from_timestamp(claims.nbf.unwrap_or(claims.iat), 0)?;
        let is_ours = issued_at.max(begins_at) <= now + LEEWAY && expires_at - issued_at <= longest;
        is_ours.then_some(Actor {
            user_id: claims.sub,
            session_id: claims.sid,
            expires_at,
            // The caller sets the transport; a token is valid on each.
            api: Api::Rest,
        })
    }
}

/// The time of an expiry; `None`: it is further ahead than a lifetime that begins now.
fn at_most(expiry: i64, now: DateTime<Utc>, lifetime: Duration) -> Option<DateTime<Utc>> {
    let expires_at = DateTime::from_timestamp(expiry, 0)?;
    let last = now + TimeDelta::from_std(lifetime).ok()? + LEEWAY;
    (expires_at <= last).then_some(expires_at)
}

/// The validation leaves out the expiry: [`Tokens::verify`] checks it by the clock of the database, and the library
/// would use this host's clock.
fn validation(issuer: &str, audience: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.validate_exp = false;
    validation
}

/// The audience of tickets, which differs from that of access tokens, so that neither is valid as the other.
fn ticket_audience(settings: &TokenSettings) -> String {
    format!("{}/streams", settings.audience)
}

fn read_key(pem: &Secret) -> anyhow::Result<SigningKey> {
    SigningKey::from_pkcs8_pem(pem.expose()).context("a signing key is not Ed25519 in PKCS#8 PEM")
}

/// The name of a key by RFC 7638, the same on every instance.
fn thumbprint(x: &str) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64URL.encode(Sha256::digest(members))
}

fn whole_seconds(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time)
}

#[cfg(test)]
mod tests;
