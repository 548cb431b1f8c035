//! What is sent, and under which key: made from what came, once for each attempt.

use std::sync::Arc;

use http::HeaderValue;

use crate::clock::Clock;
use crate::gateway::access_log::handle::RecordHandle;
use crate::gateway::request::content::Content;
use crate::gateway::response::refusal::Refusal;
use crate::jose::{CallerMade, EncryptionKey, Plaintext, seal};
use crate::keys::{Keys, PublishedKeys};
use crate::upstream::{InClear, Outgoing};

/// A body that can be sent as often as it takes.
pub(crate) enum Payload {
    /// No body.
    Nothing,
    /// Sealed anew for each attempt: no key material is used twice.
    ToSeal {
        /// What is sealed.
        plaintext: Plaintext,
        /// With this key.
        key: Arc<EncryptionKey>,
        /// Of these.
        keys: Keys,
    },
    /// Sealed by the caller for one of these keys: it stays as it is.
    Sealed(CallerMade, PublishedKeys),
    /// For a provider that takes no JWE.
    Clear(Plaintext, HeaderValue, InClear),
}

impl Payload {
    /// What is to be sent of `content`.
    ///
    /// # Errors
    /// `no_usable_key`.
    pub(crate) async fn new(content: Content) -> Result<Self, Refusal> {
        Ok(match content {
            Content::Nothing => Self::Nothing,
            Content::ToSeal(plaintext, keys) => Self::ToSeal { plaintext, key: keys.current().await?, keys },
            Content::Sealed(message, keys) => Self::Sealed(message, keys),
            Content::Clear(json, content_type, permission) => Self::Clear(json, content_type, permission),
        })
    }

    /// The body of one attempt, and how it is declared.
    ///
    /// # Errors
    /// `no_usable_key`, when sealing fails with the key there is.
    pub(crate) fn body(
        &self,
        clock: &Clock,
        record: &RecordHandle,
    ) -> Result<(Outgoing, Option<HeaderValue>), Refusal> {
        let message = match self {
            Self::Nothing => return Ok((Outgoing::nothing(), None)),
            Self::Clear(json, content_type, permission) => {
                return Ok((Outgoing::clear(json, *permission), Some(content_type.clone())));
            }
            Self::ToSeal { plaintext, key, .. } => record.seal_time().measure(clock, || seal(plaintext, key))?,
            Self::Sealed(message, _) => message.clone().into(),
        };
        record.message(&message);
        let body = Outgoing::message(message, clock.clone(), record.seal_time());
        Ok((body, Some(HeaderValue::from_static("application/jose"))))
    }
}
