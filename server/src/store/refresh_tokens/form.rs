//! The text of a refresh token, which names its session and its generation under a MAC. The layout is in
//! `docs/decisions/0027-refresh-tokens-have-one-line.md`.

use crate::store::entity::TokenKey;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use blake3::{Hash, keyed_hash};
use roost_schema::{Secret, SessionId};
use uuid::Uuid;

/// The first byte: another layout would have another number.
const FORM: u8 = 1;
const SECRET_BYTES: usize = 32;
const MAC_BYTES: usize = 32;
/// The form, the session, the generation and the secret: what the MAC covers.
const NAMED_BYTES: usize = 1 + 16 + 4 + SECRET_BYTES;
/// A longer text is no token of this form, and is not decoded.
const TEXT_CHARS: usize = ((NAMED_BYTES + MAC_BYTES) * 4).div_ceil(3);

/// The part of a token that nobody can guess.
pub(super) type TokenSecret = [u8; SECRET_BYTES];

/// A session's token as text. `key`: the session's.
pub(super) fn compose(
    key: &TokenKey,
    session: SessionId,
    generation: i32,
    secret: &TokenSecret,
) -> Secret {
    let mut bytes = Vec::with_capacity(NAMED_BYTES + MAC_BYTES);
    bytes.push(FORM);
    bytes.extend_from_slice(session.as_uuid().as_bytes());
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(secret);
    let mac = keyed_hash(&key.0, &bytes);
    bytes.extend_from_slice(mac.as_bytes());
    Secret::new(BASE64URL.encode(bytes))
}

/// The secret of a token's successor: the same each time. `next_key`: the key of the token's row.
pub(super) fn successor_secret(next_key: &TokenKey, text: &str) -> TokenSecret {
    *keyed_hash(&next_key.0, text.as_bytes()).as_bytes()
}

/// What a text says of itself. It may be forged until [`Named::is_of`] says otherwise.
pub(super) struct Named {
    pub(super) session: SessionId,
    pub(super) generation: i32,
    covered: Vec<u8>,
    mac: Hash,
}

impl Named {
    /// Reads a text; `None`: it does not have this form.
    pub(super) fn read(text: &str) -> Option<Self> {
        if text.len() != TEXT_CHARS {
            return None;
        }
        let mut covered = BASE64URL.decode(text).ok()?;
        let mac = Hash::from_slice(&covered.split_off(NAMED_BYTES)).ok()?;
        let ([form], named) = covered.split_first_chunk()?;
        let (session, named) = named.split_first_chunk()?;
        let (generation, _) = named.split_first_chunk()?;
        let session = SessionId::from_uuid(Uuid::from_bytes(*session));
        let generation = i32::from_be_bytes(*generation);
        (*form == FORM).then_some(Self {
            session,
            generation,
            covered,
            mac,
        })
    }

    /// Whether the session whose key this is issued the token. `Hash` compares in constant time.
    pub(super) fn is_of(&self, key: &TokenKey) -> bool {
        keyed_hash(&key.0, &self.covered) == self.mac
    }
}

#[cfg(test)]
mod tests;
