//! A row of `refresh_tokens`: the hash of a refresh token, and what became of it. The release before fills in the
//! first five columns.

use super::{Micros, TokenKey, session};
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "refresh_tokens")]
pub(in crate::store) struct Model {
    /// SHA-256 of the text.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: Vec<u8>,
    pub session_id: Uuid,
    /// The hash of the token that was exchanged for this one.
    pub parent: Option<Vec<u8>>,
    pub issued_us: Micros,
    /// When it was first exchanged.
    pub used_us: Option<Micros>,
    /// `None`: the release before issued it.
    pub generation: Option<i32>,
    /// Makes the successor. `None`: it was not exchanged, or by the release before.
    pub next_key: Option<TokenKey>,
    /// From where it was first exchanged.
    pub used_network: Option<String>,
    /// SHA-256 of the `User-Agent` that first exchanged it.
    pub used_agent: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {
    #[sea_orm(
        belongs_to = "session::Entity",
        from = "Column::SessionId",
        to = "session::Column::Id"
    )]
    Session,
}

impl Related<session::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Session.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
