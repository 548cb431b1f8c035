//! One request, from admitted to answered.
//!
//! A body arrives as [`Payload`] and can leave only as [`Outgoing`](crate::upstream::Outgoing), which
//! is made of a sealed message or of nothing, and of clear JSON only with the permission of an
//! upstream that takes no other: a path that forgets to seal does not compile.
//!
//! The provider may withdraw a key between our fetch and its decryption, or a token before its
//! time. Then it answers that it cannot read us, or does not know us; it has processed nothing,
//! so asking again is safe even for a POST. We ask once more for each of the two reasons, with
//! a newer key or a newer token. When there is none, or the second answer is the same, the
//! answer is the caller's: trying harder would only hide that our picture is wrong.
//!
//! Nothing else is repeated: not after a time-out, not after a 5xx, not after a connection
//! that broke, for in each of them the provider may have done what was asked.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;

use crate::clock::Clock;
use crate::credentials::Credential;
use crate::gateway::access_log::handle::RecordHandle;
use crate::gateway::request::admit::{Admission, Admitted, Forward, Head};
use crate::gateway::request::payload::Payload;
use crate::gateway::response::key_hint::KeyHint;
use crate::gateway::response::refusal::Refusal;
use crate::gateway::response::relay::{Relayed, drop_reply, relay};
use crate::gateway::route::Route;

/// The body of an answer: the provider's, streaming, or our own.
pub(crate) type Reply = Either<Relayed, Full<Bytes>>;

/// An answer of our own. To HEAD it goes without its body and says how long that would be (RFC 9110
/// section 9.3.2); hyper sees to that in HTTP/1 alone.
#[must_use]
pub(crate) fn own(answer: Response<Bytes>, to: &Method) -> Response<Reply> {
    let (mut head, mut body) = answer.into_parts();
    if *to == Method::HEAD && !body.is_empty() {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        body = Bytes::new();
    }
    Response::from_parts(head, Either::Right(Full::new(body)))
}

/// The line every request goes down.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    admission: Arc<Admission>,
    clock: Clock,
}

impl Exchange {
    /// A line that begins with `admission`.
    #[must_use]
    pub(crate) fn new(admission: Admission, clock: Clock) -> Self {
        Self { admission: Arc::new(admission), clock }
    }

    /// Admit, key, seal, bearer, send, relay. Each step hands on or ends the request.
    ///
    /// # Errors
    /// Every [`Refusal`] but those of the layers above.
    pub(crate) async fn run(&self, request: Request<Incoming>) -> Result<Response<Reply>, Refusal> {
        let record = RecordHandle::of(&request);
        let method = request.method().clone();
        let Forward { route, head, mut payload, permit: _permit, caller_permit } =
            match self.admission.admit(request, &record).await? {
                Admitted::Forward(forward) => *forward,
                Admitted::Answered(answer) => {
                    record.answered_here();
                    return Ok(own(answer, &method));
                }
            };
        let mut credential = route.credentials.current().await?;
        let mut retries = RetryBudget { key: true, token: true };
        loop {
            let reply = self.send(&route, &head, &payload, &credential, &record).await?;
            if reply.status() != StatusCode::UNAUTHORIZED {
                credential.note_accepted();
            }
            match retries.after(&reply, &route, &mut payload, &mut credential, &record).await {
                Retry::SendAgain => drop_reply(reply).await,
                Retry::Relay(hint) => {
                    let relayed = relay(reply, hint, route.upstream.idle(), record, caller_permit)?;
                    return Ok(relayed.map(Either::Left));
                }
            }
        }
    }

    /// One attempt. A payload to be sealed is sealed anew: no key material is used twice.
    async fn send(
        &self,
        route: &Route,
        head: &Head,
        payload: &Payload,
        credential: &Credential,
        record: &RecordHandle,
    ) -> Result<Response<Incoming>, Refusal> {
        let (body, content_type) = payload.outgoing(&self.clock, record)?;
        let mut request = Request::new(body);
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.target.clone().into();
        *request.headers_mut() = head.headers.clone();
        if let Some(content_type) = content_type {
            request.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        credential.apply(request.headers_mut());
        let sent = self.clock.now();
        record.sending();
        let reply = route.upstream.send(request).await;
        record.answered(self.clock.now() - sent);
        Ok(reply?)
    }
}

/// What may still be tried after the provider's refusal: each at most once.
struct RetryBudget {
    key: bool,
    token: bool,
}

/// What becomes of a reply.
enum Retry {
    /// Something was renewed: another attempt makes sense.
    SendAgain,
    /// It is the caller's, with what we can tell about the reason.
    Relay(Option<KeyHint>),
}

impl RetryBudget {
    async fn after(
        &mut self,
        reply: &Response<Incoming>,
        route: &Route,
        payload: &mut Payload,
        credential: &mut Credential,
        record: &RecordHandle,
    ) -> Retry {
        let status = reply.status();
        match payload {
            _ if status == StatusCode::UNAUTHORIZED => {
                if std::mem::take(&mut self.token)
                    && let Some(newer) = route.credentials.replacement_for(credential).await
                {
                    *credential = newer;
                    record.resent();
                    return Retry::SendAgain;
                }
            }
            Payload::ToSeal { key, keys, .. } if route.may_mean_key_unknown(status) => {
                if std::mem::take(&mut self.key)
                    && let Some(newer) = keys.replacement_for(key).await
                {
                    *key = newer;
                    record.resealed();
                    return Retry::SendAgain;
                }
            }
            // Only who sealed it can seal it again; we can say that it would help.
            Payload::CallerSealed(message, keys) if route.may_mean_key_unknown(status) => {
                let current = keys.kids_instead_of(message.kid()).await;
                return Retry::Relay(current.map(|current| KeyHint { current }));
            }
            _ => {}
        }
        Retry::Relay(None)
    }
}
