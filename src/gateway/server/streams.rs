//! The streams of one HTTP/2 connection: counts the open ones, and ends one whose response is not read.
//!
//! For HTTP/1, hyper's head deadline ends an idle connection, and `write_timeout.rs` ends one whose caller does
//! not read. HTTP/2 needs its own means for both. hyper has no deadline for an idle HTTP/2 connection. And a
//! caller can read frames, so that no write is pending for long, while it grants one stream no flow-control
//! window. The response of that stream, and the provider's connection, would then stay open for ever.
//!
//! hyper runs each stream on an executor. [`StreamExecutor`] counts the streams. It drops a stream if the
//! caller does not accept the next chunk of the response in time. A dropped stream is reset; the other streams of
//! the connection continue. Chunks are small, so that a slow reader accepts one within the time.
//!
//! The response body reports its progress to its stream through a task-local (see [`TrackedBody`]). hyper has no
//! other way from the body to the stream.
//!
//! Many unread responses on one connection are an attack or a caller that hangs. Each holds a connection to the
//! provider, so that beyond [`MAX_UNREAD`] responses have a tenth of the time.
//!
//! Rejected: ending the whole connection. One slow reader would cost the caller all its other requests.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::Sleep;

/// The maximum size of a chunk: what HTTP/2 puts into one frame (RFC 9113 section 4.2).
const CHUNK: usize = 16 * 1024;

/// How many responses of one connection may wait for their caller for the whole time.
const MAX_UNREAD: usize = 32;

/// The time is divided into this many parts. At the end of each, a response beyond [`MAX_UNREAD`] is reset.
const PARTS: u32 = 10;

tokio::task_local! {
    /// The progress of the response body of the stream that is running.
    static PROGRESS: BodyProgress;
}

/// Runs the streams of one connection. Clones share their state.
#[derive(Clone, Debug)]
pub(crate) struct StreamExecutor {
    open: watch::Sender<usize>,
    unread: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
    timeout: Duration,
}

impl StreamExecutor {
    /// Each stream is dropped if its caller accepts nothing of the response for `timeout`.
    #[must_use]
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { open: watch::Sender::new(0), unread: Arc::default(), closed: Arc::default(), timeout }
    }

    /// Refuses further streams: each is dropped, which resets it. A caller can ignore hyper's GOAWAY, and hyper
    /// then accepts new streams for as long as the caller opens them.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Returns once a stream is open.
    pub(crate) async fn opened(&self) {
        // Cannot fail: `self` owns the sender.
        let _ = self.open.subscribe().wait_for(|open| *open > 0).await;
    }

    /// Returns once no stream has been open for an uninterrupted `time`.
    pub(crate) async fn idle(&self, time: Duration) {
        let mut open = self.open.subscribe();
        loop {
            // Cannot fail: `self` owns the sender.
            let _ = open.wait_for(|open| *open == 0).await;
            tokio::select! {
                () = tokio::time::sleep(time) => return,
                _ = open.wait_for(|open| *open > 0) => {}
            }
        }
    }
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let open_stream = OpenStream::count(self.open.clone());
        let stream = StreamTimeout::new(stream, self.timeout, Arc::clone(&self.unread));
        tokio::spawn(async move {
            if stream.await == End::NotRead {
                tracing::debug!("a stream was reset: the caller did not read the response");
            }
            drop(open_stream);
        });
    }
}

/// Counts as an open stream until it is dropped.
struct OpenStream(watch::Sender<usize>);

