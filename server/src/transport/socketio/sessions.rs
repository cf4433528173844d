//! The person's own room, which every socket follows: its session items become `user:loggedIn` and
//! `session:updated`.

use super::{connection::Connection, outbox::Outbox, rooms::FENCE_LOOK};
use crate::live::{Feed, Frame, LiveError};
use roost_schema::{ItemId, Kind, Op, RoomId};
use std::{collections::HashSet, time::Duration};

/// How long to wait after the room could not be loaded.
const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// Follows the person's own room until the socket ends.
pub(super) async fn follow(connection: &Connection, outbox: &Outbox) {
    let room = RoomId::of_user(connection.actor().user_id);
    let following = async {
        loop {
            match connection
                .app
                .watch_room(&connection.actor(), room, None)
                .await
            {
                Ok(feed) => return pass_on(connection, outbox, feed).await,
                Err(error) if error.code().is_retryable() => {
                    tokio::time::sleep(JOURNAL_RETRY).await;
                }
                Err(error) => {
                    tracing::debug!(room.id = %room, %error, "a person's own room cannot be followed");
                    return;
                }
            }
        }
    };
    connection.closed().run_until_cancelled(following).await;
}

async fn pass_on(connection: &Connection, outbox: &Outbox, mut feed: Feed) {
    let mut known = known_sessions(connection).await;
    loop {
        match feed.next().await {
            Ok(Some(frame)) => {
                if tell(outbox, &frame, &mut known).await.is_err() {
                    return;
                }
            }
            Err(LiveError::Unavailable) => tokio::time::sleep(FENCE_LOOK).await,
            Ok(None) | Err(_) => return,
        }
    }
}

/// Sessions there were before: what happens to them is no new login.
async fn known_sessions(connection: &Connection) -> HashSet<ItemId> {
    let actor = connection.actor();
    let sessions = connection.app.list_sessions(&actor).await;
    sessions
        .unwrap_or_default()
        .iter()
        .map(|session| ItemId::of_session(session.id))
        .collect()
}

async fn tell(
    outbox: &Outbox,
    frame: &Frame,
    known: &mut HashSet<ItemId>,
) -> Result<(), super::outbox::Gone> {
    for change in &frame.events {
        if change.kind != Kind::Session {
            continue;
        }
        let event = match change.op {
            Op::Put if known.insert(change.item) => "user:loggedIn",
            Op::Put | Op::Delete => "session:updated",
            Op::Other(_) => continue,
        };
        outbox.tell(event, &**change).await?;
    }
    Ok(())
}
