//! Reads a caller's body: once, whole, within limits, and wiped after use.
//!
//! The body is buffered, because the gateway checks all of it before it sends a byte, and may have to seal it
//! a second time. Two limits bound the memory: one for each body and one for all bodies of an upstream. Over
//! the second limit a request is refused. Rejected: a queue, because half-read bodies in a queue take the
//! same memory.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use crate::gateway::permits::{Permits, Usage};
use crate::gateway::request::buffer::Buffer;

/// The limits for reading the rest of a refused body. A caller that sends its whole body before it reads then
/// finds the response instead of a reset connection.
const DISCARD_BYTES: usize = 64 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// After this many bytes the reader yields to other tasks. A connection that is faster than the gateway would otherwise
/// occupy a core for milliseconds.
const BYTES_PER_TURN: usize = 256 * 1024;

/// The bytes that all requests to an upstream may have buffered.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Permits);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Permits::new(bytes))
    }

    /// The same budget with another number of bytes. Bodies that are buffered keep theirs.
    pub(crate) fn resized(&self, bytes: usize) -> Self {
        Self(self.0.resized(bytes))
    }

    pub(in crate::gateway) fn acquire(&self, bytes: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        let count = u32::try_from(bytes).map_err(|_| BodyError::BudgetExhausted)?;
        self.0.try_acquire_many(count).ok_or(BodyError::BudgetExhausted)
    }

    /// The bytes that are buffered, and their limit.
    #[must_use]
    pub(crate) fn usage(&self) -> Usage {
        self.0.usage()
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
    #[error("the system has no memory, or no addresses, for the request body")]
    NoMemory,
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
    let mut since_yield = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Malformed(BodyFault::Incomplete))?;
        // Trailers are not part of the message that is sealed.
        let Ok(data) = frame.into_data() else { continue };
        if !data.is_empty() {
            check_piece(&data)?;
        }
        if data.len() > max - buffer.len() {
            return Err(too_large.into());
        }
        buffer.extend(&data)?;
        since_yield += data.len();
        if since_yield >= BYTES_PER_TURN {
            since_yield = 0;
            tokio::task::yield_now().await;
        }
    }
    Ok(Bytes::from_owner(buffer))
}
