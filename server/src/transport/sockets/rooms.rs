//! Rooms a socket is in: `room:join` and `room:leave`; `room:events` and `room:closed` come back.

use super::{
    LOOK_AGAIN, presence,
    sender::{Gone, Reply, Sender},
    socket::{Caller, Socket},
};
use crate::{
    app::{Error, FENCED, Joined, Result},
    live::{Feed, LiveError},
};
use parking_lot::Mutex;
use roost_schema::{ErrorCode, Failure, InRoom, JoinRoom, RoomClosed, RoomId};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio_util::{future::FutureExt, sync::CancellationToken};

const ROOMS_MAX: usize = 128;

/// Takes its place in the order of joins and leaves before it returns.
pub(super) fn join<R: Reply>(
    caller: &Caller,
    input: JoinRoom,
    reply: R,
) -> impl Future<Output = ()> + Send + use<R> {
    let taken = caller.socket.places.take(input.room);
    let Caller { actor, socket } = caller.clone();
    async move {
        let (place, predecessor) = match taken {
            Ok(taken) => taken,
            Err(error) => return reply.send(Err::<(), _>(error)).await,
        };
        let _gone = place.gone.clone().drop_guard();
        if let Some(predecessor) = predecessor {
            predecessor.gone.cancelled().await;
        }
        // Done in a moment, and larger than all that lasts as long as the place.
        let joining = Box::pin(socket.app.join_room(&actor, input));
        let joined = joining.with_cancellation_token(&place.left).await;
        match (joined, reply.sender()) {
            // Who is there was read before this instance slept, if it did.
            (Some(Ok(_)), _) if socket.app.fence().is_shut() => {
                reply.send(Err::<(), _>(FENCED)).await;
            }
            (Some(Ok(joined)), Some(sender)) => {
                reply.send(Ok(&joined.answer)).await;
                follow(&socket, &sender, &place, joined).await;
            }
            (Some(Err(error)), _) => reply.send(Err::<(), _>(error)).await,
            _ => {
                let reason = socket.check_open().err().unwrap_or(LEFT);
                reply.send(Err::<(), _>(reason)).await;
            }
        }
        socket.places.give_up(&place);
    }
}

/// Leaving takes effect before this returns; the answer comes when nothing more will.
pub(super) fn leave(
    caller: &Caller,
    input: InRoom,
) -> impl Future<Output = Result<InRoom>> + use<> {
    let place = caller.socket.places.leave(input.room);
    async move {
        if let Some(place) = place {
            place.gone.cancelled().await;
        }
        Ok(input)
    }
}

const LEFT: Error = Error::refused(
    ErrorCode::Conflict,
    "the room was left before it was joined",
);

/// The rooms of one socket.
pub(super) struct Places {
    by_room: Mutex<HashMap<RoomId, Arc<Place>>>,
    closed: CancellationToken,
}

/// A socket's place in a room, from the moment it asked to join.
struct Place {
    room: RoomId,
    left: CancellationToken,
    is_left_on_purpose: AtomicBool,
    /// Cancelled when nothing more is sent for this place.
    gone: CancellationToken,
}

impl Places {
    pub(super) fn new(closed: CancellationToken) -> Self {
        Self {
            by_room: Mutex::default(),
            closed,
        }
    }

    /// A new place in the room, and the one it follows, which is left by it.
    fn take(&self, room: RoomId) -> Result<(Arc<Place>, Option<Arc<Place>>)> {
        let mut by_room = self.by_room.lock();
        let predecessor = by_room.get(&room).cloned();
        if predecessor.is_none() && by_room.len() >= ROOMS_MAX {
            return Err(Error::refused(
                ErrorCode::LimitReached,
                "a socket can be in 128 rooms",
            ));
        }
        if let Some(predecessor) = &predecessor {
            predecessor.left.cancel();
        }
        let place = Arc::new(Place {
            room,
            left: self.closed.child_token(),
            is_left_on_purpose: AtomicBool::new(false),
            gone: CancellationToken::new(),
        });
        by_room.insert(room, Arc::clone(&place));
        Ok((place, predecessor))
    }

    fn leave(&self, room: RoomId) -> Option<Arc<Place>> {
        let place = self.by_room.lock().remove(&room)?;
        place.is_left_on_purpose.store(true, Ordering::Release);
        place.left.cancel();
        Some(place)
    }

    /// Frees the place unless another has taken it.
    fn give_up(&self, place: &Arc<Place>) {
        let mut by_room = self.by_room.lock();
        if by_room
            .get(&place.room)
            .is_some_and(|kept| Arc::ptr_eq(kept, place))
        {
            by_room.remove(&place.room);
        }
    }
}

/// Sends what happens in the room until the place is left, the person is removed, or the socket ends.
async fn follow(socket: &Socket, sender: &impl Sender, place: &Place, joined: Joined) {
    let Joined {
        feed,
        ephemera,
        here,
        ..
    } = joined;
    let is_removed = tokio::select! {
        biased;
        () = place.left.cancelled() => false,
        end = changes(sender, feed) => match end {
            Ok(failure) => {
                close(sender, place.room, failure).await;
                true
            }
            Err(Gone) => false,
        },
        () = presence::follow(sender, ephemera) => false,
    };
    let is_signed_out = socket.session_end.is_cancelled() || socket.is_leaving();
    if is_removed || is_signed_out || place.is_left_on_purpose.load(Ordering::Acquire) {
        here.leave();
    }
}

/// Passes on the room's changes; answers why there are no more. A slow socket holds at most one frame
/// and pulls the next, larger one when it has room again.
async fn changes(sender: &impl Sender, mut feed: Feed) -> Result<Failure, Gone> {
    loop {
        sender.clear().await?;
        match feed.next().await {
            Ok(Some(frame)) => sender.frame("room:events", &frame.to_json()).await?,
            Ok(None) => return Ok(REMOVED.report()),
            Err(LiveError::Unavailable) => tokio::time::sleep(LOOK_AGAIN).await,
            Err(error) => return Ok(Error::from(error).report()),
        }
    }
}

const REMOVED: Error = Error::not_found("you are no longer a member of this room");

async fn close(sender: &impl Sender, room: RoomId, failure: Failure) {
    let closed = RoomClosed {
        room,
        code: failure.code,
        message: failure.message,
    };
    // Gone: nobody is left to be told.
    let _ = sender.tell("room:closed", &closed).await;
}
