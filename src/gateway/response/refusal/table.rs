//! The table: what each answer of our own is called, and its status.
//!
//! The README prints the same rows, and a test compares the two.

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
    /// One sentence.
    pub title: &'static str,
}

macro_rules! table {
    ($($variant:ident $status:ident $code:literal $proxy_error:ident $title:literal)*) => {
        /// What a refusal is called on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// Every row, in the table's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The row of this code.
            #[must_use]
            pub fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row {
                        code: $code,
                        status: StatusCode::$status,
                        proxy_error: stringify!($proxy_error),
                        title: $title,
                    },)*
                }
            }
        }
    };
}

table! {
    MalformedTarget      BAD_REQUEST            "malformed_target"       http_request_error      "The request target is not one we forward"
    MalformedRequest     BAD_REQUEST            "malformed_request"      http_request_error      "The request breaks a rule of HTTP framing"
    MalformedJson        BAD_REQUEST            "malformed_json"         http_request_error      "The request body is not JSON"
    MalformedJose        BAD_REQUEST            "malformed_jose"         http_request_error      "The request body is not a JWE the provider could open"
    MalformedTokenRequest BAD_REQUEST           "malformed_token_request" http_request_error     "The token request is not one we can answer"
    CallerUnknown        UNAUTHORIZED           "caller_unknown"         http_request_denied     "The request is no known caller's"
    CallerForbidden      FORBIDDEN              "caller_forbidden"       http_request_denied     "The caller may not do this"
    PlaintextRefused     FORBIDDEN              "plaintext_refused"      http_request_denied     "Bodies must be sealed before they come here"
    NoUpstream           NOT_FOUND              "no_upstream"            destination_not_found   "No upstream serves this path"
    MethodNotAllowed     METHOD_NOT_ALLOWED     "method_not_allowed"     http_request_denied     "The method is not forwarded"
    RequestTimeout       REQUEST_TIMEOUT        "request_timeout"        http_request_error      "The request body did not arrive in time"
    BodyTooLarge         PAYLOAD_TOO_LARGE      "body_too_large"         http_request_error      "The request body is too large"
    CallerThrottled      TOO_MANY_REQUESTS      "caller_throttled"       http_request_denied     "The caller is at its limit"
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" http_request_error      "The request body is neither JSON nor a JWE"
    CredentialsRefused   BAD_GATEWAY            "credentials_refused"    proxy_configuration_error "The provider refuses the gateway's credentials"
    UpstreamUnreachable  BAD_GATEWAY            "upstream_unreachable"   destination_unavailable "The provider cannot be reached"
    UpstreamProtocol     BAD_GATEWAY            "upstream_protocol"      http_protocol_error     "The provider's reply is not HTTP or broke off"
    NoUsableKey          SERVICE_UNAVAILABLE    "no_usable_key"          proxy_internal_error    "There is no key to seal with"
    TokenUnavailable     SERVICE_UNAVAILABLE    "token_unavailable"      proxy_internal_error    "There is no token to send"
    Overloaded           SERVICE_UNAVAILABLE    "overloaded"             connection_limit_reached "The gateway is at its limit"
    Draining             SERVICE_UNAVAILABLE    "draining"               proxy_internal_response "The gateway is stopping"
    UpstreamTimeout      GATEWAY_TIMEOUT        "upstream_timeout"       http_response_timeout   "The provider did not answer in time"
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The cells of the README's table of answers, row by row.
    fn printed() -> Vec<Vec<String>> {
        include_str!("../../../../README.md")
            .lines()
            .skip_while(|line| !line.starts_with("| `code`"))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
            .collect()
    }

    #[test]
    fn the_readme_prints_this_table() {
        let expected: Vec<Vec<String>> = Code::ALL
            .iter()
            .map(|code| code.row())
            .map(|row| vec![row.code.into(), row.status.as_str().into(), row.proxy_error.into(), row.title.into()])
            .collect();
        assert_eq!(printed(), expected);
    }

    #[test]
    fn no_two_rows_share_a_code() {
        let codes: HashSet<_> = Code::ALL.iter().map(|code| code.row().code).collect();
        assert_eq!(codes.len(), Code::ALL.len());
    }
}
