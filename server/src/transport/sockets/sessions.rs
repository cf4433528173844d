//! Every socket follows the person's own room: its session items become `user:loggedIn` and `session:updated`.

use super::{
    READ_RETRY,
    sender::{Gone, Sender},
    socket::Socket,
};
use crate::live::{Feed, Frame, LiveError};
use chrono::{DateTime, TimeDelta, Utc};
use roost_schema::{ItemId, Kind, Op, RoomEvent, RoomId, SessionState};
use std::collections::HashSet;
use tokio_util::future::FutureExt;

/// A session's `created_at` is older than its commit by up to the 2 s of a statement. It is by the clock of the
/// instance that made it, which follows the database's clock as this instance's does.
const LOGIN_TAKES_MAX: TimeDelta = TimeDelta::seconds(3);

/// Follows the person's own room until the socket ends.
pub(in crate::transport) async fn follow(socket: &Socket, sender: &impl Sender) {
    let room = RoomId::of_user(socket.actor().user_id);
    let following = async {
        loop {
            let actor = socket.actor();
            // Boxed: this takes a moment, and its future is larger than what lasts as long as the socket.
            match Box::pin(socket.app.watch_room(&actor, room, None)).await {
                Ok(feed) => return send_changes(socket, sender, feed).await,
                Err(error) if error.code().is_retryable() => {
                    tokio::time::sleep(READ_RETRY).await;
                }
                Err(error) => {
                    tracing::debug!(room.id = %room, %error, "a person's own room cannot be followed");
                    return;
                }
            }
        }
    };
    following.with_cancellation_token(socket.closed()).await;
}

async fn send_changes(socket: &Socket, sender: &impl Sender, mut feed: Feed) {
    let mut logins = Logins::of(socket);
    loop {
        match feed.next().await {
            Ok(Some(frame)) => {
                if send_sessions(sender, &frame, &mut logins).await.is_err() {
                    return;
                }
            }
            Err(LiveError::Unavailable) => tokio::time::sleep(READ_RETRY).await,
            Ok(None) | Err(_) => return,
        }
    }
}

async fn send_sessions(
    sender: &impl Sender,
    frame: &Frame,
    logins: &mut Logins,
) -> Result<(), Gone> {
    for change in &frame.events {
        if change.kind != Kind::Session {
            continue;
        }
        let event = match change.op {
            Op::Put if logins.has_new(change) => "user:loggedIn",
            Op::Put | Op::Delete => "session:updated",
            Op::Other(_) => continue,
        };
        sender.send_control(event, &**change).await?;
    }
    Ok(())
}

/// Finds the sessions that began while the socket follows its person. It compares `created_at`, so that a socket that
/// connects reads no database, nor do a thousand that come back at once.
struct Logins {
    since: DateTime<Utc>,
    /// The socket's own session, and those whose `user:loggedIn` was sent.
    known: HashSet<ItemId>,
}

impl Logins {
    fn of(socket: &Socket) -> Self {
        let own = ItemId::of_session(socket.actor().session_id);
        Self {
            since: socket.app.now() - LOGIN_TAKES_MAX,
            known: HashSet::from([own]),
        }
    }

    /// Whether the change is the first of a session that began while the socket follows.
    fn has_new(&mut self, change: &RoomEvent) -> bool {
        let state: Option<SessionState> = change.body.decode().ok();
        state.is_some_and(|it| it.created_at >= self.since) && self.known.insert(change.item)
    }
}
