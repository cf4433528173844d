//! What is reached of a live room: its feed and its presence with the proof of a read, its awareness by a person who has
//! joined it, its mailbox with a judge that checks the right.

use super::{Actor, RoomAccess, permit, permit_writing};
use crate::{
    app::{
        App, Result,
        operations::{ItemJudge, ItemOperation, RightRule},
    },
    live::{EphemeralEvents, Feed, Judge, PresenceGuard, QueuedWrite, Write},
    store::Read,
};
use chrono::{SubsecRound, Utc};
use roost_schema::{Cursor, Position, Presence, RoomId};

/// What a write counts for in the budgets of the mailbox, besides its body.
const ENVELOPE_BYTES: usize = 512;

impl App {
    /// Waits until this instance has delivered every write that was acknowledged until now, on any instance.
    pub(in crate::app) async fn refresh_in(&self, room: &RoomAccess<Read>) -> Result<()> {
        if !self.live.is_alone() {
            self.live.room(room.room_id).refresh().await?;
        }
        Ok(())
    }

    /// The position of the newest entry that this instance has delivered.
    pub(in crate::app) async fn position_in(&self, room: &RoomAccess<Read>) -> Result<Position> {
        Ok(self.live.room(room.room_id).position().await?)
    }

    /// A feed for the actor, from a position on; `None`: from what this instance has delivered.
    pub(in crate::app) async fn watch_in(
        &self,
        room: &RoomAccess<Read>,
        after: Option<Position>,
    ) -> Result<Feed> {
        let live_room = self.live.room(room.room_id);
        Ok(live_room.watch(room.user_id, after).await?)
    }

    /// Makes the actor present through one more connection.
    pub(in crate::app) async fn arrive_in(
        &self,
        room: &RoomAccess<Read>,
    ) -> (PresenceGuard, EphemeralEvents, Vec<Presence>) {
        self.live.room(room.room_id).arrive(room.user_id).await
    }

    /// The people who are present.
    pub(in crate::app) async fn present_in(&self, room: &RoomAccess<Read>) -> Vec<Presence> {
        self.live.room(room.room_id).present().await
    }

    /// Shows the actor's cursor; `false`: they have not joined the room, which takes the proof.
    pub(in crate::app) fn show_cursor(&self, actor: &Actor, room: RoomId, cursor: Cursor) -> bool {
        let room = self.live.active_room(room);
        room.is_some_and(|room| room.show_cursor(actor.user_id, cursor))
    }

    /// Shows that the actor is typing; `false`: they have not joined the room, which takes the proof.
    pub(in crate::app) fn show_typing(&self, actor: &Actor, room: RoomId) -> bool {
        let room = self.live.active_room(room);
        room.is_some_and(|room| room.show_typing(actor.user_id))
    }

    /// Queues a write of the actor's. Its right is checked as of the head that the write would follow.
    pub(in crate::app) fn queue(
        &self,
        actor: &Actor,
        room: RoomId,
        operation: ItemOperation,
    ) -> QueuedWrite {
        self.live.room(room).write(Write {
            actor: actor.user_id,
            op_id: operation.op_id,
            request_hash: operation.request_hash,
            asked_hash: operation.asked_hash,
            event: None,
            item: operation.item,
            is_new: operation.is_new,
            bytes: operation.bytes + ENVELOPE_BYTES,
            judge: permitted(*actor, operation.right, operation.judge),
        })
    }
}

/// The judge of a queued write: no write of a client's comes into a room without the right.
fn permitted(actor: Actor, right: RightRule, judge: ItemJudge) -> Judge {
    let at = Utc::now().trunc_subsecs(3);
    Box::new(move |room| {
        let access = permit(room, &actor, Read)?;
        let needed = right(room, &access)?;
        judge(room, &permit_writing(room, &actor, needed, at)?)
    })
}
