//! A TCP connection that can be watched and ended: it counts the bytes it wrote, ends when a write makes no progress,
//! and ends when its handle says so. Every connection of the server is one of these: a peer that stops reading a plain
//! one keeps it and what waits for it open, for as long as it likes. `inflow` meters what arrives on a WebSocket.

use crate::transport::{
    arrivals::Arriving,
    inflow::{Inflow, Overrun, ReadState},
};
use parking_lot::Mutex;
use std::{
    fmt, io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{Notify, futures::OwnedNotified},
    time::Sleep,
};

/// How long a connection that is to be closed is still read, so that a client that goes on sending receives the reason.
pub(in crate::transport) const DROPPING_TIME: Duration = Duration::from_secs(2);
/// Bytes that are read at once to be dropped.
pub(in crate::transport) const SCRAP_BYTES: usize = 4 * 1_024;
/// Reads to drop in one turn of the task.
const DROPPED_READS_MAX: usize = 16;

/// A handle to a connection: it reads what was written, and ends it.
#[derive(Clone)]
pub struct ConnectionHandle(Arc<Control>);

impl ConnectionHandle {
    /// Bytes the kernel has taken so far.
    pub fn written_bytes(&self) -> u64 {
        self.0.written_bytes.load(Ordering::Acquire)
    }

    /// Resolves at the next write that succeeds after this call, or when the connection ends.
    pub fn next_write(&self) -> OwnedNotified {
        Arc::clone(&self.0.moved).notified_owned()
    }

    /// Closes the connection at once; what was not written is lost.
    pub fn kill(&self) {
        self.0.end();
    }

    pub fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::Acquire)
    }

    /// Stops reading until the request for a WebSocket, which has just come, is answered.
    pub(in crate::transport) fn await_upgrade(&self) {
        self.0.inflow.await_upgrade();
    }

    /// Whether the client sent nothing after its request for a WebSocket, as RFC 6455 §4.1 requires. Ask while the
    /// request is being answered.
    pub(in crate::transport) fn is_quiet(&self) -> bool {
        self.0.inflow.is_quiet()
    }

    /// Counts the WebSocket's frames from here on.
    pub(in crate::transport) fn meter(&self, arriving: Arriving) {
        self.0.inflow.meter(arriving);
    }

    /// Reads again: the request for a WebSocket is answered.
    pub(in crate::transport) fn end_upgrade(&self) {
        self.0.inflow.end_upgrade();
        wake(&self.0.reader);
    }

    /// The client has signed in, and may send as much as an account.
    pub(in crate::transport) fn sign_in(&self) {
        self.0.inflow.sign_in();
    }

    /// Lets the connection linger at its end, because a request is refused before all of it was read: see
    /// `Guarded::take_lingering`.
    pub(in crate::transport) fn linger(&self) {
        self.0.lingers.store(true, Ordering::Release);
    }

    /// Resolves when the client sends more than it may. What follows is read and dropped for a moment, so that the
    /// client receives the reason; then the connection ends.
    pub(in crate::transport) async fn overrun(&self) -> Overrun {
        self.0.inflow.overrun().await
    }
}

impl fmt::Debug for ConnectionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionHandle")
            .field("written_bytes", &self.written_bytes())
            .field("is_dead", &self.is_dead())
            .finish()
    }
}

/// A TCP connection that a [`ConnectionHandle`] can end.
pub struct Guarded {
    /// Present until it lingers.
    stream: Option<TcpStream>,
    control: Arc<Control>,
    stall_timeout: Duration,
    /// Runs while a write waits for the peer.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs while what arrives is dropped.
    dropping: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    /// `stall_timeout`: how long a write may wait for the peer without a byte of progress.
    pub fn new(stream: TcpStream, stall_timeout: Duration) -> (Self, ConnectionHandle) {
        let control = Arc::new(Control::default());
        let handle = ConnectionHandle(Arc::clone(&control));
        let guarded = Self {
            stream: Some(stream),
            control,
            stall_timeout,
            stalled: None,
            dropping: None,
        };
        (guarded, handle)
    }

