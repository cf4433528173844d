//! Finding people.

use super::{Actor, App, Result};
use roost_schema::{User, UserId};

impl App {
    /// People by exact e-mail address, or by the beginning of their name (2 characters or more);
    /// at most 20, by name.
    pub async fn search_users(&self, actor: &Actor, query: &str) -> Result<Vec<User>> {
        todo!()
    }

    /// Names of people, for views that hold their ids. Unknown ids are left out.
    pub async fn read_users(&self, actor: &Actor, ids: &[UserId]) -> Result<Vec<User>> {
        todo!()
    }
}
