//! What needs no memory: `cursor:move` and `typing:start` in, `room:awareness` and `presence:changed`
//! out.

use super::{connection::Caller, outbox::Outbox};
use crate::{
    app::Result,
    live::{Ephemera, Ephemeral},
};
use roost_schema::{InRoom, MoveCursor};
use std::future::{Ready, ready};

#[expect(
    clippy::needless_pass_by_value,
    reason = "every command takes its input whole"
)]
pub(super) fn move_cursor(caller: &Caller, input: MoveCursor) -> Ready<Result<InRoom>> {
    let moved = caller.app.move_cursor(&caller.actor, &input);
    ready(moved.map(|()| InRoom { room: input.room }))
}

pub(super) fn start_typing(caller: &Caller, input: InRoom) -> Ready<Result<InRoom>> {
    let started = caller.app.start_typing(&caller.actor, &input);
    ready(started.map(|()| input))
}

/// Passes on what happens in a room besides its changes, for as long as it is polled. A socket that
/// lags misses some: the next awareness says it anew, and a gap in the versions of presence shows.
pub(super) async fn follow(outbox: &Outbox, mut ephemera: Ephemera) {
    loop {
        match ephemera.next().await {
            Ephemeral::Presence(changed) => outbox.mention("presence:changed", &*changed),
            Ephemeral::Awareness(awareness) => outbox.mention("room:awareness", &*awareness),
        }
    }
}
