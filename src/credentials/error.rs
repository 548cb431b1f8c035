//! Why there is no credential, and why a renewal failed. No text contains a byte of a response or of a secret.

use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use url::Url;

use crate::static_credential::BadCredential;
use crate::transport_error;

/// Why a request gets no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// The token endpoint answered 400, 401 or 403. The operator must correct the credentials.
    #[error("the token endpoint refused the credentials of the gateway with status {status}")]
    CredentialsRefused { status: u16 },
    /// The upstream is a gateway that does not know this one. The operator must correct the credential.
    #[error("the egress does not know the credential of this gateway: it answered 401 caller_unknown")]
    UnknownToEgress,
    /// The cause lies with the provider, or a secret cannot be read.
    #[error("there is no token, and none arrived in time; the next attempt follows in {} s", .retry_after.as_secs())]
    Unavailable {
        /// At least a second.
        retry_after: Duration,
    },
}

/// A renewal that brought no credential. The cached one, if there is one, stays in use until it expires.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{kind}", .endpoint.as_ref().map(|endpoint| format!("{endpoint}: ")).unwrap_or_default())]
pub(crate) struct RenewalError {
    /// The token endpoint, if it was asked.
    endpoint: Option<String>,
    pub(crate) kind: RenewalErrorKind,
}

impl RenewalError {
    pub(super) fn at(endpoint: &Url, kind: RenewalErrorKind) -> Self {
        Self { endpoint: Some(transport_error::location(endpoint)), kind }
    }

    /// Whether another secret may succeed, and the text does not name the file of this one.
    pub(super) fn is_about_secret(&self) -> bool {
        let not_header_text = RenewalErrorKind::Credential(BadCredential::NotHeaderText);
        matches!(self.kind, RenewalErrorKind::Refused { .. }) || self.kind == not_header_text
    }

    /// The kind of this failure for the log. Another status or another Retry-After is not another kind.
    pub(super) fn failure_kind(&self) -> FailureKind {
        let credential = match &self.kind {
            RenewalErrorKind::Credential(error) => Some(error.clone()),
            _ => None,
        };
        FailureKind { kind: discriminant(&self.kind), credential }
    }
}

/// The kind of a failure, which the log reports when it changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FailureKind {
    kind: Discriminant<RenewalErrorKind>,
    credential: Option<BadCredential>,
}

impl From<RenewalErrorKind> for RenewalError {
    fn from(kind: RenewalErrorKind) -> Self {
        Self { endpoint: None, kind }
    }
}

impl From<BadCredential> for RenewalError {
    fn from(error: BadCredential) -> Self {
        RenewalErrorKind::Credential(error).into()
    }
}

/// Why a renewal failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RenewalErrorKind {
    /// 400, 401 or 403: the credentials are wrong (RFC 6749 section 5.2).
    #[error("status {status}: the token endpoint refused the credentials")]
    Refused { status: u16 },
    /// 429 or 503.
    #[error("status {status}: the token endpoint is busy")]
    Busy {
        status: u16,
        /// The wait of its Retry-After, at most a minute.
        retry_after: Option<Duration>,
    },
    /// Redirects are not followed: credentials must not go to another origin.
    #[error("status {0}: redirects are not followed")]
    Redirect(u16),
    /// Any other status than 200.
    #[error("status {0}")]
    Status(u16),
    #[error("no complete response within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Name resolution, the connection, TLS or HTTP failed.
    #[error("{0}")]
    Transport(String),
    #[error("the response is longer than {} bytes", super::fetch::MAX_BYTES)]
    TooLarge,
    #[error("status 200 without a usable token: {0}")]
    NoToken(#[from] NoToken),
    #[error(transparent)]
    Credential(#[from] BadCredential),
    /// The process is ending, or the renewal panicked.
    #[error("the renewal was abandoned")]
    Abandoned,
}

/// Why a 200 of the token endpoint has no usable token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoToken {
    /// Such as HTML, an empty body, half a document, or a list.
    #[error("the response is not a JSON object")]
    NotAnObject,
    /// The response has a member `error`, as RFC 6749 section 5.2 defines it for status 400.
    #[error("the response has a member `error`")]
    ErrorMember,
    #[error("access_token is missing, empty, or not a string")]
    Missing,
    /// RFC 6750 section 2.1 does not allow its characters.
    #[error("the access_token has characters that are not allowed in a bearer token")]
    NotB64Token,
    #[error("the access_token is longer than {} bytes", super::response::MAX_TOKEN_BYTES)]
    TooLong,
    /// RFC 6749 section 7.1 forbids the use of such a token.
    #[error("the token_type is not Bearer")]
    UnknownType,
}