impl OpenStream {
    fn count(open: watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// The progress of a response body. The lowest bit says whether a chunk waits for the caller: hyper has not
/// asked for the next one yet. The other bits count the chunks.
#[derive(Clone, Debug, Default)]
struct BodyProgress(Arc<AtomicU64>);

impl BodyProgress {
    fn chunk_ready(&self) {
        let count = self.0.load(Ordering::Relaxed) >> 1;
        self.0.store(((count + 1) << 1) | 1, Ordering::Relaxed);
    }

    fn chunk_requested(&self) {
        self.0.fetch_and(!1, Ordering::Relaxed);
    }

    /// The number of the chunk that waits for the caller.
    fn waiting(&self) -> Option<u64> {
        let progress = self.0.load(Ordering::Relaxed);
        (progress & 1 == 1).then_some(progress >> 1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    NotRead,
}

/// A stream that ends if the last chunk of its response waits for the caller for longer than `timeout`.
struct StreamTimeout<F> {
    stream: Pin<Box<F>>,
    progress: BodyProgress,
    timeout: Duration,
    /// The unread responses of the connection.
    unread: Arc<AtomicUsize>,
    waiting: Option<Waiting>,
}

/// A chunk that waits for the caller. While it exists, its response counts as unread.
struct Waiting {
    number: u64,
    sleep: Pin<Box<Sleep>>,
    parts: u32,
    unread: Arc<AtomicUsize>,
}

impl Waiting {
    fn new(number: u64, part: Duration, unread: &Arc<AtomicUsize>) -> Self {
        unread.fetch_add(1, Ordering::Relaxed);
        Self { number, sleep: Box::pin(tokio::time::sleep(part)), parts: 0, unread: Arc::clone(unread) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.unread.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<F> StreamTimeout<F> {
    fn new(stream: F, timeout: Duration, unread: Arc<AtomicUsize>) -> Self {
        Self { stream: Box::pin(stream), progress: BodyProgress::default(), timeout, unread, waiting: None }
    }
}

impl<F: Future<Output = ()>> Future for StreamTimeout<F> {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = &mut *self;
        if PROGRESS.sync_scope(this.progress.clone(), || this.stream.as_mut().poll(cx)).is_ready() {
            return Poll::Ready(End::Done);
        }
        let Some(number) = this.progress.waiting() else {
            this.waiting = None;
            return Poll::Pending;
        };
        let part = this.timeout / PARTS;
        let waiting = this.waiting.take().filter(|waiting| waiting.number == number);
        let waiting = this.waiting.insert(waiting.unwrap_or_else(|| Waiting::new(number, part, &this.unread)));
        loop {
            ready!(waiting.sleep.as_mut().poll(cx));
            waiting.parts += 1;
            if waiting.parts == PARTS || this.unread.load(Ordering::Relaxed) > MAX_UNREAD {
                // No longer unread, so that no more responses are reset than necessary.
                this.waiting = None;
                return Poll::Ready(End::NotRead);
            }
            waiting.sleep.as_mut().reset(tokio::time::Instant::now() + part);
        }
    }
}

/// A response body in chunks, which reports its progress to its stream. Outside a stream, as in HTTP/1, it reports
/// nothing.
#[derive(Debug)]
pub(crate) struct TrackedBody<B> {
    body: B,
    /// The rest of the last frame of `body`.
    remaining: Bytes,
}

impl<B> TrackedBody<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body, remaining: Bytes::new() }
    }
}

impl<B: Body<Data = Bytes> + Unpin> TrackedBody<B> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.remaining.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.remaining = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let chunk = self.remaining.split_to(self.remaining.len().min(CHUNK));
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = self.poll_chunk(cx);
        // Fails outside a stream.
        let _ = PROGRESS.try_with(|progress| match &polled {
            Poll::Ready(Some(Ok(_))) => progress.chunk_ready(),
            _ => progress.chunk_requested(),
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.remaining.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (remaining, body) = (self.remaining.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + remaining);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + remaining);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use tokio::sync::Notify;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    async fn next_chunk(body: &mut TrackedBody<Full<Bytes>>) -> bool {
        body.frame().await.is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_if_its_chunk_is_not_accepted() {
        let never = Notify::new();
        let stream = StreamTimeout::new(
            async {
                assert!(next_chunk(&mut TrackedBody::new(Full::from("chunk"))).await);
                never.notified().await;
            },
            TIMEOUT,
            Arc::default(),
        );
        let begun = tokio::time::Instant::now();
        assert_eq!(stream.await, End::NotRead);
        assert!(begun.elapsed() >= TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_waits_for_the_provider_or_is_read_slowly_continues() {
        let stream = StreamTimeout::new(
            async {
                // No chunk yet: the exchange has a deadline of its own.
                tokio::time::sleep(10 * TIMEOUT).await;
                for _ in 0..5 {
                    let mut body = TrackedBody::new(Full::from("chunk"));
                    assert!(next_chunk(&mut body).await);
                    tokio::time::sleep(TIMEOUT / 2).await;
                    assert!(!next_chunk(&mut body).await);
                    tokio::time::sleep(10 * TIMEOUT).await;
                }
            },
            TIMEOUT,
            Arc::default(),
        );
        assert_eq!(stream.await, End::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_response_may_take_long_if_each_chunk_is_accepted_in_time() {
        let whole: Bytes = (0..10 * CHUNK).map(|n| n as u8).collect();
        let response = whole.clone();
        let stream = StreamTimeout::new(
            async move {
                let mut body = TrackedBody::new(Full::new(response.clone()));
                let mut read = Vec::new();
                while let Some(Ok(frame)) = body.frame().await {
                    read.extend_from_slice(&frame.into_data().unwrap());
                    assert_eq!(body.size_hint().exact(), Some((response.len() - read.len()) as u64));
                    assert_eq!(body.is_end_stream(), read.len() == response.len());
                    tokio::time::sleep(TIMEOUT / 2).await;
                }
                assert_eq!(read, response);
            },
            TIMEOUT,
            Arc::default(),
        );
        assert_eq!(stream.await, End::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn after_close_new_streams_are_refused_and_open_ones_continue() {
        let streams = StreamExecutor::new(TIMEOUT);
        let (first, second) = (watch::Sender::new(0), watch::Sender::new(0));
        let run = |done: &watch::Sender<i32>| {
            let done = done.clone();
            hyper::rt::Executor::execute(&streams, async move {
                tokio::time::sleep(TIMEOUT / 2).await;
                done.send_replace(1);
            });
        };
        run(&first);
        streams.close();
        run(&second);
        streams.idle(TIMEOUT).await;
        assert_eq!((*first.borrow(), *second.borrow()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_once_no_stream_was_open_for_the_whole_time() {
        let streams = StreamExecutor::new(TIMEOUT);
        hyper::rt::Executor::execute(&streams, async { tokio::time::sleep(TIMEOUT).await });
        let begun = tokio::time::Instant::now();
        streams.idle(TIMEOUT).await;
        assert!(begun.elapsed() >= 2 * TIMEOUT);
    }
}
