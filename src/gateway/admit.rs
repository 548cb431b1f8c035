//! From what a caller sent to what may be forwarded.
//!
//! hyper parses; it does not refuse all that RFC 9112 tells a server to refuse. Host missing
//! or twice, `Transfer-Encoding` twice, targets that are no path: these are refused here, and
//! all that the head tells is judged before the first byte of the body is read.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, EXPECT, HOST};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, Request, Version};
use http_body::Body;
use hyper::body::Incoming;

use super::body::{self, BodyFault, Budget};
use super::content_type::{MediaType, MediaTypeFault, media_type};
use super::headers::{self, TransferCoding, transfer_coding};
use super::provider::{Provider, Providers};
use super::record::Notes;
use super::refusal::{Refusal, Sent};
use super::request_id::{RequestId, X_REQUEST_ID};
use super::target::{self, TargetFault};
use super::{Deadlines, Limits};
use crate::jose::{CallerMade, Plaintext};

/// Bodies up to this size are checked where they are. The check of a larger one would keep
/// every other request of this core waiting, so it gets a thread of its own.
const CHECKED_INLINE: usize = 64 * 1024;

/// A request that may go on.
#[derive(Debug)]
pub struct Admitted {
    /// Where it goes.
    pub provider: Provider,
    /// What goes before the body.
    pub head: Head,
    /// The body, checked.
    pub content: Content,
}

/// The head of a request: only what may travel, no credentials yet.
#[derive(Debug)]
pub struct Head {
    /// One that is forwarded.
    pub method: Method,
    /// Path and query, byte for byte as they came.
    pub target: PathAndQuery,
    /// The caller's headers that travel, and ours.
    pub headers: HeaderMap,
}

/// What a request carries.
#[derive(Debug)]
pub enum Content {
    /// No bytes: there is nothing to hide.
    Nothing,
    /// JSON, to be sealed.
    Json(Plaintext),
    /// A JWE that the caller made.
    Jose(CallerMade),
}

/// Who may go on, and how much of whom is read.
#[derive(Clone, Debug)]
pub struct Admission {
    providers: Providers,
    limits: Limits,
    deadlines: Deadlines,
    budget: Budget,
}

impl Admission {
    /// Admission to `providers`, within `limits`.
    #[must_use]
    pub fn new(providers: Providers, limits: Limits, deadlines: Deadlines) -> Self {
        let budget = Budget::new(limits.buffered);
        Self { providers, limits, deadlines, budget }
    }

    /// Admits a request, its body whole.
    ///
    /// # Errors
    /// The caller's refusals of the table, and `overloaded`. What is left of the body is read and
    /// thrown away meanwhile, within bounds, so that a caller who sends first and reads later
    /// finds the answer.
    pub async fn admit(&self, request: Request<Incoming>, notes: &Notes) -> Result<Admitted, Refusal> {
        let (parts, mut body) = request.into_parts();
        match self.take_in(&parts, &mut body, notes).await {
            Ok((provider, content)) => Ok(Admitted { provider, head: Head::new(parts, &content), content }),
            Err(refusal) => {
                // A caller that waits for "100 Continue" has sent nothing yet and now never will.
                if !parts.headers.contains_key(EXPECT) {
                    body::discard(body);
                }
                Err(refusal)
            }
        }
    }

    async fn take_in(&self, parts: &Parts, body: &mut Incoming, notes: &Notes) -> Result<(Provider, Content), Refusal> {
        let provider = self.check_head(parts)?;
        notes.provider(&provider.name);
        let declared = media_type(&parts.headers);
        let declared = if body.is_end_stream() { declared.unwrap_or(None) } else { declared? };
        let bytes = body::read(body, self.limits.max_body, &self.budget, self.deadlines.body).await?;
        notes.body(bytes.len());
        Ok((provider.clone(), content(&parts.method, declared, bytes).await?))
    }

    fn check_head(&self, parts: &Parts) -> Result<&Provider, Refusal> {
        if !target::is_forwarded(&parts.method) {
            return Err(Refusal::MethodNotAllowed);
        }
        target::check(&parts.uri)?;
        check_host(&parts.headers)?;
        check_transfer_coding(parts)?;
        let provider = self.providers.at(parts.uri.path()).ok_or(Refusal::NoUpstream)?;
        if provider.is_token_endpoint(&parts.uri) {
            return Err(Refusal::CallerForbidden);
        }
        Ok(provider)
    }
}

impl Head {
    fn new(parts: Parts, content: &Content) -> Self {
        let request_id = RequestId::of(&parts.extensions);
        let content_type = parts.headers.get(CONTENT_TYPE).cloned();
        let target = parts.uri.into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut headers = headers::to_provider(parts.headers);
        headers.insert(X_REQUEST_ID, request_id.header());
        // The provider documents a Content-Type for calls without a body.
        if let (Content::Nothing, Some(content_type)) = (content, content_type) {
            headers.insert(CONTENT_TYPE, content_type);
        }
        Self { method: parts.method, target, headers }
    }
}

/// RFC 9112 section 6.1; HTTP/1.0 knows no transfer codings.
fn check_transfer_coding(parts: &Parts) -> Result<(), Refusal> {
    match transfer_coding(&parts.headers) {
        TransferCoding::None => Ok(()),
        TransferCoding::Chunked if parts.version >= Version::HTTP_11 => Ok(()),
        _ => Err(Refusal::MalformedRequest(BodyFault::TransferEncoding)),
    }
}

/// RFC 9112 section 3.2: one `Host`, with a valid value (which decides nothing here).
fn check_host(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut lines = headers.get_all(HOST).iter();
    let (Some(host), None) = (lines.next(), lines.next()) else { return Err(TargetFault::Host.into()) };
    let is_valid = host.is_empty()
        || Authority::try_from(host.as_bytes()).is_ok_and(|authority| !authority.as_str().contains('@'));
    if is_valid { Ok(()) } else { Err(TargetFault::Host.into()) }
}

/// What `bytes` are, by the media type that was declared for them.
///
/// The provider documents a Content-Type for calls that have no body, so GET, HEAD and DELETE
/// may declare what is not there. A POST, PUT or PATCH that announces JSON and brings none has
/// lost it on the way.
async fn content(method: &Method, declared: Option<MediaType>, bytes: Bytes) -> Result<Content, Refusal> {
    let may_be_empty = !matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    match declared {
        _ if bytes.is_empty() && may_be_empty => Ok(Content::Nothing),
        None if bytes.is_empty() => Ok(Content::Nothing),
        None => Err(MediaTypeFault::Missing.into()),
        Some(MediaType::Json) => Ok(Content::Json(check(bytes, Plaintext::json).await?)),
        Some(MediaType::Jose) => Ok(Content::Jose(check(bytes, CallerMade::parse).await?)),
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
