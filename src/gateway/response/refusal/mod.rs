//! The gateway's own error responses: one table from error to HTTP.
//!
//! Lower modules return their own errors; only [`Refusal`] converts them (see `conversions.rs`). Each refusal has a
//! [`Code`], a row of the table in `table.rs`. The row decides status, headers and log level, and
//! `docs/errors.md` prints it.
//!
//! The caller gets RFC 9457 problem details with the code and the request id. `Proxy-Status` with `error=` (RFC 9209)
//! marks the response as the gateway's and not the provider's. The cause goes to the log. Neither
//! contains a byte of a body, a token or a secret.

mod conversions;
mod table;

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use self::table::LogLevel;
use crate::credentials::TokenError;
use crate::error_chain;
use crate::gateway::access_log::Record;
use crate::gateway::callers::{Denied, UnknownCaller};
use crate::gateway::endpoints::token::BadTokenRequest;
use crate::gateway::request::body::BodyFault;
use crate::gateway::request::content_type::MediaTypeFault;
use crate::gateway::request::target::{METHODS, TargetFault};
use crate::gateway::request::via::LoopFault;
use crate::gateway::validation::InvalidRequest;
use crate::jose::{MalformedJose, NotJson, SealError};
use crate::keys::NoUsableKey;
use crate::upstream::SendError;

pub use table::{Code, Row};

/// RFC 9209; the `http` crate has no constant for it.
pub(crate) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// The gateway's name in `Proxy-Status` and `Via`.
pub(crate) const PSEUDONYM: &str = "jwe-gateway";

