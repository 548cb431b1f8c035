//! The streams of one HTTP/2 connection: how many are open, and whether their answers are read.
//!
//! HTTP/1 has hyper's head deadline for a connection that lies idle, and `stall.rs` for a caller
//! that does not read. HTTP/2 needs both anew. It has no deadline for an idle connection; and a
//! caller can keep reading frames, so that no write ever stalls, while it grants one stream no
//! room: the answer, and the provider's connection behind it, would wait for ever.
//!
//! hyper runs each stream by an executor, and that is ours: it counts the streams, and drops one
//! whose answer has offered a piece that nobody takes for a time. Pieces are small, so that a slow
//! reader is not taken for one that is gone because a large one took long. A dropped stream is
//! reset, and the others of its connection go on. How far the answer is, its body tells by a task-local
//! ([`TrackedBody`]); hyper gives no other way from the body to the stream.
//!
//! Rejected: breaking the whole connection. One slow reader would cost the caller all its other
//! requests.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::Sleep;

/// The most bytes of one piece: what HTTP/2 puts into one frame (RFC 9113 section 4.2).
const PIECE: usize = 16 * 1024;

tokio::task_local! {
    /// Pieces that the answer of the stream being run has offered; see [`BodyProgress`].
    static PROGRESS: BodyProgress;
}

/// Runs the streams of one connection. All clones are one.
#[derive(Clone, Debug)]
pub(crate) struct StreamExecutor {
    open: watch::Sender<usize>,
    closed: Arc<AtomicBool>,
    timeout: Duration,
}

impl StreamExecutor {
    /// None yet; each is dropped when nothing of its answer is taken for `patience`.
    #[must_use]
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { open: watch::Sender::new(0), closed: Arc::default(), timeout }
    }

    /// No further stream is run: it is dropped, which resets it. A caller can leave hyper's GOAWAY
    /// unanswered, and then hyper takes new streams for as long as it likes.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Returns once no stream has been open for `time` at a stretch.
    pub(crate) async fn idle(&self, time: Duration) {
        let mut open = self.open.subscribe();
        loop {
            // The sender is ours: it does not end before us.
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
        let open_stream = OpenStream::take(self.open.clone());
        let stream = StreamTimeout::new(stream, self.timeout);
        tokio::spawn(async move {
            if stream.await == End::NotRead {
                tracing::debug!("a stream was reset: nothing of its answer was taken");
            }
            drop(open_stream);
        });
    }
}

/// One of the open streams, until it is dropped.
struct OpenStream(watch::Sender<usize>);

impl OpenStream {
    fn take(open: watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// How many pieces an answer has offered, and in the lowest bit whether it waits for the caller:
/// it was not asked for more since.
#[derive(Clone, Debug, Default)]
struct BodyProgress(Arc<AtomicU64>);

impl BodyProgress {
    fn offered(&self) {
        let count = self.0.load(Ordering::Relaxed) >> 1;
        self.0.store(((count + 1) << 1) | 1, Ordering::Relaxed);
    }

    fn asked(&self) {
        self.0.fetch_and(!1, Ordering::Relaxed);
    }

    /// The number of the piece that waits to be taken.
    fn waiting(&self) -> Option<u64> {
        let progress = self.0.load(Ordering::Relaxed);
        (progress & 1 == 1).then_some(progress >> 1)
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    NotRead,
}

/// A stream that ends when its answer's last piece waits for too long.
struct StreamTimeout<F> {
    stream: Pin<Box<F>>,
    progress: BodyProgress,
    timeout: Duration,
    waiting: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<F> StreamTimeout<F> {
    fn new(stream: F, timeout: Duration) -> Self {
        Self { stream: Box::pin(stream), progress: BodyProgress::default(), timeout, waiting: None }
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
        let timeout = this.timeout;
        let waiting = this.waiting.take().filter(|(before, _)| *before == number);
        let (_, sleep) =
            this.waiting.insert(waiting.unwrap_or_else(|| (number, Box::pin(tokio::time::sleep(timeout)))));
        sleep.as_mut().poll(cx).map(|()| End::NotRead)
    }
}

/// An answer's body in pieces, which tells its stream how far it is. Without a stream, as in HTTP/1,
/// it tells nobody.
#[derive(Debug)]
pub(crate) struct TrackedBody<B> {
    body: B,
    /// What is left of the last frame of `body`.
    rest: Bytes,
}

impl<B> TrackedBody<B> {
    /// `body`, observed.
    pub(crate) fn new(body: B) -> Self {
        Self { body, rest: Bytes::new() }
    }
}

impl<B: Body<Data = Bytes> + Unpin> TrackedBody<B> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = self.poll_piece(cx);
        // Outside of a stream there is nobody to tell.
        let _ = PROGRESS.try_with(|progress| match &polled {
            Poll::Ready(Some(Ok(_))) => progress.offered(),
            _ => progress.asked(),
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (left, behind) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(behind.lower() + left);
        if let Some(upper) = behind.upper() {
            hint.set_upper(upper + left);
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

    async fn offer(body: &mut TrackedBody<Full<Bytes>>) -> bool {
        body.frame().await.is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_piece_nobody_takes_ends() {
        let never = Notify::new();
        let stream = StreamTimeout::new(
            async {
                assert!(offer(&mut TrackedBody::new(Full::from("piece"))).await);
                never.notified().await;
            },
            TIMEOUT,
        );
        let begun = tokio::time::Instant::now();
        assert_eq!(stream.await, End::NotRead);
        assert!(begun.elapsed() >= TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_waits_for_the_provider_or_is_read_slowly_does_not() {
        let stream = StreamTimeout::new(
            async {
                // Nothing offered yet: the exchange has a deadline of its own.
                tokio::time::sleep(10 * TIMEOUT).await;
                for _ in 0..5 {
                    let mut body = TrackedBody::new(Full::from("piece"));
                    assert!(offer(&mut body).await);
                    tokio::time::sleep(TIMEOUT / 2).await;
                    assert!(!offer(&mut body).await);
                    tokio::time::sleep(10 * TIMEOUT).await;
                }
            },
            TIMEOUT,
        );
        assert_eq!(stream.await, End::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_answer_may_take_long_as_long_as_some_of_it_is_taken() {
        let whole: Bytes = (0..10 * PIECE).map(|n| n as u8).collect();
        let answer = whole.clone();
        let stream = StreamTimeout::new(
            async move {
                let mut body = TrackedBody::new(Full::new(answer.clone()));
                let mut read = Vec::new();
                while let Some(Ok(frame)) = body.frame().await {
                    read.extend_from_slice(&frame.into_data().unwrap());
                    assert_eq!(body.size_hint().exact(), Some((answer.len() - read.len()) as u64));
                    assert_eq!(body.is_end_stream(), read.len() == answer.len());
                    tokio::time::sleep(TIMEOUT / 2).await;
                }
                assert_eq!(read, answer);
            },
            TIMEOUT,
        );
        assert_eq!(stream.await, End::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn once_closed_no_further_stream_is_run_and_those_that_are_open_go_on() {
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
    async fn a_connection_is_idle_when_no_stream_was_open_for_the_time() {
        let streams = StreamExecutor::new(TIMEOUT);
        hyper::rt::Executor::execute(&streams, async { tokio::time::sleep(TIMEOUT).await });
        let begun = tokio::time::Instant::now();
        streams.idle(TIMEOUT).await;
        assert!(begun.elapsed() >= 2 * TIMEOUT);
    }
}
