//! What is done to a request.
//!
//! [`Exchange::run`] is the path of every request: admit it, choose the key, seal the body, add the
//! credential, send, and relay the reply. Each step continues or ends the request with a [`Refusal`]. What
//! wraps the request (the access record, the deadline, refusals that become responses) is in
//! [`stack`](crate::gateway::stack).
//!
//! The type of a message says how far it has come: a [`Plaintext`](crate::jose::Plaintext) comes in, a
//! [`Compact`](crate::jose::Compact) goes out, and only [`jose::seal`](crate::jose::seal) turns the first
//! into the second. The upstream client sends a `Compact`, nothing, or clear JSON under an
//! [`InClear`](crate::upstream::InClear) permit. Only an upstream with `encryption = "off"` issues that
//! permit, so sending plaintext by mistake does not compile.
//!
//! The hard case is a provider that withdraws a key after we fetched it, or a token before it expires. The
//! provider has then processed nothing, so sending again is safe, even for a POST. The gateway sends again at
//! most once for each of these two causes:
//!
//! - The provider no longer has our key: take a newer key, seal again, send.
//! - The provider rejected our credential: renew it, send.
//!
//! If no newer key is available, or the provider refuses again, the gateway relays the reply. If no newer
//! credential can be obtained, it refuses the request: the provider's 401 concerns a credential that the caller
//! does not know. The gateway never sends again after a timeout, a 5xx or a broken connection, because the
//! provider may have processed the request. `upstream` repeats a request that the provider cannot have processed,
//! such as one on a refused connection.
//!
//! 400 is also the everyday answer to a wrong request. A reply that shows that the provider read the message is
//! therefore relayed at once: see [`ordinary_refusal`](crate::gateway::response::ordinary_refusal).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{Either, Full};
use hyper::body::Incoming;

use crate::clock::Clock;
use crate::credentials::{Credential, Refuser, TokenError};
use crate::gateway::access_log::{Phase, RecordHandle};
use crate::gateway::request::admit::{Admission, Admitted, Forward};
use crate::gateway::request::context::Context;
use crate::gateway::request::payload::Payload;
use crate::gateway::request::trace_context::TRACEPARENT;
use crate::gateway::response::key_check::KeyCheck;
use crate::gateway::response::key_hint::KeyHint;
use crate::gateway::response::next_gateway::NextGateway;
use crate::gateway::response::ordinary_refusal::{MAX_EXAMINED, is_ordinary};
use crate::gateway::response::refusal::Refusal;
use crate::gateway::response::relay::{Relayed, drop_reply, relay};
use crate::gateway::response::reply_body::ReplyBody;
use crate::gateway::route::Route;
use crate::keys::KeyStatus;
use crate::upstream::Head;

/// How long a key check waits for the body of a reply. The body usually arrives together with the head.
const MAX_EXAMINATION: Duration = Duration::from_millis(20);

/// The body of a response: the provider's, streamed, or the gateway's own.
pub(crate) type Reply = Either<Relayed, Full<Bytes>>;

/// Sends requests to the upstreams. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    admission: Arc<Admission>,
    clock: Clock,
}

impl Exchange {
    pub(crate) fn new(admission: Admission, clock: Clock) -> Self {
        Self { admission: Arc::new(admission), clock }
    }

    /// Whether the caller is known only after the body is read: see [`Admission::is_token_request`].
    pub(crate) fn is_token_request(&self, uri: &Uri) -> bool {
        self.admission.is_token_request(uri)
    }

    /// Answers `request`: with the provider's reply, or with a response of the gateway's own.
    ///
    /// # Errors
    /// Every [`Refusal`] except those of the steps in [`stack`](crate::gateway::stack).
    pub(crate) async fn run(
        &self,
        request: Request<Incoming>,
        context: &Context<'_>,
    ) -> Result<Response<Reply>, Refusal> {
        let record = context.record.clone();
        let method = request.method().clone();
        // Admission ends with the choice of the key. The request is in flight until the head of the reply is here.
        let Forward { route, head, payload, permit, caller_permit } =
            match self.admission.admit(request, context).await? {
                Admitted::Forward(forward) => *forward,
                Admitted::Answered(response) => {
                    record.answered_here();
                    return Ok(own(response, &method));
                }
            };
        let credential = record.wait(Phase::CredentialWait, route.credentials.current()).await?;
        let budget = RetryBudget { key: true, credential: true };
        let mut attempt = Attempt { route, head, payload, credential, budget, record, clock: self.clock.clone() };
        if context.trace.is_some_and(|trace| trace.is_exported)
            && let Some(url) = attempt.route.upstream.url_without_query(&attempt.head.target)
        {
            attempt.record.url(url);
        }
        loop {
            let mut reply = attempt.send().await?;
            match attempt.retry(&mut reply).await {
                Retry::SendAgain => drop_reply(reply).await,
                Retry::Refuse(refusal) => {
                    drop_reply(reply).await;
                    return Err(refusal);
                }
                Retry::Relay(hint) => {
                    let permits = (permit.into_response(), caller_permit);
                    let response = relay(reply, hint, &attempt.route, attempt.record, permits)?;
                    return Ok(response.map(Either::Left));
                }
            }
        }
    }
}

/// A response of the gateway's own to a request with `method`. A response to HEAD keeps the length and loses
/// the body (RFC 9110 section 9.3.2): hyper does that in HTTP/1 only.
pub(crate) fn own(response: Response<Bytes>, method: &Method) -> Response<Reply> {
    let (mut head, mut body) = response.into_parts();
    if *method == Method::HEAD && !body.is_empty() {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        body = Bytes::new();
    }
    Response::from_parts(head, Either::Right(Full::new(body)))
}

