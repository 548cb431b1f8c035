//! From what a caller sent to what may be forwarded.
//!
//! hyper parses; it does not refuse all that RFC 9112 tells a server to refuse. Host missing
//! or twice, `Transfer-Encoding` twice, targets that are no path: these are refused here, and
//! all that the head tells is judged before the first byte of the body is read.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, Request, Response, Version};
use hyper::body::Incoming;

use crate::gateway::access_log::handle::RecordHandle;
use crate::gateway::callers::{CallerPermit, CallerRequest, Callers};
use crate::gateway::capacity::UpstreamPermit;
use crate::gateway::endpoints::jwks;
use crate::gateway::endpoints::token::{self, BadTokenRequest};
use crate::gateway::request::body::{self, BodyFault, Bounds};
use crate::gateway::request::content::{self, Content};
use crate::gateway::request::headers::{self, TransferCoding, transfer_coding};
use crate::gateway::request::request_id::{RequestId, X_REQUEST_ID};
use crate::gateway::request::target::{self, TargetFault};
use crate::gateway::response::refusal::Refusal;
use crate::gateway::route::{BodyPolicy, Route, Routes};
use crate::gateway::server::peer::Peer;

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// It goes on to a provider.
    Forward(Box<Forward>),
    /// It is one the gateway answers itself.
    Answered(Response<Bytes>),
}

/// A request that may go on.
#[derive(Debug)]
pub(crate) struct Forward {
    /// Where it goes.
    pub route: Route,
    /// What goes before the body.
    pub head: Head,
    /// The body, checked.
    pub content: Content,
    /// Its place among the requests to this provider, up to the reply's head.
    pub permit: UpstreamPermit,
    /// Its place among its caller's requests, up to the end of the answer.
    pub caller_permit: Option<CallerPermit>,
}

/// The head of a request: only what may travel, no credentials yet.
#[derive(Debug)]
pub(crate) struct Head {
    /// One that is forwarded.
    pub method: Method,
    /// Path and query, as they came, behind the prefix that is taken off.
    pub target: PathAndQuery,
    /// The caller's headers that travel, and ours.
    pub headers: HeaderMap,
}

/// Who may go on, and how much of whom is read.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    callers: Callers,
    routes: Routes,
    body_time: Duration,
}

impl Admission {
    /// Admission of `callers` to `providers`; a body may take `body_time`.
    #[must_use]
    pub(crate) fn new(callers: Callers, routes: Routes, body_time: Duration) -> Self {
        Self { callers, routes, body_time }
    }

    /// Admits a request, its body whole.
    ///
    /// # Errors
    /// The caller's refusals of the table, and `overloaded`. What is left of the body is read and
    /// thrown away meanwhile, within bounds, so that a caller who sends first and reads later
    /// finds the answer.
    pub(crate) async fn admit(&self, request: Request<Incoming>, record: &RecordHandle) -> Result<Admitted, Refusal> {
        let (parts, mut body) = request.into_parts();
        let waits = body::expects_continue(&parts.headers);
        let admitted = self.judge(parts, &mut body, record).await;
        if admitted.is_err() && !waits {
            body::discard(body);
        }
        admitted
    }

    async fn judge(&self, parts: Parts, body: &mut Incoming, record: &RecordHandle) -> Result<Admitted, Refusal> {
        check_head(&parts)?;
        let route = self.routes.at(parts.uri.path());
        if let Some(route) = route.filter(|route| route.emulates(&parts.uri)) {
            record.upstream(&route.name);
            return self.grant_token(&parts, body, route, record).await.map(Admitted::Answered);
        }
        let caller = self.callers.identify(&parts.headers, &Peer::of(&parts.extensions))?;
        if let Some(caller) = &caller {
            record.caller(caller.name());
        }
        let route = route.ok_or(Refusal::NoUpstream)?;
        record.upstream(&route.name);
        let target = route.target(&parts.uri)?;
        if route.is_token_endpoint(&target) {
            return Err(Refusal::TokenEndpoint);
        }
        if let BodyPolicy::RequireSealed(keys) = &route.body_policy
            && route.is_key_set(&target)
        {
            let _caller_permit = caller.map(|caller| caller.acquire(&asked(&parts))).transpose()?;
            let _permit = route.capacity.acquire()?;
            return jwks::answer(&parts, keys).await.map(Admitted::Answered);
        }
        let caller_permit = caller.map(|caller| caller.admit(&asked(&parts))).transpose()?;
        let permit = route.capacity.acquire()?;
        let bounds = Bounds { max: route.capacity.max_body, budget: &route.capacity.budget, time: self.body_time };
        let content = content::take(&parts, body, route, &bounds, record).await?;
        let head = Head::new(parts, target, &content);
        Ok(Admitted::Forward(Box::new(Forward { route: route.clone(), head, content, permit, caller_permit })))
    }

