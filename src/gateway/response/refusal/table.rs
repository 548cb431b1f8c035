//! The table of the gateway's own error responses. `docs/errors.md` prints it, and a test compares the two.

use std::time::Duration;

use http::StatusCode;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The stable name: `code` in the body, `details` in `Proxy-Status`.
    pub code: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// The `error` token of RFC 9209.
    pub proxy_error: &'static str,
    /// `Retry-After`, unless the cause knows a better value. None if a retry does not help.
    pub retry_after: Option<Duration>,
    /// Whether the response closes the connection: the rest of the request may still arrive, or its framing is broken.
    pub closes_connection: bool,
    /// One sentence for the caller.
    pub title: &'static str,
    pub(super) log_level: LogLevel,
}

/// The level at which the cause is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogLevel {
    /// A fault of the gateway or of the provider. The operator may have to act.
    Warn,
    /// A rule of the configuration refused the request. The operator may want to change the rule.
    Info,
    /// A mistake of the caller, which the response explains.
    Debug,
}

macro_rules! table {
    ($($variant:ident $code:literal $status:ident $proxy_error:ident $log:ident $retry:tt $connection:ident $title:literal)*) => {
        /// The code of a refusal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// Every code, in the table's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The row of this code.
            #[must_use]
            pub fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row {
                        code: $code,
                        status: StatusCode::$status,
                        proxy_error: stringify!($proxy_error),
                        retry_after: seconds!($retry),
                        closes_connection: closes!($connection),
                        title: $title,
                        log_level: LogLevel::$log,
                    },)*
                }
            }
        }
    };
}

macro_rules! seconds {
    (-) => {
        None
    };
    ($seconds:literal) => {
        Some(Duration::from_secs($seconds))
    };
}

macro_rules! closes {
    (keep) => {
        false
    };
    (close) => {
        true
    };
}

table! {
    // variant            code                      status                 error (RFC 9209)          log   retry connection title
    MalformedTarget       "malformed_target"        BAD_REQUEST            http_request_error        Debug -     keep       "The request target is malformed or ambiguous"
    MalformedRequest      "malformed_request"       BAD_REQUEST            http_request_error        Debug -     close      "The request breaks a rule of HTTP, or its body is incomplete"
    MalformedJson         "malformed_json"          BAD_REQUEST            http_request_error        Debug -     keep       "The request body is not valid JSON"
    MalformedJose         "malformed_jose"          BAD_REQUEST            http_request_error        Debug -     keep       "The request body is not a JWE that the provider can open"
    MalformedTokenRequest "malformed_token_request" BAD_REQUEST            http_request_error        Debug -     keep       "The token request is malformed"
    CallerUnknown         "caller_unknown"          UNAUTHORIZED           http_request_denied       Debug -     keep       "The caller could not be authenticated"
    CallerForbidden       "caller_forbidden"        FORBIDDEN              http_request_denied       Info  -     keep       "The caller is not allowed to send this request"
    PlaintextRefused      "plaintext_refused"       FORBIDDEN              http_request_denied       Debug -     keep       "The upstream accepts only sealed bodies"
    NoUpstream            "no_upstream"             NOT_FOUND              destination_not_found     Debug -     keep       "No upstream serves this path"
    MethodNotAllowed      "method_not_allowed"      METHOD_NOT_ALLOWED     http_request_denied       Debug -     keep       "The method is not allowed"
    RequestTimeout        "request_timeout"         REQUEST_TIMEOUT        http_request_error        Debug -     close      "The request body did not arrive in time"
    BodyTooLarge          "body_too_large"          PAYLOAD_TOO_LARGE      http_request_error        Debug -     close      "The request body is too large"
    CallerThrottled       "caller_throttled"        TOO_MANY_REQUESTS      http_request_denied       Debug 1     keep       "The caller has reached its limit"
    UnsupportedMediaType  "unsupported_media_type"  UNSUPPORTED_MEDIA_TYPE http_request_error        Debug -     keep       "The request body is neither JSON nor a JWE"
    InvalidRequest        "invalid_request"         UNPROCESSABLE_ENTITY   http_request_error        Info  -     keep       "The request differs from the description of the API"
    CredentialsRefused    "credentials_refused"     BAD_GATEWAY            proxy_configuration_error Warn  -     keep       "The provider refused the gateway's credentials"
    UpstreamUnreachable   "upstream_unreachable"    BAD_GATEWAY            destination_unavailable   Warn  -     keep       "The provider cannot be reached"
    UpstreamProtocol      "upstream_protocol"       BAD_GATEWAY            http_protocol_error       Warn  -     keep       "The provider's response is incomplete or not valid HTTP"
    NoUsableKey           "no_usable_key"           SERVICE_UNAVAILABLE    proxy_internal_error      Warn  1     keep       "The gateway has no usable encryption key"
    TokenUnavailable      "token_unavailable"       SERVICE_UNAVAILABLE    proxy_internal_error      Warn  1     keep       "The gateway has no access token"
    Overloaded            "overloaded"              SERVICE_UNAVAILABLE    connection_limit_reached  Warn  1     keep       "The gateway has reached its limit"
    Draining              "draining"                SERVICE_UNAVAILABLE    proxy_internal_response   Warn  1     close      "The gateway is shutting down"
    UpstreamTimeout       "upstream_timeout"        GATEWAY_TIMEOUT        http_response_timeout     Warn  -     keep       "The provider did not respond in time"
    LoopDetected          "loop_detected"           LOOP_DETECTED          proxy_loop_detected       Warn  -     keep       "The request passes gateways in a loop, or too many of them"
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The cells of the table in the documentation, row by row.
    fn documented() -> Vec<Vec<String>> {
        include_str!("../../../../docs/errors.md")
            .lines()
            .skip_while(|line| *line != "| `code` | status | `Proxy-Status` error | meaning |")
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
            .collect()
    }

    #[test]
    fn the_documentation_prints_this_table() {
        let expected: Vec<Vec<String>> = Code::ALL
            .iter()
            .map(|code| code.row())
            .map(|row| vec![row.code.into(), row.status.as_str().into(), row.proxy_error.into(), row.title.into()])
            .collect();
        assert_eq!(documented(), expected);
    }

    #[test]
    fn no_two_rows_share_a_code() {
        let codes: HashSet<_> = Code::ALL.iter().map(|code| code.row().code).collect();
        assert_eq!(codes.len(), Code::ALL.len());
    }
}
