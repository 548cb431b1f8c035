//! Reads a request body and opens it.
//!
//! A body is read completely, within limits of size and time. `application/jose` is then opened;
//! `application/json` is taken unchanged. The documentation allows both on every path. Opening uses
//! [`crate::jose::open`] alone, which checks the authentication tag before it decrypts.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::Body;
use http_body_util::BodyExt;
use serde_json::Value;

use super::api_response::{ApiResponse, ErrorFormat};
use super::received::OpenedBody;
use crate::jose::{self, DecryptionKey, OpenError};

/// Large enough for a letter with a PDF of 35 MiB: the document is Base64 inside JSON, and the JSON is Base64
/// inside a JWE, and each Base64 adds a third. The real provider's limit is not documented, and is probably
/// lower.
pub(super) const MAX_BODY: usize = 64 * 1024 * 1024;

/// Enough for 64 MiB at 10 Mbit/s. hyper has no deadline of its own for bodies.
pub(super) const BODY_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadError {
    TooLarge,
    TooSlow,
    /// The client disconnected, or the framing was invalid.
    Incomplete,
}

impl ReadError {
    pub(super) fn to_response(&self, format: ErrorFormat) -> ApiResponse {
        match self {
            Self::TooLarge => format.too_large(),
            Self::TooSlow => format.too_slow(),
            Self::Incomplete => format.incomplete(),
        }
    }
}

/// Returns the whole body, at most `limit` bytes. A declared length above the limit is refused before
/// anything is read.
pub(super) async fn read<B>(body: B, limit: usize, deadline: Duration) -> Result<Bytes, ReadError>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(ReadError::TooLarge);
    }
    tokio::time::timeout(deadline, collect(body, limit)).await.unwrap_or(Err(ReadError::TooSlow))
}

async fn collect<B>(mut body: B, limit: usize) -> Result<Bytes, ReadError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ReadError::Incomplete)?;
        // Flanks documents no trailers.
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if whole.len() + piece.len() > limit {
            return Err(ReadError::TooLarge);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// A body after opening.
#[derive(Debug, Default)]
pub(super) struct RequestBody {
    /// Empty if the request had no body.
    pub(super) plaintext: Bytes,
    /// Set if the body was `application/jose`.
    pub(super) opened: Option<OpenedBody>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum ContentError {
    MediaType,
    Sealed(OpenError),
}

impl ContentError {
    pub(super) fn to_response(&self, format: ErrorFormat) -> ApiResponse {
        match self {
            Self::MediaType => format.unsupported_media_type(),
            Self::Sealed(_) if format.is_flinks() => format.unsupported_media_type(),
            Self::Sealed(_) => format.undecryptable(),
        }
    }
}

/// Opens `wire` according to its `Content-Type`, which a request without a body may omit. Costs an RSA
/// operation: call it outside the async worker threads.
pub(super) fn open(headers: &HeaderMap, wire: &Bytes, keys: &[DecryptionKey]) -> Result<RequestBody, ContentError> {
    match media_type(headers).as_deref() {
        Some("application/jose") => {
            let mut opened = jose::open(wire, keys).map_err(ContentError::Sealed)?;
            Ok(RequestBody {
                plaintext: Bytes::from(std::mem::take(&mut *opened.plaintext)),
                opened: Some(OpenedBody { header: opened.header, kid: opened.kid, parts: opened.parts }),
            })
        }
        Some("application/json") => Ok(RequestBody { plaintext: wire.clone(), opened: None }),
        _ if wire.is_empty() => Ok(RequestBody::default()),
        _ => Err(ContentError::MediaType),
    }
}

/// Returns `null` for a call without a body.
pub(super) fn parse(plaintext: &[u8]) -> Result<Value, serde_json::Error> {
    if plaintext.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(plaintext)
}

/// The media type in lower case, without parameters. `None` if the header is missing, repeated or not ASCII.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let essence = value.to_str().ok()?.split(';').next()?;
    Some(essence.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::scripted_body::{BodyStep, ScriptedBody};
    use http_body_util::Full;
    use std::io;

    const DEADLINE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not() {
        let read = |length: usize| read(Full::from(vec![7; length]), 100, DEADLINE);
        assert_eq!(read(100).await.unwrap().len(), 100);
        assert_eq!(read(101).await.unwrap_err(), ReadError::TooLarge);
    }

    #[tokio::test]
    async fn a_body_that_exceeds_the_limit_without_declaring_it_is_refused() {
        let pieces = [60, 60].map(|length| BodyStep::Send(Bytes::from(vec![7; length])));
        let body = ScriptedBody::new(crate::clock::Clock::system(), 0, pieces);
        assert_eq!(read(body, 100, DEADLINE).await.unwrap_err(), ReadError::TooLarge);
    }

    #[tokio::test]
    async fn a_stalled_body_and_an_incomplete_body_give_different_errors() {
        let (clock, _control) = crate::clock::Clock::manual();
        let first = BodyStep::Send(Bytes::from_static(b"{"));
        let stalled = ScriptedBody::new(clock.clone(), 2, [first.clone(), BodyStep::Wait(DEADLINE)]);
        let short = Duration::from_millis(1);
        assert_eq!(read(stalled, 100, short).await.unwrap_err(), ReadError::TooSlow);
        let broken = BodyStep::Fail(io::ErrorKind::UnexpectedEof);
        let broken = ScriptedBody::new(clock, 2, [first, broken]);
        assert_eq!(read(broken, 100, DEADLINE).await.unwrap_err(), ReadError::Incomplete);
    }

    #[test]
    fn a_content_type_may_have_parameters_but_must_not_be_repeated() {
        let with = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_TYPE, http::HeaderValue::from_static(value));
            }
            open(&headers, &Bytes::from_static(b"{}"), &[]).map(|content| content.plaintext)
        };
        assert_eq!(with(&["application/JSON; charset=utf-8"]).unwrap(), "{}");
        let repeated = ["application/json", "application/json"];
        assert_eq!(with(&repeated).unwrap_err(), ContentError::MediaType);
        assert_eq!(with(&["text/plain"]).unwrap_err(), ContentError::MediaType);
        assert_eq!(with(&[]).unwrap_err(), ContentError::MediaType);
    }
}