    /// The provider's token endpoint, played by us. Whose the request is, only its body tells.
    async fn grant_token(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        route: &Route,
        record: &RecordHandle,
    ) -> Result<Response<Bytes>, Refusal> {
        if parts.method != Method::POST {
            return Err(BadTokenRequest::Method.into());
        }
        let _permit = route.capacity.acquire_unauthenticated()?;
        let time = self.body_time.min(token::BODY_TIME);
        let bounds = Bounds { max: token::MAX_BODY, budget: &route.capacity.budget, time };
        let written = body::read(body, &bounds, |_| Ok(())).await?;
        record.body(written.len());
        let scope = route.credentials.scope();
        let (caller, answer) = token::answer(&self.callers, &parts.headers, &written, scope.as_deref())?;
        record.caller(caller.name());
        let _caller_permit = caller.acquire(&asked(parts))?;
        Ok(answer)
    }
}

impl Head {
    fn new(parts: Parts, target: PathAndQuery, content: &Content) -> Self {
        let request_id = RequestId::of(&parts.extensions);
        let content_type = parts.headers.get(CONTENT_TYPE).cloned();
        let mut headers = headers::to_provider(parts.headers);
        headers.insert(X_REQUEST_ID, request_id.header());
        // The provider documents a Content-Type for calls without a body.
        if let (Content::Nothing, Some(content_type)) = (content, content_type) {
            headers.insert(CONTENT_TYPE, content_type);
        }
        Self { method: parts.method, target, headers }
    }
}

fn asked(parts: &Parts) -> CallerRequest<'_> {
    let request_id = parts.extensions.get().map_or("", RequestId::as_str);
    CallerRequest { method: &parts.method, path: parts.uri.path(), request_id }
}

/// What the head alone tells.
fn check_head(parts: &Parts) -> Result<(), Refusal> {
    if !target::is_forwarded(&parts.method) {
        return Err(Refusal::MethodNotAllowed);
    }
    target::check(&parts.uri, parts.version)?;
    check_host(parts)?;
    check_transfer_coding(parts)
}

/// RFC 9112 section 6.1; HTTP/1.0 knows no transfer codings.
fn check_transfer_coding(parts: &Parts) -> Result<(), Refusal> {
    match transfer_coding(&parts.headers) {
        TransferCoding::None => Ok(()),
        TransferCoding::Chunked if parts.version >= Version::HTTP_11 => Ok(()),
        _ => Err(Refusal::MalformedRequest(BodyFault::TransferEncoding)),
    }
}

/// RFC 9112 section 3.2: one `Host`, with a valid value (which decides nothing here). In HTTP/2 it
/// is in the target, and a `Host` beside it says the same (RFC 9113 section 8.3.1).
fn check_host(parts: &Parts) -> Result<(), Refusal> {
    let mut lines = parts.headers.get_all(HOST).iter();
    let is_valid = match (parts.uri.authority(), lines.next(), lines.next()) {
        (None, Some(host), None) => {
            host.is_empty() || Authority::try_from(host.as_bytes()).is_ok_and(|authority| !has_user(&authority))
        }
        (Some(authority), None, _) => !has_user(authority),
        (Some(authority), Some(host), None) => {
            !has_user(authority) && host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
        }
        _ => false,
    };
    if is_valid { Ok(()) } else { Err(TargetFault::Host.into()) }
}

fn has_user(authority: &Authority) -> bool {
    authority.as_str().contains('@')
}
