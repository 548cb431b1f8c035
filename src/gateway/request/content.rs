//! What a request carries: taken in as the upstream's encryption asks.
//!
//! | encryption | may bring | what becomes of it |
//! |---|---|---|
//! | `seal` | JSON, or a JWE | JSON is checked and sealed here |
//! | `require-sealed` | a JWE | passed on; there is no key here to seal with, and no permission to send in clear |
//! | `off` | JSON | checked, and passed on in clear |
//!
//! A caller of a `require-sealed` upstream may send clear JSON by mistake. What its head says is
//! refused before a byte of the body is asked for; a body that is not what its head says is refused at
//! its first byte that cannot stand in a JWE, and that byte is not kept. What still comes of a refused
//! body is dropped as it comes (see `body::discard`): it passes hyper's buffers, and nothing of ours.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method};
use http_body::Body;
use hyper::body::Incoming;

use crate::gateway::access_log::handle::RecordHandle;
use crate::gateway::request::body::{self, Bounds};
use crate::gateway::request::content_type::{MediaType, MediaTypeFault, media_type};
use crate::gateway::response::refusal::{Refusal, Sent};
use crate::gateway::route::{BodyPolicy, Route};
use crate::jose::{CallerMade, Plaintext};
use crate::keys::{Keys, PublishedKeys};
use crate::upstream::InClear;

/// Bodies up to this size are checked where they are. The check of a larger one would keep
/// every other request of this core waiting, so it gets a thread of its own.
const CHECKED_INLINE: usize = 64 * 1024;

/// What a request carries, and what is to be done with it.
#[derive(Debug)]
pub(crate) enum Content {
    /// No bytes: there is nothing to hide.
    Nothing,
    /// JSON, to be sealed with one of these keys.
    ToSeal(Plaintext, Keys),
    /// A JWE that the caller made, for one of these keys.
    Sealed(CallerMade, PublishedKeys),
    /// JSON for a provider that takes no JWE, and how the caller declared it.
    Clear(Plaintext, HeaderValue, InClear),
}

/// Takes in the body of the request that `parts` are the head of.
///
/// # Errors
/// The caller's refusals of the table, and `overloaded`.
pub(crate) async fn take(
    parts: &Parts,
    body: &mut Incoming,
    route: &Route,
    bounds: &Bounds<'_>,
    record: &RecordHandle,
) -> Result<Content, Refusal> {
    let declared = media_type(&parts.headers);
    let declared = if body.is_end_stream() { declared.unwrap_or(None) } else { declared? };
    let intake = Intake { method: &parts.method, declared, body, bounds, record };
    match &route.body_policy {
        BodyPolicy::Seal(keys) => intake.json_or_jwe(keys).await,
        BodyPolicy::RequireSealed(keys) => {
            let message = intake.jwe_only().await?;
            Ok(message.map_or(Content::Nothing, |message| Content::Sealed(message, keys.clone())))
        }
        BodyPolicy::Off(permission) => {
            let json = intake.json_only().await?;
            let content_type = parts.headers.get(CONTENT_TYPE).cloned();
            Ok(match (json, content_type) {
                (Some(json), Some(content_type)) => Content::Clear(json, content_type, *permission),
                _ => Content::Nothing,
            })
        }
    }
}

/// A body that has not been read yet, and what its head says of it.
struct Intake<'a> {
    method: &'a Method,
    declared: Option<MediaType>,
    body: &'a mut Incoming,
    bounds: &'a Bounds<'a>,
    record: &'a RecordHandle,
}

impl Intake<'_> {
    async fn json_or_jwe(mut self, keys: &Keys) -> Result<Content, Refusal> {
        let bytes = self.read(|_| Ok(())).await?;
        match self.declared {
            _ if bytes.is_empty() && self.may_be_empty() => Ok(Content::Nothing),
            None => Err(MediaTypeFault::Missing.into()),
            Some(MediaType::Json) => Ok(Content::ToSeal(check(bytes, Plaintext::json).await?, keys.clone())),
            Some(MediaType::Jose) => Ok(Content::Sealed(check(bytes, CallerMade::parse).await?, keys.known())),
        }
    }

    /// The only thing that comes of a body here is a JWE.
    async fn jwe_only(mut self) -> Result<Option<CallerMade>, Refusal> {
        let clear = || Refusal::PlaintextRefused;
        match self.declared {
            Some(MediaType::Jose) => {
                let bytes = self.read(|piece| CallerMade::check_piece(piece).map_err(Into::into)).await?;
                if bytes.is_empty() && self.may_be_empty() {
                    return Ok(None);
                }
                check(bytes, CallerMade::parse).await.map(Some)
            }
            Some(MediaType::Json) if !self.may_be_empty() => Err(clear()),
            Some(MediaType::Json) => self.read(|_| Err(clear())).await.map(|_nothing| None),
            None => self.read(|_| Err(MediaTypeFault::Missing.into())).await.map(|_nothing| None),
        }
    }

    async fn json_only(mut self) -> Result<Option<Plaintext>, Refusal> {
        if self.declared == Some(MediaType::Jose) {
            return Err(MediaTypeFault::NotSealed.into());
        }
        let bytes = self.read(|_| Ok(())).await?;
        match self.declared {
            _ if bytes.is_empty() && self.may_be_empty() => Ok(None),
            None => Err(MediaTypeFault::Missing.into()),
            Some(_) => check(bytes, Plaintext::json).await.map(Some),
        }
    }

    /// The whole body; `admit` sees each piece of it before it is kept.
    async fn read(&mut self, admit: impl Fn(&[u8]) -> Result<(), Refusal>) -> Result<Bytes, Refusal> {
        let bytes = body::read(self.body, self.bounds, admit).await?;
        self.record.body(bytes.len());
        Ok(bytes)
    }

    /// The provider documents a Content-Type for calls that have no body, so GET, HEAD and DELETE
    /// may declare what is not there. A POST, PUT or PATCH that announces something and brings
    /// nothing has lost it on the way.
    fn may_be_empty(&self) -> bool {
        self.declared.is_none() || !matches!(*self.method, Method::POST | Method::PUT | Method::PATCH)
    }
}

async fn check<T, E>(bytes: Bytes, how: fn(Bytes) -> Result<T, E>) -> Result<T, Refusal>
where
    T: Send + 'static,
    E: Into<Refusal> + Send + 'static,
{
    if bytes.len() <= CHECKED_INLINE {
        return how(bytes).map_err(Into::into);
    }
    match tokio::task::spawn_blocking(move || how(bytes)).await {
        Ok(checked) => checked.map_err(Into::into),
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down.
            Err(_) => Err(Refusal::Draining(Sent::Nothing)),
        },
    }
}
