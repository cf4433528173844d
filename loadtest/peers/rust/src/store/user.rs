//! A row of `peer_users`.

use roost_schema::{Me, RoomId, UserId};
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "peer_users")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub email: String,
    pub name: String,
    pub created_at: DateTimeUtc,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<Model> for Me {
    fn from(row: Model) -> Self {
        let id = UserId::from_uuid(row.id);
        Self {
            id,
            email: row.email,
            name: row.name,
            room_id: RoomId::of_user(id),
            created_at: row.created_at,
        }
    }
}
