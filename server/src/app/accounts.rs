//! Accounts: register, sign in and out, refresh, change the password.

use super::{Actor, App, Origin, Result};
use roost_schema::{ChangePassword, Login, Me, Refresh, Register, SignedIn};

impl App {
    /// Turns an access token into the person behind it: `unauthenticated`, or `session_revoked`.
    pub async fn authenticate(&self, token: &str) -> Result<Actor> {
        todo!()
    }

    /// Makes an account and signs in.
    pub async fn register(&self, origin: &Origin, input: Register) -> Result<SignedIn> {
        todo!()
    }

    pub async fn login(&self, origin: &Origin, input: Login) -> Result<SignedIn> {
        todo!()
    }

    /// Exchanges a refresh token; see DESIGN "Accounts" for predecessors and reuse.
    pub async fn refresh(&self, origin: &Origin, input: Refresh) -> Result<SignedIn> {
        todo!()
    }

    /// Ends the session that asks.
    pub async fn logout(&self, actor: &Actor) -> Result<()> {
        todo!()
    }

    /// Changes the password and ends every other session.
    pub async fn change_password(&self, actor: &Actor, input: ChangePassword) -> Result<()> {
        todo!()
    }

    pub async fn read_me(&self, actor: &Actor) -> Result<Me> {
        todo!()
    }
}
