//! One connection's clock: how long it may wait for a header, and how long it may idle.
//!
//! hyper's own header timer also runs between requests, which would end kept-alive connections
//! after a header's time. Here a connection is waiting for a header, busy, or idle (which
//! includes writing the last answer to a slow reader), and each but busy has a deadline.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

/// When the connection must have moved on; None while a request is worked on.
type Deadline = Option<Instant>;

/// Shared by a connection's reader, its requests and its watcher.
#[derive(Debug)]
pub(super) struct Pulse {
    header: Duration,
    idle: Duration,
    is_idle: AtomicBool,
    deadline: watch::Sender<Deadline>,
}

impl Pulse {
    /// A connection that begins now: its first header is due.
    pub(super) fn start(header: Duration, idle: Duration) -> Arc<Self> {
        Arc::new(Self {
            header,
            idle,
            is_idle: AtomicBool::new(false),
            deadline: watch::Sender::new(Some(Instant::now() + header)),
        })
    }

    /// A request's header is complete.
    pub(super) fn busy(&self) {
        self.is_idle.store(false, Ordering::Relaxed);
        self.deadline.send_replace(None);
    }

    /// Its answer is ready to be written.
    pub(super) fn answered(&self) {
        self.is_idle.store(true, Ordering::Relaxed);
        self.deadline.send_replace(Some(Instant::now() + self.idle));
    }

    /// The first bytes after a pause: a header has begun.
    fn heard(&self) {
        if self.is_idle.swap(false, Ordering::Relaxed) {
            self.deadline
                .send_replace(Some(Instant::now() + self.header));
        }
    }

    /// Ends when a deadline has passed.
    pub(super) async fn overdue(&self) {
        let mut deadline = self.deadline.subscribe();
        loop {
            let now = *deadline.borrow_and_update();
            let changed = deadline.changed();
            let over = match now {
                None => changed.await.is_err(),
                Some(at) => tokio::time::timeout_at(at, changed)
                    .await
                    .map_or(true, |changed| changed.is_err()),
            };
            if over {
                return;
            }
        }
    }
}

/// A stream that tells the pulse when it hears something.
#[derive(Debug)]
pub(super) struct Listening<S> {
    stream: S,
    pulse: Arc<Pulse>,
}

impl<S> Listening<S> {
    pub(super) fn new(stream: S, pulse: Arc<Pulse>) -> Self {
        Self { stream, pulse }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Listening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() && buffer.filled().len() > before {
            self.pulse.heard();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listening<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_mins(1);

    async fn ends_after(pulse: &Pulse) -> Duration {
        let began = Instant::now();
        pulse.overdue().await;
        began.elapsed().max(Duration::from_millis(1))
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_has_its_time_however_often_a_byte_comes() {
        let pulse = Pulse::start(HEADER, IDLE);
        tokio::time::advance(Duration::from_secs(9)).await;
        pulse.heard();
        assert!(ends_after(&pulse).await <= Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_idle_and_then_has_a_headers_time() {
        let pulse = Pulse::start(HEADER, IDLE);
        pulse.busy();
        let still_busy = tokio::time::timeout(Duration::from_mins(10), pulse.overdue()).await;
        assert!(still_busy.is_err());
        pulse.answered();
        tokio::time::advance(Duration::from_secs(50)).await;
        pulse.heard();
        pulse.heard();
        let left = ends_after(&pulse).await;
        assert!(
            left > Duration::from_secs(9) && left <= Duration::from_secs(11),
            "{left:?}"
        );
    }
}
