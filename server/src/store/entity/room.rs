//! A row of `rooms`: a board, a conversation, or a person's own room.

use super::Micros;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "rooms")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Text, because a later release may have more types.
    #[sea_orm(column_name = "type")]
    pub room_type: String,
    pub title: Option<String>,
    pub archived: bool,
    pub created_by: Uuid,
    pub created_us: Micros,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
