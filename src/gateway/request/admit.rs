//! Admission: turns a caller's request into one that may be forwarded, or refuses it.
//!
//! hyper parses requests, but it accepts some that RFC 9112 tells a server to refuse: a `Host` that is
//! missing or repeated, a repeated `Transfer-Encoding`, a target that is not a path. Admission refuses them.
//! It checks the whole head, the caller and the limits before it reads the first byte of the body.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Response, Uri, Version};
use hyper::body::Incoming;

use crate::gateway::callers::{CallerPermit, CallerRequest, Callers};
use crate::gateway::capacity::UpstreamPermit;
use crate::gateway::endpoints::jwks;
use crate::gateway::endpoints::token::{self, BadTokenRequest};
use crate::gateway::request::body::{self, BodyFault, BodyLimits};
use crate::gateway::request::context::Context;
use crate::gateway::request::headers::{self, TransferCoding, transfer_coding};
use crate::gateway::request::payload::Payload;
use crate::gateway::request::request_id::{RequestId, X_REQUEST_ID};
use crate::gateway::request::target::{self, TargetFault};
use crate::gateway::request::trace_state;
use crate::gateway::request::via::GatewayId;
use crate::gateway::response::refusal::Refusal;
use crate::gateway::route::{BodyPolicy, Route, Routes};
use crate::upstream::Head;

/// The result of admission.
#[derive(Debug)]
pub(crate) enum Admitted {
    Forward(Box<Forward>),
    /// The gateway answers the request itself.
    Answered(Response<Bytes>),
}

/// A request that may be forwarded.
#[derive(Debug)]
pub(crate) struct Forward {
    pub route: Route,
    /// Without the credential and the content type of the sealed body.
    pub head: Head,
    pub payload: Payload,
    /// Held up to the head of the reply.
    pub permit: UpstreamPermit,
    /// Held up to the end of the response.
    pub caller_permit: Option<CallerPermit>,
}

/// The callers, routes and limits that requests are checked against.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    callers: Callers,
    routes: Routes,
    /// How long a caller may take to send a body.
    body_time: Duration,
    id: GatewayId,
}

impl Admission {
    pub(crate) fn new(callers: Callers, routes: Routes, body_time: Duration, id: GatewayId) -> Self {
        Self { callers, routes, body_time, id }
    }

    /// Admits a request: checks it, reads its body and chooses the key to seal it with.
    ///
    /// # Errors
    /// Refusals for faults of the caller, `overloaded` and `no_usable_key`. The rest of the body is then
    /// read and discarded, within limits: a caller that sends its whole body before it reads still finds the
    /// response.
    pub(crate) async fn admit(&self, request: Request<Incoming>, context: &Context<'_>) -> Result<Admitted, Refusal> {
        let (parts, mut body) = request.into_parts();
        let expects_continue = body::expects_continue(&parts.headers);
        let admitted = self.check(parts, &mut body, context).await;
        if admitted.is_err() && !expects_continue {
            body::discard(body);
        }
        admitted
    }

    async fn check(&self, parts: Parts, body: &mut Incoming, context: &Context<'_>) -> Result<Admitted, Refusal> {
        let Context { id, record, origin, .. } = *context;
        check_head(&parts)?;
        self.id.check(&parts.headers)?;
        let route = self.routes.at(parts.uri.path());
        if let Some(route) = route.filter(|route| route.emulates(&parts.uri)) {
            record.upstream(&route.counters);
            return self.grant_token(&parts, body, route, context).await.map(Admitted::Answered);
        }
        let caller = self.callers.identify(&parts.headers, &origin.peer)?;
        if let Some(caller) = &caller {
            record.caller(caller.counters());
        }
        let route = route.ok_or(Refusal::NoUpstream)?;
        record.upstream(&route.counters);
        let target = route.target(&parts.uri)?;
        if route.is_token_endpoint(&target) {
            return Err(Refusal::TokenEndpoint);
        }
        if let BodyPolicy::RequireSealed(keys) = &route.body_policy
            && route.is_key_set(&target)
        {
            let _caller_permit = caller.map(|caller| caller.acquire(&caller_request(&parts, id))).transpose()?;
            let _permit = route.capacity.acquire()?;
            return Ok(Admitted::Answered(jwks::answer(&parts, keys).await?));
        }
        let caller_permit = caller.map(|caller| caller.admit(&caller_request(&parts, id))).transpose()?;
        let permit = route.capacity.acquire()?;
        let limits = BodyLimits { max: route.capacity.max_body, budget: &route.capacity.budget, time: self.body_time };
        let payload = Payload::read(&parts, body, route, &limits, record).await?;
        if let Some(checks) = &route.checks {
            let observers = (record, &*route.counters);
            checks.check(&parts.method, &target, payload.checked(), limits.budget, observers).await?;
        }
        let head = head(parts, target, &payload, context, &self.id);
        Ok(Admitted::Forward(Box::new(Forward { route: route.clone(), head, payload, permit, caller_permit })))
    }

