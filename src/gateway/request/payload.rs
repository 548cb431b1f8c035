//! The body of a request, from reading it to sending it.
//!
//! | `encryption` | accepted body | what the gateway sends |
//! |---|---|---|
//! | `seal` | JSON, or a JWE | JSON is checked and sealed here; a JWE is forwarded unchanged |
//! | `require-sealed` | a JWE | the JWE, unchanged: there is neither a key to seal with nor an `InClear` permit |
//! | `off` | JSON | the JSON, checked and in clear |
//!
//! The hard case is a caller of a `require-sealed` upstream that sends clear JSON by mistake. If the head
//! declares JSON, the gateway refuses the request before it reads a byte of the body. If the head declares a
//! JWE, the gateway refuses the body at the first byte that cannot be part of a JWE, and does not keep that
//! byte. The rest of a refused body is discarded as it arrives (see [`body::discard`]).
//!
//! The protected header of a JWE is in clear. So the gateway refuses a JWE of a caller whose header has other
//! members than most libraries write, unless `extra_header_members` allows them.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method};
use http_body::Body;
use hyper::body::Incoming;

use crate::clock::Clock;
use crate::gateway::access_log::{Phase, RecordHandle};
use crate::gateway::request::body::{self, BodyLimits};
use crate::gateway::request::content_type::{MediaType, MediaTypeFault, media_type};
use crate::gateway::response::refusal::{Refusal, Sent};
use crate::gateway::route::{BodyPolicy, Route};
use crate::gateway::validation::CheckedBody;
use crate::jose::{CallerMade, Compact, EncryptionKey, JsonCheck, Plaintext, Progress, seal};
use crate::keys::{Keys, PublishedKeys};
use crate::upstream::{InClear, Outgoing, SealTime};

/// Larger messages of callers are checked on a thread of their own, because the check would delay all other requests of
/// this core.
const MAX_INLINE_CHECK: usize = 64 * 1024;

/// A checked body. It can be sent any number of times.
#[derive(Debug)]
pub(crate) enum Payload {
    Nothing,
    /// JSON, sealed anew for each attempt: no key material is used twice.
    ToSeal {
        plaintext: Plaintext,
        key: Arc<EncryptionKey>,
        /// The set that `key` comes from.
        keys: Keys,
    },
    /// A JWE that the caller made for one of these keys.
    CallerSealed(CallerMade, PublishedKeys),
    /// JSON for a provider that takes no JWE, with the caller's `Content-Type`.
    Clear(Plaintext, HeaderValue, InClear),
}

impl Payload {
    /// Reads and checks `body`, then chooses the key to seal it with.
    ///
    /// # Errors
    /// Refusals for faults of the caller, `overloaded` and `no_usable_key`.
    pub(crate) async fn read(
        parts: &Parts,
        body: &mut Incoming,
        route: &Route,
        limits: &BodyLimits<'_>,
        record: &RecordHandle,
    ) -> Result<Self, Refusal> {
        let declared = media_type(&parts.headers);
        // A request without a body may have any Content-Type.
        let declared = if body.is_end_stream() { declared.unwrap_or(None) } else { declared? };
        let unread = UnreadBody { method: &parts.method, declared, body, limits, record };
        match &route.body_policy {
            BodyPolicy::Seal(keys) => unread.json_or_jwe(route, keys).await,
            BodyPolicy::RequireSealed(keys) => unread.jwe_only(route, keys).await,
            BodyPolicy::Off(permit) => unread.json_only(parts.headers.get(CONTENT_TYPE), *permit).await,
        }
    }

    /// The body, as far as it can be compared with the description of the API.
    pub(crate) fn checked(&self) -> CheckedBody<'_> {
        match self {
            Self::Nothing => CheckedBody::Nothing,
            Self::ToSeal { plaintext, .. } | Self::Clear(plaintext, ..) => CheckedBody::Json(plaintext),
            Self::CallerSealed(..) => CheckedBody::Sealed,
        }
    }

    fn caller_sealed(message: CallerMade, keys: PublishedKeys, route: &Route) -> Result<Self, Refusal> {
        let message = message.check_members(&route.extra_header_members)?;
        route.note_kid(message.kid(), &keys);
        Ok(Self::CallerSealed(message, keys))
    }

    /// The body of one attempt, and its `Content-Type`.
    ///
    /// # Errors
    /// `no_usable_key`, if sealing fails.
    pub(crate) fn outgoing(
        &self,
        clock: &Clock,
        record: &RecordHandle,
    ) -> Result<(Outgoing, Option<HeaderValue>), Refusal> {
        let body = match self {
            Self::Nothing => return Ok((Outgoing::nothing(), None)),
            Self::Clear(json, content_type, permit) => {
                return Ok((Outgoing::clear(json, *permit), Some(content_type.clone())));
            }
            Self::ToSeal { plaintext, key, .. } => {
                let seal_time = record.seal_time();
                let message = seal_time.measure(clock, || seal(plaintext, key))?;
                record.message(&message);
                let (plaintext, key) = (plaintext.clone(), Arc::clone(key));
                Outgoing::message(message, move || seal(&plaintext, &key), clock.clone(), seal_time)
            }
            // The gateway seals nothing here, so this time is not recorded.
            Self::CallerSealed(message, _) => {
                let again = message.clone();
                let message = Compact::from(message.clone());
                record.message(&message);
                Outgoing::message(message, move || Ok(again.clone().into()), clock.clone(), SealTime::default())
            }
        };
        Ok((body, Some(HeaderValue::from_static("application/jose"))))
    }
}

