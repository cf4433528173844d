//! A room's feed as server-sent events. The feed pulls: a slow reader costs the others nothing.

use crate::{
    app::{Error, FENCED, Result},
    live::{Feed, Fence, Frame, LiveError},
    transport::{RECONNECT_AFTER, STOPPING},
};
use axum::response::{
    IntoResponse,
    sse::{Event, KeepAlive, Sse},
};
use futures::{StreamExt, future::BoxFuture, stream};
use roost_schema::ErrorCode;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often a quiet stream says that it is alive; proxies close what is silent for 30 s or more.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Resolves with the reason when nothing more may be sent, whatever the room does.
pub(super) fn end(
    left: Duration,
    revoked: CancellationToken,
    closing: CancellationToken,
    fence: Fence,
) -> BoxFuture<'static, Error> {
    Box::pin(async move {
        tokio::select! {
            () = revoked.cancelled_owned() => SESSION_REVOKED,
            () = tokio::time::sleep(left) => Error::unauthenticated(),
            () = closing.cancelled_owned() => STOPPING,
            () = fence.shut() => FENCED,
        }
    })
}

/// The frames of the feed until it or the right to read it ends, then why. What is wrong before the
/// first frame is an error still: the answer has not begun. After it a journal that does not answer is waited for.
pub(super) async fn answer(
    mut feed: Feed,
    mut end: BoxFuture<'static, Error>,
) -> Result<impl IntoResponse> {
    let first = in_right(&mut end, feed.try_next()).await?;
    let first = changes(&first).retry(RECONNECT_AFTER);
    let events = stream::iter([first]).chain(stream::unfold(Some((feed, end)), next));
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let unbuffered = [("x-accel-buffering", "no")];
    let events = Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(keep_alive);
    Ok((unbuffered, events))
}

type Open = (Feed, BoxFuture<'static, Error>);

async fn next(open: Option<Open>) -> Option<(Event, Option<Open>)> {
    let (mut feed, mut end) = open?;
    Some(match in_right(&mut end, feed.next()).await {
        Ok(frame) => (changes(&frame), Some((feed, end))),
        Err(reason) => (closed(&reason), None),
    })
}

/// The frame that is pulled, unless the right to read it has ended, which is looked at first.
async fn in_right(
    end: &mut BoxFuture<'static, Error>,
    pulled: impl Future<Output = Result<Option<Arc<Frame>>, LiveError>>,
) -> Result<Arc<Frame>> {
    tokio::select! {
        biased;
        reason = end => Err(reason),
        frame = pulled => frame?.ok_or(REMOVED),
    }
}

fn changes(frame: &Frame) -> Event {
    Event::default()
        .id(frame.content().position.to_string())
        .data(frame.to_json().get())
}

fn closed(reason: &Error) -> Event {
    let failure = reason.report();
    let text = serde_json::to_string(&failure).unwrap_or_default();
    Event::default().event("closed").data(text)
}

const SESSION_REVOKED: Error =
    Error::refused(ErrorCode::SessionRevoked, "the session was ended; sign in");

const REMOVED: Error = Error::not_found("you are no member of this room any more");
