//! Finding people.

use super::{Actor, App, Error, Result};
use crate::store::Account;
use roost_schema::{EMAIL_CHARS_MAX, Email, User, UserId};

/// A shorter beginning of a name would find nearly every person.
const QUERY_CHARS_MIN: usize = 2;

impl App {
    /// People by exact e-mail address, or by the beginning of their name (2 characters or more);
    /// at most 20, by name.
    pub async fn search_users(&self, _actor: &Actor, query: &str) -> Result<Vec<User>> {
        let is_too_long = query.chars().count() > EMAIL_CHARS_MAX;
        let query = query.trim();
        let problem = match query.chars().count() {
            _ if is_too_long => Some("is too long"),
            ..QUERY_CHARS_MIN => Some("is shorter than 2 characters"),
            _ => None,
        };
        let has_control = query.chars().any(char::is_control);
        if let Some(problem) = problem.or(has_control.then_some("contains a control character")) {
            return Err(Error::Invalid {
                field: "query",
                problem,
            });
        }
        if let Ok(email) = query.parse::<Email>() {
            let account = self.store.users.find_by_email(&email).await?;
            return Ok(account.map(Account::user).into_iter().collect());
        }
        Ok(self.store.users.find_by_name(query).await?)
    }

    /// Names of people, for views that hold their ids. Unknown ids are left out.
    pub async fn read_users(&self, _actor: &Actor, ids: &[UserId]) -> Result<Vec<User>> {
        Ok(self.store.users.list(ids).await?)
    }
}
