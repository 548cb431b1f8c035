//! Why there is no credential, and why a renewal failed. Nothing here holds a byte of an answer
//! or of a secret.

use std::time::Duration;

use url::Url;

use crate::static_credential::BadCredential;
use crate::transport_error;

/// A request cannot be given a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// 400, 401 or 403 from the token endpoint: our credentials are bad. The operator's fault.
    #[error("the token endpoint refused our credentials with status {status}")]
    CredentialsRefused {
        /// What it answered.
        status: u16,
    },
    /// No token is in hand and none came in time. The provider's fault, or a secret that cannot be read.
    #[error("no token in hand, and none came in time; next attempt in {} s", .retry_after.as_secs())]
    Unavailable {
        /// When to come back; at least a second.
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
    /// 400, 401 or 403: the credentials are bad (RFC 6749 section 5.2).
    #[error("status {status}: our credentials are refused")]
    Refused {
        /// Which of them.
        status: u16,
    },
    /// 429 or 503.
    #[error("status {status}: the token endpoint is busy")]
    Busy {
        /// Which of them.
        status: u16,
        /// What its Retry-After asked for, capped.
        retry_after: Option<Duration>,
    },
    /// A redirect, which is never followed: credentials do not go to another origin.
    #[error("status {0}: redirects are not followed")]
    Redirect(u16),
    /// Any other status than 200.
    #[error("status {0}")]
    Status(u16),
    /// The whole request took longer than allowed.
    #[error("no complete answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Name resolution, connecting, TLS or HTTP failed. The cause is the client's, without the URL.
    #[error("{0}")]
    Transport(String),
    /// An answer of more than 64 KiB.
    #[error("an answer of more than {} bytes", super::fetch::MAX_BYTES)]
    TooLarge,
    /// 200, but no token that could be used.
    #[error("status 200 without a usable token: {0}")]
    NoToken(#[from] NoToken),
    #[error(transparent)]
    Credential(#[from] BadCredential),
    /// The renewal was given up because the process is ending, or by a fault of ours.
    #[error("the renewal was abandoned")]
    Abandoned,
}

/// What was wrong with a 200 from the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoToken {
    /// HTML, nothing, half a document, a list.
    #[error("not a JSON object")]
    NotAnObject,
    /// It has a member `error` (RFC 6749 section 5.2, with the wrong status).
    #[error("it reports an error")]
    ErrorMember,
    /// No `access_token`, or one that is no text or empty.
    #[error("no access_token")]
    Missing,
    /// A token with characters that no bearer token has (RFC 6750 section 2.1).
    #[error("an access_token that cannot stand in a header")]
    NotB64Token,
    /// A token of more than 16 KiB.
    #[error("an access_token of more than {} bytes", super::response::MAX_TOKEN_BYTES)]
    TooLong,
    /// A `token_type` other than Bearer (RFC 6749 section 7.1 forbids to use it).
    #[error("a token_type other than Bearer")]
    UnknownType,
}
