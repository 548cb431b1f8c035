//! Every answer of our own: one table from error to wire.
//!
//! A [`Refusal`] says whose fault it was and carries its cause; its [`Code`] is a row of the
//! table in `table.rs`, and the row is all a caller sees: RFC 9457 problem details with the code and
//! the request id, and RFC 9209 `Proxy-Status` with `error=`, so that nobody takes our answer
//! for the provider's. The cause goes to the log. Neither holds a byte of a body, a token or a
//! secret.
//!
//! The README prints the same table and a test compares the two.

mod table;

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::credentials::TokenError;
use crate::error_chain;
use crate::gateway::callers::{Denied, UnknownCaller};
use crate::gateway::endpoints::token::BadTokenRequest;
use crate::gateway::request::body::BodyFault;
use crate::gateway::request::content_type::MediaTypeFault;
use crate::gateway::request::target::{METHODS, TargetFault};
use crate::jose::{MalformedJose, NotJson, SealError};
use crate::keys::NoUsableKey;
use crate::upstream::SendError;

pub use table::{Code, Row};

/// RFC 9209; `http` has no constant for it yet.
pub(crate) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// How we call ourselves in `Proxy-Status` and `Via`.
pub(crate) const PSEUDONYM: &str = "jwe-gateway";

/// What to wait before coming back, where nothing better is known.
const SOON: Duration = Duration::from_secs(1);

/// A request that ends here instead of at the provider.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    // The caller's fault: the same request will be refused again.
    /// The request line names something we do not forward.
    #[error("target: {0}")]
    MalformedTarget(#[from] TargetFault),
    /// The head or the framing breaks a rule of HTTP, or the body ended early.
    #[error("request: {0}")]
    MalformedRequest(BodyFault),
    /// The body says it is JSON and is not.
    #[error("body: {0}")]
    MalformedJson(#[from] NotJson),
    /// The body says it is a JWE and is not one that the provider could open.
    #[error("body: {0}")]
    MalformedJose(#[from] MalformedJose),
    /// The caller asks for a token that the gateway cannot give.
    #[error("token request: {0}")]
    MalformedTokenRequest(#[from] BadTokenRequest),
    /// The request is nobody's.
    #[error(transparent)]
    CallerUnknown(#[from] UnknownCaller),
    /// The caller asked for what only the gateway may do.
    #[error("the token endpoint is the gateway's alone")]
    TokenEndpoint,
    /// The caller may not do this.
    #[error("not on the caller's list")]
    CallerForbidden,
    /// The caller may not do this now.
    #[error(transparent)]
    CallerThrottled(Denied),
    /// Clear JSON for an upstream that takes sealed bodies only.
    #[error("clear JSON where only sealed bodies pass")]
    PlaintextRefused,
    /// No upstream's prefix is a prefix of the path.
    #[error("no upstream serves this path")]
    NoUpstream,
    /// A method that is not forwarded: CONNECT, TRACE, OPTIONS, unknown ones.
    #[error("method not forwarded")]
    MethodNotAllowed,
    /// The body did not arrive in time.
    #[error("the request body did not arrive in time")]
    RequestTimeout,
    /// The body is over the limit, announced or counted.
    #[error("the request body is over {limit} bytes")]
    BodyTooLarge {
        /// `limits.max_body`.
        limit: usize,
    },
    /// The body is neither JSON nor a JWE, or is encoded.
    #[error("content: {0}")]
    UnsupportedMediaType(#[from] MediaTypeFault),

    // The provider's side: nothing the caller can mend.
    /// The provider's token endpoint does not accept our credentials.
    #[error(transparent)]
    CredentialsRefused(TokenError),
    /// No connection. Nothing was sent.
    #[error("upstream unreachable")]
    UpstreamUnreachable(#[source] SendError),
    /// The connection broke or what came is not HTTP. The provider may have processed it.
    #[error("upstream broke off")]
    UpstreamProtocol(#[source] SendError),
    /// The provider answered with a head that must not be relayed (a switch of protocols).
    #[error("the provider switched protocols unasked")]
    UpstreamUpgrade,
    /// The provider's reply is in a transfer coding that we do not undo.
    #[error("the reply is in a transfer coding other than chunked")]
    UpstreamEncoding,
    /// No reply in time. The provider may have processed it.
    #[error("upstream timed out")]
    UpstreamTimeout(#[source] SendError),
    /// The whole exchange took too long.
    #[error("the exchange took too long")]
    ExchangeTimeout(Sent),

    // Ours: coming back later helps.
    /// No key to seal with.
    #[error(transparent)]
    NoUsableKey(#[from] NoUsableKey),
    /// A key was there and sealing failed all the same.
    #[error("sealing failed")]
    SealFailed(#[from] SealError),
    /// No token, and none came in time.
    #[error(transparent)]
    TokenUnavailable(TokenError),
    /// More requests in flight, or more bytes buffered, than we take.
    #[error("over the limit of {0}")]
    Overloaded(Limit),
    /// The gateway is stopping and could not wait any longer for the provider.
    #[error("stopped while the request was in flight")]
    Draining(Sent),
}

/// Whether the provider may have seen a request that ended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// No byte of it has left.
    Nothing,
    /// It was being sent, or had been.
    Perhaps,
}

/// Which limit an overloaded gateway has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// `limits.in_flight`.
    InFlight,
    /// The upstream's share of `limits.in_flight`.
    UpstreamInFlight,
    /// The upstream's share of `limits.buffered`.
    Buffered,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InFlight => "requests in flight",
            Self::UpstreamInFlight => "requests in flight to this upstream",
            Self::Buffered => "buffered bytes",
        })
    }
}

impl Refusal {
    /// The row of the table.
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
            Self::CredentialsRefused(_) => Code::CredentialsRefused,
            Self::UpstreamUnreachable(_) => Code::UpstreamUnreachable,
            Self::UpstreamProtocol(_) | Self::UpstreamUpgrade | Self::UpstreamEncoding => Code::UpstreamProtocol,
            Self::UpstreamTimeout(_) | Self::ExchangeTimeout(_) => Code::UpstreamTimeout,
            Self::NoUsableKey(_) | Self::SealFailed(_) => Code::NoUsableKey,
            Self::TokenUnavailable(_) => Code::TokenUnavailable,
            Self::Overloaded(_) => Code::Overloaded,
            Self::Draining(_) => Code::Draining,
        }
    }

    /// The answer, as the caller of request `request_id` gets it.
    #[must_use]
    pub(crate) fn respond(&self, request_id: &str) -> Response<Bytes> {
        let row = self.code().row();
        let problem = json!({
            "type": format!("urn:jwe-gateway:problem:{}", row.code),
            "title": row.title,
            "status": row.status.as_u16(),
            "detail": self.detail(),
            "code": row.code,
            "request_id": request_id,
        });
        let mut response = Response::new(Bytes::from(problem.to_string()));
        *response.status_mut() = row.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PROXY_STATUS, proxy_status(row));
        if let Some(wait) = self.retry_after() {
            // Rounded up: whoever comes back is not to be early.
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil().max(1.0) as u64));
        }
        if self.ends_the_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // RFC 9110 section 11.6.1.
        if row.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if row.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static(METHODS));
        }
        response
    }

    /// The cause, for us. A caller's faults are the caller's to log, so they are quiet here.
    pub(crate) fn log(&self, request_id: &str) {
        let code = self.code().row().code;
        let cause = error_chain::chain(self);
        if self.code().row().status.is_server_error() {
            tracing::warn!(request_id, code, cause, "refused");
        } else {
            tracing::debug!(request_id, code, cause, "refused");
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
            Self::TokenEndpoint => "the gateway holds the credentials; callers do not ask for tokens".to_owned(),
            Self::BodyTooLarge { limit } => format!("request bodies may have {limit} bytes"),
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

    /// Tells a caller whether sending again could do a thing twice.
    fn title_and(&self, sent: Sent) -> String {
        let title = self.code().row().title;
        match sent {
            Sent::Nothing => format!("{title}; nothing was sent"),
            Sent::Perhaps => format!("{title}; the provider may have processed the request"),
        }
    }

    /// Where coming back later helps, when.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TokenUnavailable(TokenError::Unavailable { retry_after })
            | Self::CallerThrottled(Denied::TooFast { retry_after }) => Some(*retry_after),
            Self::CallerThrottled(_) => Some(SOON),
            _ if self.code().row().status == StatusCode::SERVICE_UNAVAILABLE => Some(SOON),
            _ => None,
        }
    }

    /// Where the rest of the request may still be on its way, or its framing is in doubt, the
    /// connection cannot carry another one.
    fn ends_the_connection(&self) -> bool {
        match self {
            // Its body may still have been on the way.
            Self::ExchangeTimeout(sent) => *sent == Sent::Nothing,
            _ => {
                matches!(
                    self.code(),
                    Code::MalformedRequest | Code::BodyTooLarge | Code::RequestTimeout | Code::Draining
                )
            }
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Forbidden => Self::CallerForbidden,
            Denied::TooFast { .. } | Denied::TooMany => Self::CallerThrottled(denied),
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::CredentialsRefused { .. } => Self::CredentialsRefused(error),
            TokenError::Unavailable { .. } => Self::TokenUnavailable(error),
        }
    }
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Unreachable(_) | SendError::Tls(_) => Self::UpstreamUnreachable(error),
            SendError::ConnectTimeout(_) | SendError::ReplyTimeout => Self::UpstreamTimeout(error),
            SendError::Broken(_) => Self::UpstreamProtocol(error),
            SendError::Target => Self::MalformedTarget(TargetFault::TooLong),
        }
    }
}

