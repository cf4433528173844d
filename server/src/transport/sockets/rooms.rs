//! The rooms of a socket: the commands `room:join` and `room:leave`, the events `room:events` and `room:closed`.

use super::{
    READ_RETRY,
    begun::Begun,
    presence,
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

/// Begins a membership, and lets it go on until the room is left.
pub(super) fn join<R: Reply>(caller: &Caller, input: JoinRoom, reply: R) -> Begun<()> {
    let begun = caller.socket.memberships.begin(input.room);
    let Caller { actor, socket } = caller.clone();
    Begun::new(async move {
        let (membership, predecessor) = match begun {
            Ok(begun) => begun,
            Err(error) => return reply.send(Err::<(), _>(error)).await,
        };
        let _gone = membership.gone.clone().drop_guard();
        if let Some(predecessor) = predecessor {
            predecessor.gone.cancelled().await;
        }
        // Boxed: joining takes a moment, and its future is larger than what lasts as long as the membership.
        let joining = Box::pin(socket.app.join_room(&actor, input));
        let joined = joining.with_cancellation_token(&membership.left).await;
        match (joined, reply.sender()) {
            // The answer may be outdated: the instance may have slept since it was read.
            (Some(Ok(_)), _) if socket.app.fence().is_shut() => {
                reply.send(Err::<(), _>(FENCED)).await;
            }
            (Some(Ok(joined)), Some(sender)) => {
                reply.send(Ok(&joined.answer)).await;
                follow(&socket, &sender, &membership, joined).await;
            }
            (Some(Err(error)), _) => reply.send(Err::<(), _>(error)).await,
            _ => {
                let reason = socket.check_open().err().unwrap_or(LEFT);
                reply.send(Err::<(), _>(reason)).await;
            }
        }
        socket.memberships.remove(&membership);
    })
}

/// Leaves the room. The answer is sent after the room's last event.
pub(super) fn leave(caller: &Caller, input: InRoom) -> Begun<Result<InRoom>> {
    let membership = caller.socket.memberships.leave(input.room);
    Begun::new(async move {
        if let Some(membership) = membership {
            membership.gone.cancelled().await;
        }
        Ok(input)
    })
}

const LEFT: Error = Error::refused(
    ErrorCode::Conflict,
    "the room was left before it was joined",
);

/// The rooms of one socket.
pub(super) struct Memberships {
    by_room: Mutex<HashMap<RoomId, Arc<Membership>>>,
    closed: CancellationToken,
}

/// A socket in a room, from the moment it asked to join.
struct Membership {
    room: RoomId,
    left: CancellationToken,
    is_left_on_purpose: AtomicBool,
    /// Cancelled when nothing more is sent for this membership.
    gone: CancellationToken,
}

impl Memberships {
    pub(super) fn new(closed: CancellationToken) -> Self {
        Self {
            by_room: Mutex::default(),
            closed,
        }
    }

    /// A new membership in the room, and its predecessor, which ends.
    fn begin(&self, room: RoomId) -> Result<(Arc<Membership>, Option<Arc<Membership>>)> {
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
        let membership = Arc::new(Membership {
            room,
            left: self.closed.child_token(),
            is_left_on_purpose: AtomicBool::new(false),
            gone: CancellationToken::new(),
        });
        by_room.insert(room, Arc::clone(&membership));
        Ok((membership, predecessor))
    }

    fn leave(&self, room: RoomId) -> Option<Arc<Membership>> {
        let membership = self.by_room.lock().remove(&room)?;
        membership.is_left_on_purpose.store(true, Ordering::Release);
        membership.left.cancel();
        Some(membership)
    }

    /// Removes the membership, unless a later one has replaced it.
    fn remove(&self, membership: &Arc<Membership>) {
        let mut by_room = self.by_room.lock();
        if by_room
            .get(&membership.room)
            .is_some_and(|kept| Arc::ptr_eq(kept, membership))
        {
            by_room.remove(&membership.room);
        }
    }
}

/// Sends the room's events until the membership is left, the person is removed, or the socket ends.
async fn follow(socket: &Socket, sender: &impl Sender, membership: &Membership, joined: Joined) {
    let Joined {
        feed,
        ephemeral_events,
        guard,
        ..
    } = joined;
    let is_removed = tokio::select! {
        biased;
        () = membership.left.cancelled() => false,
        end = changes(sender, feed) => match end {
            Ok(failure) => {
                close(sender, membership.room, failure).await;
                true
            }
            Err(Gone) => false,
        },
        () = presence::follow(sender, ephemeral_events) => false,
    };
    let is_signed_out = socket.session_end.is_cancelled() || socket.is_leaving();
    if is_removed || is_signed_out || membership.is_left_on_purpose.load(Ordering::Acquire) {
        guard.leave();
    }
}

/// Sends the room's changes; returns why there are no more. A slow socket holds at most one frame, and pulls the next,
/// larger one when it can send again.
async fn changes(sender: &impl Sender, mut feed: Feed) -> Result<Failure, Gone> {
    loop {
        sender.ready_for_frames().await?;
        match feed.next().await {
            Ok(Some(frame)) => sender.send_frame("room:events", &frame.to_json()).await?,
            Ok(None) => return Ok(REMOVED.report()),
            Err(LiveError::Unavailable) => tokio::time::sleep(READ_RETRY).await,
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
    // An error means that the socket has ended, and needs no event.
    let _ = sender.send_control("room:closed", &closed).await;
}
