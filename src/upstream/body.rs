//! Request bodies that may be sent to the provider.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::clock::Clock;
use crate::jose::{Chunks, Compact, Plaintext, SealError};

/// After this many chunks the body yields to other tasks. A socket with a large buffer would otherwise
/// take a whole letter at once, and every other request on this core would wait for its sealing.
const CHUNKS_PER_TURN: u32 = 4;

/// The permit to send bodies in clear. Only an [`UpstreamClient`](super::UpstreamClient) that is configured with
/// `encryption = "off"` issues one; without it no plaintext can become an [`Outgoing`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct InClear(());

impl InClear {
    pub(super) fn allowed() -> Self {
        Self(())
    }
}

/// A request body that may be sent: a compact JWE, nothing, or JSON in clear under an [`InClear`] permit.
///
/// Its length is known before the first byte. The ciphertext of a sealed message is produced chunk by
/// chunk as the socket takes it, and is never in memory as a whole.
#[derive(Debug)]
pub(crate) struct Outgoing(BodySource);

#[derive(Debug)]
enum BodySource {
    Nothing,
    Clear(Bytes),
    Message { chunks: Chunks, clock: Clock, seal_time: SealTime, since_yield: u32 },
}

impl Outgoing {
    /// A body without bytes.
    #[must_use]
    pub(crate) fn nothing() -> Self {
        Self(BodySource::Nothing)
    }

    /// JSON in clear, for a provider that accepts no JWE.
    #[must_use]
    pub(crate) fn clear(json: &Plaintext, _: InClear) -> Self {
        Self(BodySource::Clear(json.in_clear()))
    }

    /// A sealed message. The time to seal its chunks is added to `seal_time`.
    #[must_use]
    pub(crate) fn message(message: Compact, clock: Clock, seal_time: SealTime) -> Self {
        Self(BodySource::Message { chunks: message.into_chunks(), clock, seal_time, since_yield: 0 })
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = SealError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SealError>>> {
        let (chunks, clock, seal_time, since_yield) = match &mut self.0 {
            BodySource::Nothing => return Poll::Ready(None),
            BodySource::Clear(json) => {
                let json = std::mem::take(json);
                return Poll::Ready((!json.is_empty()).then(|| Ok(Frame::data(json))));
            }
            BodySource::Message { chunks, clock, seal_time, since_yield } => (chunks, clock, seal_time, since_yield),
        };
        if *since_yield == CHUNKS_PER_TURN {
            *since_yield = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        *since_yield += 1;
        let chunk = seal_time.measure(clock, || chunks.next());
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

/// The time that sealing took, summed over a request's chunks and attempts.
#[derive(Clone, Debug, Default)]
pub(crate) struct SealTime(Arc<AtomicU64>);

impl SealTime {
    /// Runs `work` and adds the time it took.
    pub(crate) fn measure<T>(&self, clock: &Clock, work: impl FnOnce() -> T) -> T {
        let begun = clock.now();
        let result = work();
        let nanos = u64::try_from((clock.now() - begun).as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
        result
    }

    #[must_use]
    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}
