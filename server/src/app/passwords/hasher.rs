//! Hashes with Argon2 in memory that is kept from one hash to the next.
//!
//! Each hash takes 19 MiB. Memory that is given back to glibc stays in the arena of its thread, so every thread that
//! ever hashed would keep as much, and a client that tries wrong passwords decides how many threads do.

use argon2::{
    Algorithm, Argon2, Block, Params, PasswordHasher, Version,
    password_hash::{Decimal, Ident, Output, ParamsString, PasswordHash, Result, Salt},
};
use std::cell::RefCell;

/// The library's own hasher with memory that is kept, for one hash at a time.
#[derive(Default)]
pub(super) struct Hasher {
    blocks: RefCell<Vec<Block>>,
}

impl PasswordHasher for Hasher {
    type Params = Params;

    fn hash_password_customized<'a>(
        &self,
        password: &[u8],
        algorithm: Option<Ident<'a>>,
        version: Option<Decimal>,
        params: Params,
        salt: impl Into<Salt<'a>>,
    ) -> Result<PasswordHash<'a>> {
        let algorithm = algorithm.map(Algorithm::try_from).transpose()?;
        let algorithm = algorithm.unwrap_or_default();
        let version = version.map(Version::try_from).transpose()?;
        let version = version.unwrap_or_default();
        let salt = salt.into();
        let mut salt_bytes = [0; Salt::MAX_LENGTH];
        let salt_bytes = salt.decode_b64(&mut salt_bytes)?;
        let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let params_shown = ParamsString::try_from(&params)?;
        let mut blocks = self.blocks.borrow_mut();
        blocks.resize(params.block_count(), Block::default());
        let argon2 = Argon2::new(algorithm, version, params);
        let output = Output::init_with(length, |out| {
            let memory = &mut blocks[..];
            Ok(argon2.hash_password_into_with_memory(password, salt_bytes, out, memory)?)
        })?;
        Ok(PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: params_shown,
            salt: Some(salt),
            hash: Some(output),
        })
    }
}
