//! Reads a caller's body: once, whole, within limits, and wiped after use.
//!
//! The body is buffered, because the gateway checks all of it before it sends a byte, and may have to seal it
//! a second time. Two limits bound the memory: one for each body and one for all bodies of an upstream. Over
//! the second limit a request is refused. Rejected: a queue, because half-read bodies in a queue take the
//! same memory.

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

/// The first capacity of a body's buffer, for any declared length. It doubles as bytes arrive.
const FIRST_CAPACITY: usize = 16 * 1024;

/// The limits for reading the rest of a refused body. A caller that sends its whole body before it reads then
/// finds the response instead of a reset connection.
const DISCARD_BYTES: usize = 64 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// The bytes that all requests to an upstream may have buffered.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    fn acquire(&self, bytes: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        let count = u32::try_from(bytes).map_err(|_| BodyError::BudgetExhausted)?;
        Arc::clone(&self.0).try_acquire_many_owned(count).map_err(|_| BodyError::BudgetExhausted)
    }
}

/// The bytes that the requests of one connection may have buffered before their callers are known. They do not use the
/// budget of an upstream, because clients without a key could use that up.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionBudget(Budget);

impl ConnectionBudget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Budget::new(bytes))
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.0
    }
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(transparent)]
    Malformed(#[from] BodyFault),
    #[error("request bodies are limited to {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the request body did not arrive in time")]
    Timeout,
    #[error("the budget for buffered request bodies is used up")]
    BudgetExhausted,
}

/// A fault in the framing of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFault {
    /// The framing is broken, or the caller closed the connection before the end.
    #[error("the body ended early or its framing is broken")]
    Incomplete,
    /// RFC 9112 section 6.1.
    #[error("the only allowed transfer coding is chunked, and only once")]
    TransferEncoding,
}

/// The limits for one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits<'a> {
    /// In bytes.
    pub max: usize,
    /// Shared by all bodies of the upstream.
    pub budget: &'a Budget,
    /// How long the caller may take for the whole body.
    pub time: Duration,
}

/// Reads `body` whole. `check_piece` checks each piece before it is kept.
///
/// # Errors
/// See [`BodyError`], and the errors of `check_piece`. If the declared length is over the limit, no byte is
/// read.
pub(crate) async fn read<E: From<BodyError>>(
    body: &mut Incoming,
    limits: &BodyLimits<'_>,
    check_piece: impl Fn(&[u8]) -> Result<(), E>,
) -> Result<Bytes, E> {
    let reading = collect(body, limits.max, limits.budget, check_piece);
    tokio::time::timeout(limits.time, reading).await.unwrap_or(Err(BodyError::Timeout.into()))
}

/// Whether the caller waits for "100 Continue" (RFC 9110 section 10.1.1). If the gateway refuses such a
/// request before it reads the body, the caller never sends the body.
pub(crate) fn expects_continue(headers: &HeaderMap) -> bool {
    headers.contains_key(EXPECT)
}

/// Reads the rest of a refused body in the background and keeps none of it, up to [`DISCARD_BYTES`].
pub(crate) fn discard(mut body: Incoming) {
    let mut left = DISCARD_BYTES;
    let reading = async move {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    // When time is up, the connection is closed. The caller has had its response.
    tokio::spawn(tokio::time::timeout(DISCARD_TIME, reading));
}

async fn collect<E: From<BodyError>>(
    body: &mut Incoming,
    max: usize,
    budget: &Budget,
    check_piece: impl Fn(&[u8]) -> Result<(), E>,
) -> Result<Bytes, E> {
    let too_large = BodyError::TooLarge { limit: max };
    let declared = match body.size_hint().exact() {
        Some(length) => match usize::try_from(length) {
            Ok(length) if length <= max => Some(length),
            _ => return Err(too_large.into()),
        },
        None => None,
    };
    let mut buffer = Buffer::new(declared.unwrap_or(max), budget)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Malformed(BodyFault::Incomplete))?;
        // Trailers are not part of the message that is sealed.
        let Ok(data) = frame.into_data() else { continue };
        if !data.is_empty() {
            check_piece(&data)?;
        }
        if data.len() > max - buffer.bytes.len() {
            return Err(too_large.into());
        }
        buffer.extend(&data)?;
    }
    Ok(Bytes::from_owner(buffer))
}

