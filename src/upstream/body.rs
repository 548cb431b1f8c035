//! What may leave for the provider.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::clock::Clock;
use crate::jose::{Chunks, Compact, Plaintext, SealError};

/// After this many chunks the body lets others run. A socket with a large buffer would take a
/// whole letter at once, and every other request of this core would wait for its sealing.
const CHUNKS_AT_A_TIME: u32 = 4;

/// A provider takes bodies in clear. Only an [`Upstream`](super::Upstream) that was configured
/// with `encryption = "off"` gives this out, so without one no plaintext can become an [`Outgoing`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct InClear(());

impl InClear {
    pub(super) fn allowed() -> Self {
        Self(())
    }
}

/// A request body that may leave: a compact JWE, nothing, or JSON in clear where that is allowed.
///
/// Its length is known before the first byte. The ciphertext of a sealed message is made
/// chunk by chunk as the socket takes it and never stands in memory whole.
#[derive(Debug)]
pub(crate) struct Outgoing(BodySource);

#[derive(Debug)]
enum BodySource {
    Nothing,
    Clear(Bytes),
    Message { chunks: Chunks, clock: Clock, spent: SealTime, since_break: u32 },
}

impl Outgoing {
    /// No body: there is nothing to hide.
    #[must_use]
    pub(crate) fn nothing() -> Self {
        Self(BodySource::Nothing)
    }

    /// JSON in clear, for a provider that takes no JWE.
    #[must_use]
    pub(crate) fn clear(json: &Plaintext, _: InClear) -> Self {
        Self(BodySource::Clear(json.in_clear()))
    }

    /// A sealed message; the time its chunks cost is added to `spent`.
    #[must_use]
    pub(crate) fn message(message: Compact, clock: Clock, spent: SealTime) -> Self {
        Self(BodySource::Message { chunks: message.into_chunks(), clock, spent, since_break: 0 })
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = SealError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SealError>>> {
        let (chunks, clock, spent, since_break) = match &mut self.0 {
            BodySource::Nothing => return Poll::Ready(None),
            BodySource::Clear(json) => {
                let json = std::mem::take(json);
                return Poll::Ready((!json.is_empty()).then(|| Ok(Frame::data(json))));
            }
            BodySource::Message { chunks, clock, spent, since_break } => (chunks, clock, spent, since_break),
        };
        if *since_break == CHUNKS_AT_A_TIME {
            *since_break = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        *since_break += 1;
        let chunk = spent.measure(clock, || chunks.next());
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodySource::Nothing => true,
            BodySource::Clear(json) => json.is_empty(),
            BodySource::Message { chunks, .. } => chunks.remaining() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.0 {
            BodySource::Nothing => 0,
            BodySource::Clear(json) => json.len() as u64,
            BodySource::Message { chunks, .. } => chunks.remaining(),
        })
    }
}

/// How long sealing took, added up over a request's chunks and attempts.
#[derive(Clone, Debug, Default)]
pub(crate) struct SealTime(Arc<AtomicU64>);

impl SealTime {
    /// Does `work` and adds the time it took.
    pub(crate) fn measure<T>(&self, clock: &Clock, work: impl FnOnce() -> T) -> T {
        let begun = clock.now();
        let done = work();
        let nanos = u64::try_from((clock.now() - begun).as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
        done
    }

    /// The sum so far.
    #[must_use]
    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}
