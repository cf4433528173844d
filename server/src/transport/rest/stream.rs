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

/// How often a comment is sent on a quiet stream: proxies close a connection that is silent for 30 s or more.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Resolves when the reader loses the right to the stream, or the server stops; returns why.
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

/// Streams the frames of the feed until it ends or `end` resolves, then sends `closed`. Before the first frame a
/// failure is an error of the request, because the answer has not begun. After it, the stream waits for a journal that
/// does not answer.
pub(super) async fn answer(
    mut feed: Feed,
    mut end: BoxFuture<'static, Error>,
) -> Result<impl IntoResponse> {
    let first = until_end(&mut end, feed.try_next()).await?;
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
    Some(match until_end(&mut end, feed.next()).await {
        Ok(frame) => (changes(&frame), Some((feed, end))),
        Err(reason) => (closed(&reason), None),
    })
}

/// The pulled frame, unless `end` has resolved, which is checked first.
async fn until_end(
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
