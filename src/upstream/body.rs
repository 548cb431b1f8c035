//! Request bodies that may be sent to the provider.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::clock::Clock;
use crate::jose::{Chunks, Compact, Plaintext, SealError};

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
pub(crate) struct Outgoing {
    source: BodySource,
    /// Whether the HTTP client has asked for the first piece.
    taken: Taken,
    /// Whether a body without bytes is a body of its own, and not a part of the request's head.
    ends_separately: bool,
    repeat: Option<Repeat>,
}

#[derive(Debug)]
enum BodySource {
    Nothing,
    Clear(Bytes),
    Message { chunks: Chunks, clock: Clock, seal_time: SealTime, must_yield: bool },
}

impl Outgoing {
    /// A body without bytes.
    #[must_use]
    pub(crate) fn nothing() -> Self {
        Self::new(BodySource::Nothing, Repeat::Nothing)
    }

    /// JSON in clear, for a provider that accepts no JWE.
    #[must_use]
    pub(crate) fn clear(json: &Plaintext, _: InClear) -> Self {
        Self::new(BodySource::Clear(json.in_clear()), Repeat::Clear(json.in_clear()))
    }

    /// A sealed message. The time to seal its chunks is added to `seal_time`. `again` makes the message for
    /// another attempt: a new one with a key and an IV of its own, or the same one if a caller sealed it.
    #[must_use]
    pub(crate) fn message(
        message: Compact,
        again: impl Fn() -> Result<Compact, SealError> + Send + Sync + 'static,
        clock: Clock,
        seal_time: SealTime,
    ) -> Self {
        let repeat = Repeat::Message(Box::new(again), clock.clone(), seal_time.clone());
        let chunks = message.into_chunks();
        Self::new(BodySource::Message { chunks, clock, seal_time, must_yield: false }, repeat)
    }

    fn new(source: BodySource, repeat: Repeat) -> Self {
        Self { source, taken: Taken::default(), ends_separately: false, repeat: Some(repeat) }
    }

    /// Returns the means to make this body again. They hold the plaintext, so this body does not keep them.
    pub(super) fn take_repeat(&mut self) -> Option<Repeat> {
        self.repeat.take()
    }

    pub(super) fn taken(&self) -> Taken {
        self.taken.clone()
    }

    /// Sends the end of a body without bytes separately: in HTTP/2 as an empty `DATA` frame, in HTTP/1.1 as
    /// `Content-Length: 0`. The HTTP client then asks also such a body for its first piece (see [`Taken`]).
    pub(super) fn end_separately(&mut self) {
        self.ends_separately = true;
    }
}

/// Makes a body again, for another attempt.
pub(super) enum Repeat {
    Nothing,
    Clear(Bytes),
    Message(Box<dyn Fn() -> Result<Compact, SealError> + Send + Sync>, Clock, SealTime),
}

impl Repeat {
    /// Returns the body of the next attempt.
    ///
    /// # Errors
    /// If sealing fails.
    pub(super) fn body(&self) -> Result<Outgoing, SealError> {
        let source = match self {
            Self::Nothing => BodySource::Nothing,
            Self::Clear(json) => BodySource::Clear(json.clone()),
            Self::Message(again, clock, seal_time) => BodySource::Message {
                chunks: seal_time.measure(clock, again)?.into_chunks(),
                clock: clock.clone(),
                seal_time: seal_time.clone(),
                must_yield: false,
            },
        };
        Ok(Outgoing { source, taken: Taken::default(), ends_separately: false, repeat: None })
    }
}

impl fmt::Debug for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Repeat")
    }
}

/// Whether the HTTP client has asked a body for its first piece. As long as it has not, no byte of the body
/// can have been sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken(Arc<AtomicU8>);

