//! A command that has begun.

use futures::future::BoxFuture;
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// A command has begun before this was returned, so commands begin in the order in which they came. Awaiting it finishes the
/// command, concurrently with later ones.
#[must_use = "a command that is not awaited is not answered"]
pub(in crate::transport) struct Begun<T>(BoxFuture<'static, T>);

impl<T> Begun<T> {
    /// `rest`: what remains to be done.
    pub(in crate::transport) fn new(rest: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Box::pin(rest))
    }
}

impl<T> Future for Begun<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.0.as_mut().poll(context)
    }
}