    /// Whether the gateway answers the request as an emulated token endpoint. Its caller is then not known until the
    /// body is read.
    pub(crate) fn is_token_request(&self, uri: &Uri) -> bool {
        self.routes.at(uri.path()).is_some_and(|route| route.emulates(uri))
    }

    /// Answers a request for the emulated token endpoint. Takes permits only when the caller is known.
    async fn grant_token(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        route: &Route,
        context: &Context<'_>,
    ) -> Result<Response<Bytes>, Refusal> {
        let Context { id, record, origin, .. } = *context;
        if parts.method != Method::POST {
            return Err(BadTokenRequest::Method.into());
        }
        let time = self.body_time.min(token::BODY_TIME);
        let limits = BodyLimits { max: token::MAX_BODY, budget: origin.token_budget.budget(), time };
        record.reading_body();
        let token_request = body::read(body, &limits, |_| Ok::<_, Refusal>(())).await?;
        record.body(token_request.len());
        let scope = route.credentials.scope();
        let (caller, response) = token::answer(&self.callers, &parts.headers, &token_request, scope.as_deref())?;
        record.caller(caller.counters());
        let _caller_permit = caller.acquire(&caller_request(parts, id))?;
        let _permit = route.capacity.acquire()?;
        Ok(response)
    }
}

/// The head to forward.
fn head(parts: Parts, target: PathAndQuery, payload: &Payload, context: &Context<'_>, gateway: &GatewayId) -> Head {
    let content_type = parts.headers.get(CONTENT_TYPE).cloned();
    let mut headers = headers::to_provider(parts.headers, gateway);
    headers.insert(X_REQUEST_ID, context.id.header());
    // `traceparent` is set for each attempt.
    trace_state::limit(&mut headers, context.trace.is_some_and(|trace| trace.parent.is_some()));
    // The provider documents a Content-Type for calls without a body, so the caller's is forwarded.
    if let (Payload::Nothing, Some(content_type)) = (payload, content_type) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    Head { method: parts.method, target, headers }
}

fn caller_request<'a>(parts: &'a Parts, id: &'a RequestId) -> CallerRequest<'a> {
    CallerRequest { method: &parts.method, path: parts.uri.path(), request_id: id.as_str() }
}

/// Checks the parts of the head that do not depend on the configuration.
fn check_head(parts: &Parts) -> Result<(), Refusal> {
    // First, because its refusal closes the connection, unlike the others: where the next request begins is in doubt.
    check_transfer_coding(parts)?;
    if !target::is_forwarded(&parts.method) {
        return Err(Refusal::MethodNotAllowed);
    }
    target::check(&parts.uri, parts.version)?;
    check_host(parts)
}

/// Accepts `chunked` alone, and only since HTTP/1.1 (RFC 9112 section 6.1).
fn check_transfer_coding(parts: &Parts) -> Result<(), Refusal> {
    match transfer_coding(&parts.headers) {
        TransferCoding::None => Ok(()),
        TransferCoding::Chunked if parts.version >= Version::HTTP_11 => Ok(()),
        _ => Err(Refusal::MalformedRequest(BodyFault::TransferEncoding)),
    }
}

/// Accepts one valid `Host` (RFC 9112 section 3.2). In HTTP/2 the target has the authority, and a `Host`
/// beside it must be equal (RFC 9113 section 8.3.1). The gateway uses the value for nothing else.
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