impl Taken {
    const NO: u8 = 0;
    const YES: u8 = 1;
    const REVOKED: u8 = 2;

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::YES
    }

    /// Returns whether no byte of the body was sent, and none will be: from now on the body fails when it is taken.
    pub(super) fn revoke(&self) -> bool {
        self.change(Self::REVOKED) != Self::YES
    }

    /// Returns whether the body may be sent.
    fn take(&self) -> bool {
        self.change(Self::YES) != Self::REVOKED
    }

    /// Changes the state if it is still [`Self::NO`], and returns the state before.
    fn change(&self, to: u8) -> u8 {
        self.0.compare_exchange(Self::NO, to, Ordering::AcqRel, Ordering::Acquire).unwrap_or_else(|state| state)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = SealError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SealError>>> {
        if !self.taken.take() {
            return Poll::Ready(Some(Err(SealError)));
        }
        let (chunks, clock, seal_time, must_yield) = match &mut self.source {
            BodySource::Nothing => return Poll::Ready(None),
            BodySource::Clear(json) => {
                let json = std::mem::take(json);
                return Poll::Ready((!json.is_empty()).then(|| Ok(Frame::data(json))));
            }
            BodySource::Message { chunks, clock, seal_time, must_yield } => (chunks, clock, seal_time, must_yield),
        };
        // Between two chunks other tasks have the core. A socket with a large buffer would otherwise take a whole letter
        // at once. `yield_now` also lets the runtime look for new data on its sockets first. A plain wake-up does not:
        // with two letters in progress, other requests then took up to 100 ms (p99) instead of 10 ms.
        if std::mem::take(must_yield) {
            let _pending = pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        *must_yield = true;
        let chunk = seal_time.measure(clock, || chunks.next());
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            BodySource::Nothing => !self.ends_separately || self.taken.get(),
            BodySource::Clear(json) => json.is_empty(),
            BodySource::Message { chunks, .. } => chunks.remaining() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.source {
            BodySource::Nothing => 0,
            BodySource::Clear(json) => json.len() as u64,
            BodySource::Message { chunks, .. } => chunks.remaining(),
        })
    }
}

/// The time that sealing took, summed over a request's chunks and attempts.
#[derive(Clone, Debug, Default)]
pub(crate) struct SealTime(Arc<Sealing>);

#[derive(Debug, Default)]
struct Sealing {
    begun: OnceLock<Instant>,
    nanos: AtomicU64,
}

impl SealTime {
    /// Runs `work` and adds the time it took.
    pub(crate) fn measure<T>(&self, clock: &Clock, work: impl FnOnce() -> T) -> T {
        let begun = clock.now();
        self.0.begun.get_or_init(|| begun);
        let result = work();
        let nanos = u64::try_from((clock.now() - begun).as_nanos()).unwrap_or(u64::MAX);
        self.0.nanos.fetch_add(nanos, Ordering::Relaxed);
        result
    }

    /// When sealing began, and how long it took. `None` if nothing was sealed.
    #[must_use]
    pub(crate) fn spent(&self) -> Option<(Instant, Duration)> {
        let begun = *self.0.begun.get()?;
        Some((begun, Duration::from_nanos(self.0.nanos.load(Ordering::Relaxed))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_is_either_revoked_or_taken() {
        let json = Plaintext::json("{}".into()).unwrap();
        let mut body = Outgoing::clear(&json, InClear::allowed());
        let taken = body.taken();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{}");
        assert!(taken.get() && !taken.revoke());

        let mut body = Outgoing::clear(&json, InClear::allowed());
        let repeat = body.take_repeat().unwrap();
        assert!(body.taken().revoke() && !body.taken().get());
        assert!(body.frame().await.unwrap().is_err(), "no byte is sent any more");
        let again = repeat.body().unwrap().collect().await.unwrap();
        assert_eq!(again.to_bytes(), "{}");
    }

    /// With the sandbox, which generates the key.
    #[cfg(feature = "sandbox")]
    #[tokio::test]
    async fn a_body_yields_between_two_chunks() {
        use crate::jose::{DecryptionKey, EncryptionKey, seal};
        use std::future::poll_fn;

        let key = EncryptionKey::from_jwk(&DecryptionKey::generate("k").unwrap().to_public_jwk()).unwrap();
        let json = Plaintext::json(format!("\"{}\"", "x".repeat(100_000)).into()).unwrap();
        let message = seal(&json, &key).unwrap();
        let mut body = Outgoing::message(message, || Err(SealError), Clock::system(), SealTime::default());
        let mut polls = Vec::new();
        while !body.is_end_stream() {
            polls.push(poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx).is_ready())).await);
        }
        assert_eq!(polls, [true, false, true, false, true]);
    }
}