fn proxy_status(row: Row) -> HeaderValue {
    // Both are literals of the table: tokens and lower-case words, nothing to escape (RFC 9651).
    HeaderValue::try_from(format!("{PSEUDONYM}; error={}; details=\"{}\"", row.proxy_error, row.code))
        .unwrap_or_else(|_| HeaderValue::from_static(PSEUDONYM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_shape_of_rfc_9457_and_rfc_9209() {
        let response = Refusal::BodyTooLarge { limit: 10 }.respond("r-1");
        assert_eq!(response.status(), 413);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(
            response.headers()[PROXY_STATUS],
            "jwe-gateway; error=http_request_error; details=\"body_too_large\""
        );
        assert_eq!(response.headers()[CONNECTION], "close");
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["code"], "body_too_large");
        assert_eq!(body["status"], 413);
        assert_eq!(body["request_id"], "r-1");
        assert_eq!(body["detail"], "request bodies may have 10 bytes");
    }

    #[test]
    fn every_503_says_when_to_come_back() {
        for refusal in [Refusal::Overloaded(Limit::Buffered), Refusal::Draining(Sent::Nothing)] {
            assert_eq!(refusal.respond("r").headers()[RETRY_AFTER], "1");
        }
        let wait = TokenError::Unavailable { retry_after: Duration::from_secs(7) };
        assert_eq!(Refusal::from(wait).respond("r").headers()[RETRY_AFTER], "7");
        assert!(!Refusal::NoUpstream.respond("r").headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn a_refused_method_names_those_allowed() {
        assert_eq!(Refusal::MethodNotAllowed.respond("r").headers()[ALLOW], METHODS);
    }
}
