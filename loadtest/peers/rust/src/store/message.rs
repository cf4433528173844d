//! A row of `peer_messages`.

use roost_schema::{ItemId, Message, RoomId, Seq, UserId};
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "peer_messages")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub room_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub id: Uuid,
    pub author_id: Uuid,
    pub text: String,
    pub created_at: DateTimeUtc,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<Model> for Message {
    fn from(row: Model) -> Self {
        Self {
            id: ItemId::from_uuid(row.id),
            room_id: RoomId::from_uuid(row.room_id),
            seq: seq(row.seq),
            author_id: UserId::from_uuid(row.author_id),
            text: row.text,
            created_at: row.created_at,
            edited_at: None,
        }
    }
}

/// The database counts from 1 up.
pub(super) const fn seq(number: i64) -> Seq {
    Seq(number.unsigned_abs())
}
