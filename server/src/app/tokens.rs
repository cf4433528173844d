//! Access tokens: JWTs signed with `EdDSA`, told apart by `kid`.

/// Signs and verifies access tokens.
pub struct Tokens;