/// One request to the provider, with all that is needed to send it again.
struct Attempt {
    route: Route,
    head: Head,
    payload: Payload,
    credential: Credential,
    budget: RetryBudget,
    record: RecordHandle,
    clock: Clock,
}

/// The retries that are left.
struct RetryBudget {
    key: bool,
    credential: bool,
}

/// The decision about a reply.
enum Retry {
    /// Discard it and send the request again, with a newer key or credential.
    SendAgain,
    /// Discard it and refuse the request: the cause is the gateway's own credential.
    Refuse(Refusal),
    /// Relay it to the caller, with a hint if the caller can seal again.
    Relay(Option<KeyHint>),
}

impl Attempt {
    /// Seals the body, adds the credential and sends the request. Sealing is done anew for each attempt: no
    /// key material is used twice.
    async fn send(&mut self) -> Result<Response<ReplyBody>, Refusal> {
        let (body, content_type) = self.payload.outgoing(&self.clock, &self.record)?;
        if let Some(content_type) = content_type {
            self.head.headers.insert(CONTENT_TYPE, content_type);
        }
        self.credential.apply(&mut self.head.headers);
        if let Some(traceparent) = self.record.sending() {
            self.head.headers.insert(TRACEPARENT, traceparent);
        }
        let mut peer = None;
        let reply = self.route.upstream.send(&self.head, body, &mut peer).await;
        self.record.answered(peer, reply.as_ref().ok().map(|reply| (reply.status(), reply.version())));
        Ok(reply?.map(ReplyBody::from))
    }

    /// Decides what to do with a reply. Renews the key or the credential that the provider refused.
    async fn retry(&mut self, reply: &mut Response<ReplyBody>) -> Retry {
        let status = reply.status();
        let next_gateway = self.route.is_egress.then(|| NextGateway::of(reply)).flatten();
        if status == StatusCode::UNAUTHORIZED && next_gateway != Some(NextGateway::Relayed) {
            let refuser = match next_gateway {
                Some(NextGateway::Refused) => Refuser::Egress,
                _ => Refuser::Provider,
            };
            return match self.renew_credential(refuser).await {
                Ok(true) => Retry::SendAgain,
                Ok(false) => Retry::Relay(None),
                Err(error) => Retry::Refuse(error.into()),
            };
        }
        self.route.credentials.note_accepted(&self.credential, status);
        if self.route.may_mean_key_unknown(status) { self.check_key(reply).await } else { Retry::Relay(None) }
    }

    /// Decides whether the provider refused the message because it no longer has the key.
    ///
    /// A reply that shows that the provider read the message is relayed at once. The key set is fetched in the
    /// background, in case this conclusion is wrong. Every other reply waits for a fetch.
    async fn check_key(&mut self, reply: &mut Response<ReplyBody>) -> Retry {
        let keys = match &self.payload {
            Payload::ToSeal { keys, .. } => keys.published(),
            Payload::CallerSealed(_, keys) => keys.clone(),
            Payload::Nothing | Payload::Clear(..) => return Retry::Relay(None),
        };
        if !std::mem::take(&mut self.budget.key) {
            return Retry::Relay(None);
        }
        self.record.checking_key();
        let (outcome, retry) = if self.is_ordinary(reply).await {
            keys.check_in_background();
            (KeyCheck::Relayed, Retry::Relay(None))
        } else {
            self.renew_key().await
        };
        self.record.key_checked(outcome);
        self.route.counters.key_checks.add(outcome);
        retry
    }

    /// Whether the reply shows that the provider read the message.
    async fn is_ordinary(&self, reply: &mut Response<ReplyBody>) -> bool {
        let examined = tokio::select! {
            examined = reply.body_mut().examine(MAX_EXAMINED) => examined,
            () = self.clock.sleep(MAX_EXAMINATION) => None,
        };
        examined.is_some_and(|bytes| is_ordinary(&bytes, &self.route.ordinary_refusals))
    }

    /// Whether the credential is now a newer one. An error says why there is none.
    async fn renew_credential(&mut self, refuser: Refuser) -> Result<bool, TokenError> {
        let credentials = &self.route.credentials;
        if !std::mem::take(&mut self.budget.credential) {
            return credentials.check_relay_of_401(&self.credential, refuser).map(|()| false);
        }
        let replacement = credentials.replacement_for(&self.credential, refuser);
        let Some(newer) = self.record.wait(Phase::CredentialWait, replacement).await? else { return Ok(false) };
        self.credential = newer;
        self.record.resent();
        Ok(true)
    }

    /// Takes a newer key if the provider no longer publishes the one in use.
    async fn renew_key(&mut self) -> (KeyCheck, Retry) {
        let status = match &mut self.payload {
            Payload::ToSeal { key, keys, .. } => keys.replacement_for(key).await.map(|newer| {
                *key = newer;
                self.record.resealed();
                (KeyCheck::Resealed, Retry::SendAgain)
            }),
            // Only the caller can seal its own message again. The hint tells it that sealing again would help.
            Payload::CallerSealed(message, keys) => keys
                .replacement_kids(message.kid())
                .await
                .map(|current| (KeyCheck::Withdrawn, Retry::Relay(Some(KeyHint { current })))),
            Payload::Nothing | Payload::Clear(..) => KeyStatus::Unchanged,
        };
        match status {
            KeyStatus::Replaced(check) => check,
            KeyStatus::Unchanged => (KeyCheck::Unchanged, Retry::Relay(None)),
            KeyStatus::Unknown => (KeyCheck::Failed, Retry::Relay(None)),
        }
    }
}
