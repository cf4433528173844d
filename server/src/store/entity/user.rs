//! A row of `users`: a person, and the hash of their password.

use super::Micros;
use sea_orm::entity::prelude::*;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub email: String,
    pub name: String,
    /// The name in lower case, which a search by name compares.
    pub name_lower: String,
    pub password_hash: PasswordHash,
    pub created_us: Micros,
}

/// A password hash, which `Debug` never prints.
#[derive(Clone, PartialEq, Eq, DeriveValueType)]
pub(in crate::store) struct PasswordHash(pub(in crate::store) String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
