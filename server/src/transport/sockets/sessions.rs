//! The person's own room, which every socket follows: its session items become `user:loggedIn` and
//! `session:updated`.

use super::{
    LOOK_AGAIN,
    sender::{Gone, Sender},
    socket::Socket,
};
use crate::live::{Feed, Frame, LiveError};
use chrono::{DateTime, TimeDelta, Utc};
use roost_schema::{ItemId, Kind, Op, RoomEvent, RoomId, SessionState};
use std::collections::HashSet;
use tokio_util::future::FutureExt;

/// A login says when it began, and is committed later, within the 2 s of a statement: by the clock of its instance, which
/// follows the database's as this one's does.
const LOGIN_TAKES_MAX: TimeDelta = TimeDelta::seconds(3);

/// Follows the person's own room until the socket ends.
pub(in crate::transport) async fn follow(socket: &Socket, sender: &impl Sender) {
    let room = RoomId::of_user(socket.actor().user_id);
    let following = async {
        loop {
            let actor = socket.actor();
            // Done in a moment, and larger than all that lasts as long as the socket.
            match Box::pin(socket.app.watch_room(&actor, room, None)).await {
                Ok(feed) => return pass_on(socket, sender, feed).await,
                Err(error) if error.code().is_retryable() => {
                    tokio::time::sleep(LOOK_AGAIN).await;
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

async fn pass_on(socket: &Socket, sender: &impl Sender, mut feed: Feed) {
    let mut logins = Logins::of(socket);
    loop {
        match feed.next().await {
            Ok(Some(frame)) => {
                if tell(sender, &frame, &mut logins).await.is_err() {
                    return;
                }
            }
            Err(LiveError::Unavailable) => tokio::time::sleep(LOOK_AGAIN).await,
            Ok(None) | Err(_) => return,
        }
    }
}

async fn tell(sender: &impl Sender, frame: &Frame, logins: &mut Logins) -> Result<(), Gone> {
    for change in &frame.events {
        if change.kind != Kind::Session {
            continue;
        }
        let event = match change.op {
            Op::Put if logins.has_new(change) => "user:loggedIn",
            Op::Put | Op::Delete => "session:updated",
            Op::Other(_) => continue,
        };
        sender.tell(event, &**change).await?;
    }
    Ok(())
}

/// Which of a person's sessions began while the socket followed them. What a session says of its beginning tells, so a
/// socket that connects asks no database, and a thousand that come back at once do not either.
struct Logins {
    since: DateTime<Utc>,
    /// The socket's own session, and what was told.
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

    /// Whether this is the first that is told of a session that began meanwhile.
    fn has_new(&mut self, change: &RoomEvent) -> bool {
        let state: Option<SessionState> = change.body.decode().ok();
        state.is_some_and(|it| it.created_at >= self.since) && self.known.insert(change.item)
    }
}
