//! Taking a caller's body in: once, whole, bounded, and wiped afterwards.
//!
//! It is buffered because it must be checked before a byte of it leaves (half a body is never
//! sent) and may have to be sealed a second time. Two limits bound the memory: one for each
//! body, one for all bodies together; over the second a request is turned away rather than
//! queued, since a queue of half-read bodies is the same memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroize;

use crate::gateway::response::refusal::{Limit, Refusal};

/// The first room for a body, whatever it announces; it doubles from here as bytes come.
const FIRST_CAPACITY: usize = 16 * 1024;

/// How much of a refused body is read and thrown away, so that a caller who sends first and
/// reads later finds our answer instead of a reset connection.
const DISCARD_BYTES: usize = 64 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// The bytes that all requests together may have buffered.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    /// A budget of `bytes`.
    #[must_use]
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let full = Refusal::Overloaded(Limit::Buffered);
        let Ok(count) = u32::try_from(bytes) else { return Err(full) };
        Arc::clone(&self.0).try_acquire_many_owned(count).map_err(|_| full)
    }
}

/// What is wrong with a body as HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFault {
    /// The framing is broken, or the caller left before the end.
    #[error("the body ended early or its framing is broken")]
    Incomplete,
    /// `Transfer-Encoding` twice, or another than `chunked` (RFC 9112 section 6.1).
    #[error("the only transfer coding taken is chunked, once")]
    TransferEncoding,
}

/// How much of a body is read, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'a> {
    /// Bytes of this body.
    pub max: usize,
    /// Bytes of all bodies that share it.
    pub budget: &'a Budget,
    /// For the whole body.
    pub time: Duration,
}

/// Reads `body` whole. Each piece is shown to `admit` before it is kept.
///
/// # Errors
/// `body_too_large` before reading when the length is announced, otherwise when the count
/// passes the most; `overloaded`; `request_timeout`; `malformed_request`; what `admit` says.
pub(crate) async fn read(
    body: &mut Incoming,
    bounds: &Bounds<'_>,
    admit: impl Fn(&[u8]) -> Result<(), Refusal>,
) -> Result<Bytes, Refusal> {
    let reading = collect(body, bounds.max, bounds.budget, admit);
    tokio::time::timeout(bounds.time, reading).await.unwrap_or(Err(Refusal::RequestTimeout))
}

/// Whether the caller waits for "100 Continue" (RFC 9110 section 10.1.1): when it is refused, it has sent
/// nothing of its body, and never will.
pub(crate) fn expects_continue(headers: &HeaderMap) -> bool {
    headers.contains_key(EXPECT)
}

/// Reads on without keeping anything, up to a bound, while the answer goes out.
pub(crate) fn discard(mut body: Incoming) {
    let mut left = DISCARD_BYTES;
    let reading = async move {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    // Out of time, the connection is closed on the caller: it was told why.
    tokio::spawn(tokio::time::timeout(DISCARD_TIME, reading));
}

async fn collect(
    body: &mut Incoming,
    max: usize,
    budget: &Budget,
    admit: impl Fn(&[u8]) -> Result<(), Refusal>,
) -> Result<Bytes, Refusal> {
    let too_large = Refusal::BodyTooLarge { limit: max };
    let announced = match body.size_hint().exact() {
        Some(length) => match usize::try_from(length) {
            Ok(length) if length <= max => Some(length),
            _ => return Err(too_large),
        },
        None => None,
    };
    let mut buffer = Buffer::new(announced.unwrap_or(max), budget)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::MalformedRequest(BodyFault::Incomplete))?;
        // Trailers are not part of the message that is sealed.
        let Ok(data) = frame.into_data() else { continue };
        if !data.is_empty() {
            admit(&data)?;
        }
        if data.len() > max - buffer.bytes.len() {
            return Err(too_large);
        }
        buffer.extend(&data)?;
    }
    Ok(Bytes::from_owner(buffer))
}

/// A body on its way in. Wiped when the last reader is done with it, and its share of the
/// budget is given back with it. Its room, and with it its share, grows with what has come, not
/// with what was announced: a caller who announces much and sends little holds little.
struct Buffer {
    bytes: Vec<u8>,
    /// As many bytes as there is room for.
    share: OwnedSemaphorePermit,
    most: usize,
    budget: Budget,
}

impl Buffer {
    /// Capacity for the beginning of a body that will have `most` bytes at the most.
    fn new(most: usize, budget: &Budget) -> Result<Self, Refusal> {
        let room = most.min(FIRST_CAPACITY);
        Ok(Self { bytes: Vec::with_capacity(room), share: budget.take(room)?, most, budget: budget.clone() })
    }

    fn extend(&mut self, data: &[u8]) -> Result<(), Refusal> {
        let needed = self.bytes.len() + data.len();
        if needed > self.share.num_permits() {
            self.grow((self.share.num_permits() * 2).min(self.most).max(needed))?;
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// By hand: a growing `Vec` would leave its old content behind in freed memory.
    fn grow(&mut self, room: usize) -> Result<(), Refusal> {
        let share = self.budget.take(room - self.share.num_permits())?;
        let mut grown = Vec::with_capacity(room);
        grown.extend_from_slice(&self.bytes);
        self.wipe();
        self.bytes = grown;
        self.share.merge(share);
        Ok(())
    }

    /// What was written, and not the room behind it: touching that would make it real memory.
    fn wipe(&mut self) {
        self.bytes.as_mut_slice().zeroize();
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_takes_room_as_it_comes_and_gives_it_back() {
        let budget = Budget::new(100_000);
        let mut buffer = Buffer::new(32 * 1024 * 1024, &budget).unwrap();
        buffer.extend(b"x").unwrap();
        assert_eq!((buffer.bytes.capacity(), buffer.share.num_permits()), (FIRST_CAPACITY, FIRST_CAPACITY));
        buffer.extend(&[7; FIRST_CAPACITY]).unwrap();
        assert_eq!((buffer.bytes.capacity(), buffer.share.num_permits()), (2 * FIRST_CAPACITY, 2 * FIRST_CAPACITY));
        assert!(matches!(buffer.extend(&[7; 100_000]), Err(Refusal::Overloaded(Limit::Buffered))));
        assert!(budget.take(100_000 - 2 * FIRST_CAPACITY).is_ok());
        drop(Bytes::from_owner(buffer));
        assert!(budget.take(100_000).is_ok());
    }

    #[test]
    fn a_body_never_has_more_room_than_it_may_need() {
        let budget = Budget::new(1 << 20);
        let mut buffer = Buffer::new(FIRST_CAPACITY + 10, &budget).unwrap();
        buffer.extend(&[7; FIRST_CAPACITY + 10]).unwrap();
        assert_eq!(buffer.bytes.capacity(), FIRST_CAPACITY + 10);
    }

    #[test]
    fn a_body_that_outgrows_its_first_room_stays_whole() {
        let budget = Budget::new(1 << 20);
        let mut buffer = Buffer::new(100_000, &budget).unwrap();
        let whole: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        for piece in whole.chunks(777) {
            buffer.extend(piece).unwrap();
        }
        assert_eq!(buffer.as_ref(), whole);
    }
}
