//! A row of `sessions`: one device that signed in. A revoked session keeps its row until it would have expired.

use super::{Micros, TokenKey};
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub user_id: Uuid,
    pub name: String,
    pub created_us: Micros,
    pub last_used_us: Micros,
    pub revoked_us: Option<Micros>,
    /// Makes the MACs of its refresh tokens. `None`: the release before opened it, and no token was exchanged since.
    pub token_key: Option<TokenKey>,
    /// When a used refresh token came again, and the person was told or the session ended.
    pub reused_us: Option<Micros>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