/// A body as far as it has arrived. When the last reader drops it, it is wiped and its part of the budget is
/// free again.
///
/// Capacity and budget grow with the bytes that have arrived, not with the declared length: a caller that
/// declares much and sends little uses little memory.
struct Buffer {
    bytes: Vec<u8>,
    /// One permit for each byte of capacity.
    permits: OwnedSemaphorePermit,
    max: usize,
    budget: Budget,
}

impl Buffer {
    /// A buffer for a body of at most `max` bytes.
    fn new(max: usize, budget: &Budget) -> Result<Self, BodyError> {
        let capacity = max.min(FIRST_CAPACITY);
        let permits = budget.acquire(capacity)?;
        Ok(Self { bytes: Vec::with_capacity(capacity), permits, max, budget: budget.clone() })
    }

    fn extend(&mut self, data: &[u8]) -> Result<(), BodyError> {
        let needed = self.bytes.len() + data.len();
        let capacity = self.permits.num_permits();
        if needed > capacity {
            self.grow((capacity * 2).min(self.max).max(needed))?;
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// Copies and wipes. A `Vec` that grows by itself would leave its old content in freed memory.
    fn grow(&mut self, capacity: usize) -> Result<(), BodyError> {
        let permits = self.budget.acquire(capacity - self.permits.num_permits())?;
        let mut grown = Vec::with_capacity(capacity);
        grown.extend_from_slice(&self.bytes);
        self.wipe();
        self.bytes = grown;
        self.permits.merge(permits);
        Ok(())
    }

    /// Overwrites the bytes that were written. The rest of the capacity is left alone, because a write to it
    /// would make the system commit that memory.
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
    fn a_buffer_grows_as_bytes_arrive_and_returns_its_budget() {
        let budget = Budget::new(100_000);
        let mut buffer = Buffer::new(32 * 1024 * 1024, &budget).unwrap();
        buffer.extend(b"x").unwrap();
        assert_eq!((buffer.bytes.capacity(), buffer.permits.num_permits()), (FIRST_CAPACITY, FIRST_CAPACITY));
        buffer.extend(&[7; FIRST_CAPACITY]).unwrap();
        assert_eq!((buffer.bytes.capacity(), buffer.permits.num_permits()), (2 * FIRST_CAPACITY, 2 * FIRST_CAPACITY));
        assert_eq!(buffer.extend(&[7; 100_000]), Err(BodyError::BudgetExhausted));
        assert!(budget.acquire(100_000 - 2 * FIRST_CAPACITY).is_ok());
        drop(Bytes::from_owner(buffer));
        assert!(budget.acquire(100_000).is_ok());
    }

    #[test]
    fn a_buffer_never_has_more_capacity_than_the_body_can_need() {
        let budget = Budget::new(1 << 20);
        let mut buffer = Buffer::new(FIRST_CAPACITY + 10, &budget).unwrap();
        buffer.extend(&[7; FIRST_CAPACITY + 10]).unwrap();
        assert_eq!(buffer.bytes.capacity(), FIRST_CAPACITY + 10);
    }

    #[test]
    fn a_body_larger_than_the_first_buffer_stays_whole() {
        let budget = Budget::new(1 << 20);
        let mut buffer = Buffer::new(100_000, &budget).unwrap();
        let whole: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        for piece in whole.chunks(777) {
            buffer.extend(piece).unwrap();
        }
        assert_eq!(buffer.as_ref(), whole);
    }
}
