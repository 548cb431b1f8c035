//! Taking a caller's body in: once, whole, bounded, and wiped afterwards.
//!
//! It is buffered because it must be checked before a byte of it leaves (half a body is never
//! sent) and may have to be sealed a second time. Two limits bound the memory: one for each
//! body, one for all bodies together; over the second a request is turned away rather than
//! queued, since a queue of half-read bodies is the same memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroize;

use super::refusal::{Limit, Refusal};

/// Capacity for a body that does not announce its length; it doubles from here.
const FIRST_CAPACITY: usize = 8 * 1024;

/// How much of a refused body is read and thrown away, so that a caller who sends first and
/// reads later finds our answer instead of a reset connection.
const DISCARD_BYTES: usize = 64 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// The bytes that all requests together may have buffered.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    /// A budget of `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
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
pub enum BodyFault {
    /// The framing is broken, or the caller left before the end.
    #[error("the body ended early or its framing is broken")]
    Incomplete,
    /// `Transfer-Encoding` twice, or another than `chunked` (RFC 9112 section 6.1).
    #[error("the only transfer coding taken is chunked, once")]
    TransferEncoding,
}

/// Reads `body` whole, within `time`.
///
/// # Errors
/// `body_too_large` before reading when the length is announced, otherwise when the count
/// passes `max`; `overloaded`; `request_timeout`; `malformed_request`.
pub async fn read(body: &mut Incoming, max: usize, budget: &Budget, time: Duration) -> Result<Bytes, Refusal> {
    tokio::time::timeout(time, collect(body, max, budget)).await.unwrap_or(Err(Refusal::RequestTimeout))
}

/// Reads on without keeping anything, up to a bound.
pub async fn discard(mut body: Incoming) {
    let mut left = DISCARD_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    // Out of time, the connection is closed on the caller: it was told why.
    let _ = tokio::time::timeout(DISCARD_TIME, reading).await;
}

async fn collect(body: &mut Incoming, max: usize, budget: &Budget) -> Result<Bytes, Refusal> {
    let too_large = Refusal::BodyTooLarge { limit: max };
    let announced = match body.size_hint().exact() {
        Some(length) => match usize::try_from(length) {
            Ok(length) if length <= max => Some(length),
            _ => return Err(too_large),
        },
        None => None,
    };
    let mut buffer = Buffer::new(announced.unwrap_or_else(|| FIRST_CAPACITY.min(max)), budget)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::MalformedRequest(BodyFault::Incomplete))?;
        // Trailers are not part of the message that is sealed.
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > max - buffer.bytes.len() {
            return Err(too_large);
        }
        buffer.extend(&data, budget)?;
    }
    Ok(Bytes::from_owner(buffer))
}

/// A body on its way in. Wiped when the last reader is done with it, and its share of the
/// budget is given back with it. The share grows with what has come, not with what was
/// announced: a caller who announces much and sends little holds little.
struct Buffer {
    bytes: Vec<u8>,
    share: OwnedSemaphorePermit,
}

impl Buffer {
    fn new(capacity: usize, budget: &Budget) -> Result<Self, Refusal> {
        Ok(Self { bytes: Vec::with_capacity(capacity), share: budget.take(0)? })
    }

    fn extend(&mut self, data: &[u8], budget: &Budget) -> Result<(), Refusal> {
        self.share.merge(budget.take(data.len())?);
        if data.len() > self.bytes.capacity() - self.bytes.len() {
            self.grow(data.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// By hand: a growing `Vec` would leave its old content behind in freed memory.
    fn grow(&mut self, by: usize) {
        let mut grown = Vec::with_capacity((self.bytes.len() + by).max(self.bytes.capacity() * 2));
        grown.extend_from_slice(&self.bytes);
        self.bytes.zeroize();
        self.bytes = grown;
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        debug_assert!(self.share.num_permits() >= self.bytes.len(), "a body is held beyond its share");
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_takes_of_the_budget_what_has_come_and_gives_it_back() {
        let budget = Budget::new(100);
        let mut buffer = Buffer::new(1_000_000, &budget).unwrap();
        buffer.extend(&[7; 60], &budget).unwrap();
        assert!(matches!(buffer.extend(&[7; 41], &budget), Err(Refusal::Overloaded(Limit::Buffered))));
        assert!(budget.take(40).is_ok());
        drop(Bytes::from_owner(buffer));
        assert!(budget.take(100).is_ok());
    }

    #[test]
    fn a_body_that_outgrows_its_first_room_stays_whole() {
        let budget = Budget::new(1 << 20);
        let mut buffer = Buffer::new(4, &budget).unwrap();
        let whole: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        for piece in whole.chunks(777) {
            buffer.extend(piece, &budget).unwrap();
        }
        assert_eq!(buffer.as_ref(), whole);
    }
}