    /// The TCP stream of a connection that lingers, to be read for a while before it is closed: a stream closed with
    /// unread bytes is reset, and its client may never see the answer. `None`: it does not linger, or has ended.
    pub(in crate::transport) fn take_lingering(&mut self) -> Option<TcpStream> {
        let control = &self.control;
        let lingers =
            control.lingers.load(Ordering::Acquire) && !control.dead.load(Ordering::SeqCst);
        self.stream.take_if(|_| lingers)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(closed)
    }

    /// Reads and drops, until the peer closes or `DROPPING_TIME` is over.
    fn poll_drop(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let timer = self
            .dropping
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(DROPPING_TIME)));
        if timer.as_mut().poll(context).is_ready() {
            self.control.end();
            return Poll::Ready(Err(closed()));
        }
        for _ in 0..DROPPED_READS_MAX {
            let mut scrap = [MaybeUninit::uninit(); SCRAP_BYTES];
            let mut scrap = ReadBuf::uninit(&mut scrap);
            ready!(self.stream()?.poll_read(context, &mut scrap))?;
            if scrap.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        // Yields to other tasks.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends the connection when a write has been pending for too long.
    fn watch_stall(
        &mut self,
        context: &mut Context<'_>,
        poll: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let timeout = self.stall_timeout;
        let timer = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.control.end();
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer does not read",
        )))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.control.end();
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.control.check(&self.control.reader, context)?;
        match self.control.inflow.state() {
            ReadState::Open => {}
            ReadState::Gated => return Poll::Pending,
            ReadState::Overrun => return self.poll_drop(context),
        }
        let before = buffer.filled().len();
        ready!(self.stream()?.poll_read(context, buffer))?;
        if self.control.inflow.follow(&buffer.filled()[before..]) {
            return Poll::Ready(Ok(()));
        }
        buffer.set_filled(before);
        self.poll_drop(context)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.control.check(&self.control.writer, context)?;
        let poll = self.stream()?.poll_write(context, bytes);
        self.control.count(&poll);
        self.watch_stall(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.control.check(&self.control.writer, context)?;
        let poll = self.stream()?.poll_write_vectored(context, slices);
        self.control.count(&poll);
        self.watch_stall(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.control.check(&self.control.writer, context)?;
        // A TCP stream has no buffer of its own: a flush succeeds whether the peer reads or not.
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}

/// The state that a connection shares with its handles.
#[derive(Default)]
struct Control {
    dead: AtomicBool,
    lingers: AtomicBool,
    inflow: Inflow,
    written_bytes: AtomicU64,
    moved: Arc<Notify>,
    reader: WakerSlot,
    writer: WakerSlot,
}

type WakerSlot = Mutex<Option<Waker>>;

fn wake(slot: &WakerSlot) {
    let waker = slot.lock().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "closed by the server")
}

impl Control {
    fn end(&self) {
        self.dead.store(true, Ordering::SeqCst);
        wake(&self.reader);
        wake(&self.writer);
        self.moved.notify_waiters();
    }

    /// Fails on a dead connection; else keeps the waker of the task, to wake it when the connection ends. The waker is
    /// kept before the flag is read, so that no end is missed.
    fn check(&self, slot: &WakerSlot, context: &Context<'_>) -> io::Result<()> {
        {
            let mut kept = slot.lock();
            if !kept
                .as_ref()
                .is_some_and(|waker| waker.will_wake(context.waker()))
            {
                *kept = Some(context.waker().clone());
            }
        }
        if self.dead.load(Ordering::SeqCst) {
            return Err(closed());
        }
        Ok(())
    }

    fn count(&self, poll: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = poll {
            self.written_bytes
                .fetch_add(*bytes as u64, Ordering::AcqRel);
            self.moved.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