/// Why the gateway answers a request itself, with an error. The text is the cause, for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    // The caller's fault: the same request will be refused again.
    #[error("target: {0}")]
    MalformedTarget(#[from] TargetFault),
    #[error("request: {0}")]
    MalformedRequest(#[from] BodyFault),
    #[error("body: {0}")]
    MalformedJson(#[from] NotJson),
    #[error("body: {0}")]
    MalformedJose(#[from] MalformedJose),
    #[error("token request: {0}")]
    MalformedTokenRequest(#[from] BadTokenRequest),
    #[error(transparent)]
    CallerUnknown(#[from] UnknownCaller),
    /// The request is for the provider's token endpoint, which only the gateway calls.
    #[error("callers may not call the provider's token endpoint")]
    TokenEndpoint,
    #[error("no rule of the caller allows the request")]
    CallerForbidden,
    #[error(transparent)]
    CallerThrottled(Denied),
    /// Plaintext JSON for an upstream with `encryption = "require-sealed"`.
    #[error("plaintext JSON for an upstream that requires sealed bodies")]
    PlaintextRefused,
    #[error("no upstream serves this path")]
    NoUpstream,
    #[error("the method is not forwarded")]
    MethodNotAllowed,
    #[error("the request body did not arrive in time")]
    RequestTimeout,
    #[error("the request body is larger than {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("content: {0}")]
    UnsupportedMediaType(#[from] MediaTypeFault),
    #[error("{0}")]
    InvalidRequest(Box<InvalidRequest>),

    // The provider's fault, or a fault of the gateway's configuration. The caller cannot correct it.
    #[error(transparent)]
    CredentialsRefused(TokenError),
    /// There is no connection, so nothing was sent.
    #[error(transparent)]
    UpstreamUnreachable(SendError),
    /// The connection broke, or the reply is not HTTP. The provider may have processed the request.
    #[error(transparent)]
    UpstreamProtocol(SendError),
    /// Status 101. The gateway never asks for another protocol.
    #[error("the upstream switched protocols without being asked")]
    UpstreamUpgrade,
    #[error("the upstream's reply has a transfer coding other than chunked")]
    UpstreamEncoding,
    /// No connection or no reply in time. After a connection the provider may have processed the request.
    #[error(transparent)]
    UpstreamTimeout(SendError),
    /// The gateway is its own upstream, perhaps through others.
    #[error(transparent)]
    LoopDetected(#[from] LoopFault),
    /// `deadlines.exchange` ended.
    #[error("the exchange took too long")]
    ExchangeTimeout(Sent),

    // The gateway's state: a later attempt can succeed.
    #[error(transparent)]
    NoUsableKey(#[from] NoUsableKey),
    #[error("sealing failed")]
    SealFailed(#[from] SealError),
    #[error(transparent)]
    TokenUnavailable(TokenError),
    #[error("the limit of {0} is reached")]
    Overloaded(Limit),
    /// The gateway shut down before the request was finished.
    #[error("the gateway stopped while the request was in flight")]
    Draining(Sent),
}

/// Whether the provider may have seen a refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Nothing,
    /// At least one attempt was started.
    Perhaps,
}

/// The limit that an overloaded gateway has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// `limits.in_flight`.
    InFlight,
    /// The upstream's quota of `limits.in_flight`.
    UpstreamInFlight,
    /// The upstream's quota of `limits.buffered`.
    Buffered,
    /// The memory, or the addresses, that the system gives to the process.
    Memory,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InFlight => "requests in flight",
            Self::UpstreamInFlight => "requests in flight to this upstream",
            Self::Buffered => "buffered bytes for this upstream",
            Self::Memory => "memory of the process",
        })
    }
}

impl Refusal {
    #[must_use]
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::MalformedTarget(_) => Code::MalformedTarget,
            Self::MalformedRequest(_) => Code::MalformedRequest,
            Self::MalformedJson(_) => Code::MalformedJson,
            Self::MalformedJose(_) => Code::MalformedJose,
            Self::MalformedTokenRequest(_) => Code::MalformedTokenRequest,
            Self::CallerUnknown(_) => Code::CallerUnknown,
            Self::CallerForbidden | Self::TokenEndpoint => Code::CallerForbidden,
            Self::CallerThrottled(_) => Code::CallerThrottled,
            Self::PlaintextRefused => Code::PlaintextRefused,
            Self::NoUpstream => Code::NoUpstream,
            Self::MethodNotAllowed => Code::MethodNotAllowed,
            Self::RequestTimeout => Code::RequestTimeout,
            Self::BodyTooLarge { .. } => Code::BodyTooLarge,
            Self::UnsupportedMediaType(_) => Code::UnsupportedMediaType,
            Self::InvalidRequest(_) => Code::InvalidRequest,
            Self::CredentialsRefused(_) => Code::CredentialsRefused,
            Self::UpstreamUnreachable(_) => Code::UpstreamUnreachable,
            Self::UpstreamProtocol(_) | Self::UpstreamUpgrade | Self::UpstreamEncoding => Code::UpstreamProtocol,
            Self::UpstreamTimeout(_) | Self::ExchangeTimeout(_) => Code::UpstreamTimeout,
            Self::LoopDetected(_) => Code::LoopDetected,
            Self::NoUsableKey(_) | Self::SealFailed(_) => Code::NoUsableKey,
            Self::TokenUnavailable(_) => Code::TokenUnavailable,
            Self::Overloaded(_) => Code::Overloaded,
            Self::Draining(_) => Code::Draining,
        }
    }

    /// The HTTP response to the request `request_id`.
    #[must_use]
    pub(crate) fn respond(&self, request_id: &str) -> Response<Bytes> {
        let row = self.code().row();
        let mut problem = json!({
            "type": format!("urn:jwe-gateway:problem:{}", row.code),
            "title": row.title,
            "status": row.status.as_u16(),
            "detail": self.detail(),
            "code": row.code,
            "request_id": request_id,
        });
        if let Self::InvalidRequest(invalid) = self {
            problem["errors"] = invalid.errors();
        }
        let own = || (Bytes::from(problem.to_string()), HeaderValue::from_static("application/problem+json"));
        let (body, content_type) = match self {
            Self::InvalidRequest(invalid) => invalid.in_dialect(row.status.as_u16(), request_id).unwrap_or_else(own),
            _ => own(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = row.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PROXY_STATUS, proxy_status(row));
        if let Some(wait) = self.retry_after() {
            // Rounded up: a retry that comes too early is refused again.
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil().max(1.0) as u64));
        }
        if self.closes_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // RFC 9110 section 11.6.1.
        if row.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // RFC 9110 section 15.5.6.
        if row.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static(METHODS));
        }
        response
    }

    /// Logs the cause, at the level of the table.
    pub(crate) fn log(&self, record: &Record) {
        let row = self.code().row();
        let (request_id, code, cause) = (record.request_id.as_str(), row.code, error_chain::chain(self));
        match row.log_level {
            LogLevel::Warn => tracing::warn!(request_id, code, cause, "request refused"),
            LogLevel::Info => {
                let (caller, method, path) = (record.caller.as_deref(), record.method.as_str(), record.path.as_str());
                tracing::info!(request_id, code, cause, caller, method, path, "request refused");
            }
            LogLevel::Debug => tracing::debug!(request_id, code, cause, "request refused"),
        }
    }

    /// One sentence for the caller. It may repeat limits and positions, never content.
    fn detail(&self) -> String {
        match self {
            Self::MalformedTarget(fault) => fault.to_string(),
            Self::MalformedRequest(fault) => fault.to_string(),
            Self::MalformedJson(fault) => fault.to_string(),
            Self::MalformedJose(fault) => fault.to_string(),
            Self::UnsupportedMediaType(fault) => fault.to_string(),
            Self::MalformedTokenRequest(fault) => fault.to_string(),
            Self::CallerThrottled(denied) => denied.to_string(),
            Self::LoopDetected(fault) => fault.to_string(),
            Self::InvalidRequest(invalid) => invalid.detail(),
            Self::TokenEndpoint => "the gateway adds the credential; callers may not request tokens".to_owned(),
            Self::BodyTooLarge { limit } => format!("request bodies are limited to {limit} bytes"),
            Self::UpstreamUnreachable(error) | Self::UpstreamProtocol(error) | Self::UpstreamTimeout(error) => {
                self.title_and(if error.nothing_was_sent() { Sent::Nothing } else { Sent::Perhaps })
            }
            Self::ExchangeTimeout(sent) | Self::Draining(sent) => self.title_and(*sent),
            Self::UpstreamUpgrade | Self::UpstreamEncoding => self.title_and(Sent::Perhaps),
            Self::CallerUnknown(_)
            | Self::CallerForbidden
            | Self::PlaintextRefused
            | Self::NoUpstream
            | Self::MethodNotAllowed
            | Self::RequestTimeout
            | Self::CredentialsRefused(_)
            | Self::NoUsableKey(_)
            | Self::SealFailed(_)
            | Self::TokenUnavailable(_)
            | Self::Overloaded(_) => self.code().row().title.to_owned(),
        }
    }

    /// The title, and whether a second attempt could repeat an effect.
    fn title_and(&self, sent: Sent) -> String {
        let title = self.code().row().title;
        match sent {
            Sent::Nothing => format!("{title}; nothing was sent"),
            Sent::Perhaps => format!("{title}; the provider may have processed the request"),
        }
    }

    /// The wait that the cause knows, otherwise that of the table.
    fn retry_after(&self) -> Option<Duration> {
        if let Self::TokenUnavailable(TokenError::Unavailable { retry_after })
        | Self::CallerThrottled(Denied::TooFast { retry_after }) = self
        {
            return Some(*retry_after);
        }
        self.code().row().retry_after
    }

    /// Whether the connection cannot carry another request, because the rest of this one may still arrive.
    fn closes_connection(&self) -> bool {
        // An exchange that ended before it sent anything may have ended while the body arrived.
        let is_body_unread = matches!(self, Self::ExchangeTimeout(Sent::Nothing));
        is_body_unread || self.code().row().closes_connection
    }
}

/// The member of `Proxy-Status` for a refusal.
pub(crate) fn proxy_status(row: Row) -> HeaderValue {
    // Both values are literals of the table: tokens and lower-case words need no escapes (RFC 9651).
    HeaderValue::try_from(format!("{PSEUDONYM}; error={}; details=\"{}\"", row.proxy_error, row.code))
        .unwrap_or_else(|_| HeaderValue::from_static(PSEUDONYM))
}

#[cfg(test)]
mod tests;
