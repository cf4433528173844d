//! Rooms that are created, renamed and archived.

use super::{Party, Places, everywhere, is_refused, new_op_id, retry_unavailable};
use crate::promises::people::placed;
use anyhow::Result;
use roost_client::Client;
use roost_schema::{ChangeRoom, CreateBoard, ErrorCode, PageQuery, SendMessage};

impl Party {
    pub(super) async fn run_rooms(&self, places: &Places) -> Result<()> {
        let here = placed(&self.owner, places.first())?;
        let board = CreateBoard {
            title: format!("Board {}", self.mixes),
            op_id: Some(new_op_id()?),
        };
        let room = retry_unavailable(async || here.create_board(&board).await)
            .await?
            .id;
        let is_listed = async |client: &Client| {
            let page = client.list_rooms(&PageQuery::default()).await?;
            Ok(page.items.iter().any(|listed| listed.id == room))
        };
        everywhere(&self.owner, places, is_listed).await?;

        let title = format!("Board {} by another name", self.mixes);
        let change = ChangeRoom {
            title: Some(title.clone()),
            archived: Some(true),
            op_id: Some(new_op_id()?),
        };
        retry_unavailable(async || here.change_room(room, &change).await).await?;
        let is_changed = async |client: &Client| {
            let read = client.read_room(room).await?;
            let message = SendMessage {
                text: "too late".to_owned(),
                id: None,
                op_id: None,
            };
            let answer = client.send_message(room, &message).await;
            let is_refused = is_refused(answer, ErrorCode::Archived)?;
            Ok(is_refused && read.archived && read.title.as_ref() == Some(&title))
        };
        everywhere(&self.owner, places, is_changed).await.map(drop)
    }
}