/// A body that has not been read yet.
struct UnreadBody<'a> {
    method: &'a Method,
    /// What the head says of the body.
    declared: Option<MediaType>,
    body: &'a mut Incoming,
    limits: &'a BodyLimits<'a>,
    record: &'a RecordHandle,
}

impl UnreadBody<'_> {
    async fn json_or_jwe(mut self, route: &Route, keys: &Keys) -> Result<Payload, Refusal> {
        let bytes = self.bytes(|_| Ok(())).await?;
        match self.declared {
            _ if bytes.is_empty() && self.may_be_empty() => Ok(Payload::Nothing),
            None => Err(MediaTypeFault::Missing.into()),
            Some(MediaType::Json) => {
                let plaintext = check_json(bytes).await?;
                let key = self.record.wait(Phase::KeyWait, keys.current()).await?;
                Ok(Payload::ToSeal { plaintext, key, keys: keys.clone() })
            }
            Some(MediaType::Jose) => {
                let message = check_jwe(bytes).await?;
                Payload::caller_sealed(message, keys.published(), route)
            }
        }
    }

    /// The only body that can result is a [`CallerMade`] message.
    async fn jwe_only(mut self, route: &Route, keys: &PublishedKeys) -> Result<Payload, Refusal> {
        match self.declared {
            Some(MediaType::Jose) => {
                let bytes = self.bytes(|piece| CallerMade::check_piece(piece).map_err(Into::into)).await?;
                if bytes.is_empty() && self.may_be_empty() {
                    return Ok(Payload::Nothing);
                }
                let message = check_jwe(bytes).await?;
                Payload::caller_sealed(message, keys.clone(), route)
            }
            Some(MediaType::Json) if !self.may_be_empty() => Err(Refusal::PlaintextRefused),
            Some(MediaType::Json) => self.expect_empty(|| Refusal::PlaintextRefused).await,
            None => self.expect_empty(|| MediaTypeFault::Missing.into()).await,
        }
    }

    async fn json_only(mut self, content_type: Option<&HeaderValue>, permit: InClear) -> Result<Payload, Refusal> {
        if self.declared == Some(MediaType::Jose) {
            return Err(MediaTypeFault::NotSealed.into());
        }
        let bytes = self.bytes(|_| Ok(())).await?;
        match content_type {
            _ if bytes.is_empty() && self.may_be_empty() => Ok(Payload::Nothing),
            None => Err(MediaTypeFault::Missing.into()),
            Some(content_type) => {
                let json = check_json(bytes).await?;
                Ok(Payload::Clear(json, content_type.clone(), permit))
            }
        }
    }

    /// Refuses the request at the first byte of its body.
    async fn expect_empty(&mut self, refusal: impl Fn() -> Refusal) -> Result<Payload, Refusal> {
        self.bytes(|_| Err(refusal())).await.map(|_nothing| Payload::Nothing)
    }

    /// The whole body. `check_piece` checks each piece before it is kept.
    async fn bytes(&mut self, check_piece: impl Fn(&[u8]) -> Result<(), Refusal>) -> Result<Bytes, Refusal> {
        if !self.body.is_end_stream() {
            self.record.reading_body();
        }
        let bytes = body::read(self.body, self.limits, check_piece).await?;
        self.record.body(bytes.len());
        Ok(bytes)
    }

    /// The provider documents a `Content-Type` for calls without a body, so GET, HEAD and DELETE may declare
    /// a body that is not there. A POST, PUT or PATCH that declares a body and has none has lost it on the
    /// way.
    fn may_be_empty(&self) -> bool {
        self.declared.is_none() || !matches!(*self.method, Method::POST | Method::PUT | Method::PATCH)
    }
}

/// Checks slice by slice. Other requests have the core between two slices.
async fn check_json(bytes: Bytes) -> Result<Plaintext, Refusal> {
    let mut check = JsonCheck::new(bytes);
    loop {
        match check.next_slice()? {
            Progress::Checked(plaintext) => return Ok(plaintext),
            Progress::Unfinished(rest) => check = rest,
        }
        tokio::task::yield_now().await;
    }
}

async fn check_jwe(bytes: Bytes) -> Result<CallerMade, Refusal> {
    if bytes.len() <= MAX_INLINE_CHECK {
        return Ok(CallerMade::parse(bytes)?);
    }
    match tokio::task::spawn_blocking(move || CallerMade::parse(bytes)).await {
        Ok(checked) => Ok(checked?),
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => Err(Refusal::Draining(Sent::Nothing)),
        },
    }
}
