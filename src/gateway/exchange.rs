//! One request, from admitted to answered.
//!
//! A body arrives as [`Plaintext`] and can leave only as [`Outgoing`], which is made of a sealed
//! message or of nothing: a path that forgets to seal does not compile.
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

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::admit::{Admission, Admitted, Content, Head};
use super::key_hint::KeyHint;
use super::provider::Provider;
use super::record::Notes;
use super::refusal::Refusal;
use super::relay::{Relayed, drop_reply, relay};
use crate::clock::Clock;
use crate::jose::{CallerMade, EncryptionKey, Plaintext, seal};
use crate::token::Bearer;
use crate::upstream::Outgoing;

/// The line every request goes down.
#[derive(Clone, Debug)]
pub struct Exchange {
    admission: Arc<Admission>,
    clock: Clock,
}

impl Exchange {
    /// A line that begins with `admission`.
    #[must_use]
    pub fn new(admission: Admission, clock: Clock) -> Self {
        Self { admission: Arc::new(admission), clock }
    }

    /// Admit, key, seal, bearer, send, relay. Each step hands on or ends the request.
    ///
    /// # Errors
    /// Every [`Refusal`] but those of the layers above.
    pub async fn run(&self, request: Request<Incoming>) -> Result<Response<Relayed>, Refusal> {
        let notes = Notes::of(&request);
        let Admitted { provider, head, content } = self.admission.admit(request, &notes).await?;
        let mut payload = Payload::new(content, &provider).await?;
        let mut bearer = provider.tokens.bearer().await?;
        let mut remedies = Remedies { key: true, token: true };
        loop {
            let reply = self.send(&provider, &head, &payload, &bearer, &notes).await?;
            if reply.status() != StatusCode::UNAUTHORIZED {
                bearer.note_accepted();
            }
            match remedies.after(&reply, &provider, &mut payload, &mut bearer, &notes).await {
                Next::SendAgain => drop_reply(reply).await,
                Next::Relay(hint) => return relay(reply, hint, provider.upstream.idle(), notes),
            }
        }
    }

    /// One attempt. A payload to be sealed is sealed anew: no key material is used twice.
    async fn send(
        &self,
        provider: &Provider,
        head: &Head,
        payload: &Payload,
        bearer: &Bearer,
        notes: &Notes,
    ) -> Result<Response<Incoming>, Refusal> {
        let mut request = Request::new(payload.seal(&self.clock, notes)?);
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.target.clone().into();
        *request.headers_mut() = head.headers.clone();
        if !matches!(payload, Payload::Nothing) {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jose"));
        }
        bearer.apply(request.headers_mut());
        let sent = self.clock.now();
        notes.sending();
        let reply = provider.upstream.send(request).await;
        notes.answered(self.clock.now() - sent);
        Ok(reply?)
    }
}

/// What is sent, and under which key.
enum Payload {
    Nothing,
    Sealed { plaintext: Plaintext, key: Arc<EncryptionKey> },
    CallerMade(CallerMade),
}

impl Payload {
    async fn new(content: Content, provider: &Provider) -> Result<Self, Refusal> {
        Ok(match content {
            Content::Nothing => Self::Nothing,
            Content::Json(plaintext) => Self::Sealed { plaintext, key: provider.keys.current().await? },
            Content::Jose(message) => {
                // Forwarded all the same: the sealing side may have fetched later than we have.
                if !message.kid().is_some_and(|kid| provider.keys.publishes(kid)) {
                    let kid = message.kid().unwrap_or_default().escape_debug();
                    tracing::warn!(upstream = %provider.name, %kid, "a caller sealed under a key that is not published");
                }
                Self::CallerMade(message)
            }
        })
    }

    fn seal(&self, clock: &Clock, notes: &Notes) -> Result<Outgoing, Refusal> {
        let message = match self {
            Self::Nothing => return Ok(Outgoing::nothing()),
            Self::Sealed { plaintext, key } => notes.seal_time().measure(clock, || seal(plaintext, key))?,
            Self::CallerMade(message) => message.clone().into(),
        };
        notes.message(&message);
        Ok(Outgoing::message(message, clock.clone(), notes.seal_time()))
    }
}

/// What may still be tried after the provider's refusal: each at most once.
struct Remedies {
    key: bool,
    token: bool,
}

/// What becomes of a reply.
enum Next {
    /// Something was renewed: another attempt makes sense.
    SendAgain,
    /// It is the caller's, with what we can tell about the reason.
    Relay(Option<KeyHint>),
}

impl Remedies {
    async fn after(
        &mut self,
        reply: &Response<Incoming>,
        provider: &Provider,
        payload: &mut Payload,
        bearer: &mut Bearer,
        notes: &Notes,
    ) -> Next {
        let status = reply.status();
        match payload {
            _ if status == StatusCode::UNAUTHORIZED => {
                if std::mem::take(&mut self.token)
                    && let Some(newer) = provider.tokens.newer_than(bearer).await
                {
                    *bearer = newer;
                    notes.resent();
                    return Next::SendAgain;
                }
            }
            Payload::Sealed { key, .. } if provider.may_mean_key_unknown(status) => {
                if std::mem::take(&mut self.key)
                    && let Some(newer) = provider.keys.newer_than(key).await
                {
                    *key = newer;
                    notes.resealed();
                    return Next::SendAgain;
                }
            }
            // Only who sealed it can seal it again; we can say that it would help.
            Payload::CallerMade(message) if provider.may_mean_key_unknown(status) => {
                let current = provider.keys.kids_instead_of(message.kid()).await;
                return Next::Relay(current.map(|current| KeyHint { current }));
            }
            _ => {}
        }
        Next::Relay(None)
    }
}
