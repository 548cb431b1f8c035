//! A response body that follows a script.
//!
//! Most responses are one piece. With a fault, the body can be cut, sent a few bytes at a time, or shorter
//! than declared. All of these are scripts, so there is one body type and the server needs no code for
//! faults.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::clock::Clock;

/// The pause before a body is cut. The bytes before it are not on the wire yet, and an immediate failure
/// would discard them. This uses the system clock, because the kernel needs the time and not the test.
const FLUSH_TIME: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub(super) enum BodyStep {
    Send(Bytes),
    Wait(Duration),
    /// Ends the connection: `ConnectionReset` with a TCP reset, any other kind with a close.
    Fail(io::ErrorKind),
}

/// A body that performs its steps and then ends.
pub(super) struct ScriptedBody {
    clock: Clock,
    steps: VecDeque<BodyStep>,
    /// The declared bytes that are not sent yet. hyper reads the `Content-Length` from it.
    declared: u64,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl ScriptedBody {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let declared = bytes.len() as u64;
        Self::new(Clock::system(), declared, [BodyStep::Send(bytes)])
    }

    /// Performs `steps` in order. They need not send `declared` bytes.
    pub(super) fn new(clock: Clock, declared: u64, steps: impl IntoIterator<Item = BodyStep>) -> Self {
        Self { clock, steps: steps.into_iter().collect(), declared, waiting: None }
    }

    /// Declares all of `bytes`, sends half of them, then fails with `end`.
    pub(super) fn cut(bytes: &Bytes, end: io::ErrorKind) -> Self {
        let half = bytes.slice(..bytes.len() / 2);
        let steps = [BodyStep::Send(half), BodyStep::Wait(FLUSH_TIME), BodyStep::Fail(end)];
        Self::new(Clock::system(), bytes.len() as u64, steps)
    }

    /// Sends `bytes` in pieces of `size`, with a pause before each.
    pub(super) fn in_pieces(clock: Clock, bytes: &Bytes, size: usize, pause: Duration) -> Self {
        let steps =
            bytes.chunks(size).flat_map(|piece| [BodyStep::Wait(pause), BodyStep::Send(bytes.slice_ref(piece))]);
        Self::new(clock, bytes.len() as u64, steps)
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(context));
                self.waiting = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(BodyStep::Send(bytes)) if bytes.is_empty() => {}
                Some(BodyStep::Send(bytes)) => {
                    self.declared = self.declared.saturating_sub(bytes.len() as u64);
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(BodyStep::Wait(duration)) => {
                    let clock = self.clock.clone();
                    self.waiting = Some(Box::pin(async move { clock.sleep(duration).await }));
                }
                Some(BodyStep::Fail(kind)) => return Poll::Ready(Some(Err(kind.into()))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.waiting.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.declared)
    }
}
