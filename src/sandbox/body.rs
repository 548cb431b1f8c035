//! From the bytes of a request to what the provider reads.
//!
//! A body is read whole, in bounded space and time, and then either opened (`application/jose`)
//! or taken as it came (`application/json`): the provider accepts both on every path. Opening
//! goes through [`crate::jose::open`] alone, which checks the authentication tag before it
//! decrypts.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::Body;
use http_body_util::BodyExt;

use super::api_response::{ApiResponse, ErrorFormat};
use super::received::OpenedBody;
use crate::jose::{self, DecryptionKey, OpenError};

/// A letter's document is Base64 inside JSON inside a JWE, each a third larger than its content:
/// this takes a 35 MiB PDF. A real provider refuses earlier.
pub(super) const MAX_BODY: usize = 64 * 1024 * 1024;

/// For the whole body: 64 MiB at 10 Mbit/s. hyper itself would wait for ever.
pub(super) const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// Why a body was not read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadError {
    TooLarge,
    TooSlow,
    /// The client left, or its framing broke.
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

/// All of `body`, at most `limit` bytes. A declared length over the limit is refused before
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
        // Trailers carry nothing the provider documents.
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

/// What the provider reads in a body.
#[derive(Debug, Default)]
pub(super) struct RequestBody {
    /// Empty when there was no body.
    pub(super) plaintext: Bytes,
    /// When it came sealed.
    pub(super) opened: Option<OpenedBody>,
}

/// Why a body says nothing to the provider.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ContentError {
    MediaType,
    Sealed(OpenError),
}

impl ContentError {
    pub(super) fn to_response(&self, format: ErrorFormat) -> ApiResponse {
        match self {
            Self::MediaType => format.unsupported_media_type(),
            Self::Sealed(_) => format.undecryptable(),
        }
    }
}

/// Opens `wire` as its `Content-Type` says. A request without a body needs none. Costs an RSA
/// operation: not for the threads of the runtime.
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

/// Lower-case and without parameters; nothing when the header is missing, doubled or not text.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let essence = line.to_str().ok()?.split(';').next()?;
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
    async fn a_body_that_grows_past_the_limit_without_saying_so_is_refused() {
        let pieces = [60, 60].map(|length| BodyStep::Send(Bytes::from(vec![7; length])));
        let body = ScriptedBody::new(crate::clock::Clock::system(), 0, pieces);
        assert_eq!(read(body, 100, DEADLINE).await.unwrap_err(), ReadError::TooLarge);
    }

    #[tokio::test]
    async fn a_body_that_stalls_or_breaks_off_is_told_apart() {
        let (clock, _hands) = crate::clock::Clock::manual();
        let first = BodyStep::Send(Bytes::from_static(b"{"));
        let stalled = ScriptedBody::new(clock.clone(), 2, [first.clone(), BodyStep::Wait(DEADLINE)]);
        let brief = Duration::from_millis(1);
        assert_eq!(read(stalled, 100, brief).await.unwrap_err(), ReadError::TooSlow);
        let broken = BodyStep::Fail(io::ErrorKind::UnexpectedEof);
        let broken = ScriptedBody::new(clock, 2, [first, broken]);
        assert_eq!(read(broken, 100, DEADLINE).await.unwrap_err(), ReadError::Incomplete);
    }

    #[test]
    fn a_content_type_may_carry_parameters_but_not_a_twin() {
        let with = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONTENT_TYPE, http::HeaderValue::from_static(line));
            }
            open(&headers, &Bytes::from_static(b"{}"), &[]).map(|content| content.plaintext)
        };
        assert_eq!(with(&["application/JSON; charset=utf-8"]).unwrap(), "{}");
        let twins = ["application/json", "application/json"];
        assert_eq!(with(&twins).unwrap_err(), ContentError::MediaType);
        assert_eq!(with(&["text/plain"]).unwrap_err(), ContentError::MediaType);
        assert_eq!(with(&[]).unwrap_err(), ContentError::MediaType);
    }
}
