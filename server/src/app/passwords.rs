//! Password hashes: argon2id, in a pool of half the cores.

/// Hashes and verifies passwords.
pub struct Passwords;
