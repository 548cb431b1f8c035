//! Faults in the token response.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::sandbox::api_response::ErrorFormat;
use crate::sandbox::scripted_body::ScriptedBody;

/// A fault in the token response. Several can be armed together, for example a slow response with a short
/// lifetime.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenFault {
    /// The token expires after this time, and `expires_in` says so.
    ShortLife {
        /// The lifetime in seconds.
        seconds: u64,
    },
    /// `expires_in` has this value (for example `"3600"`, `0`, `-1`, `1e12`, `"soon"`). The lifetime of the
    /// token is unchanged.
    ExpiresIn {
        /// Any JSON value.
        value: Value,
    },
    /// The response has no `expires_in`.
    NoExpiresIn,
    /// The token contains a line break followed by another header, as in a header injection.
    NewlineInToken,
    /// 200 without `access_token`.
    NoToken,
    /// 401, as for a wrong secret.
    RefuseCredentials,
    /// 429 with `Retry-After`.
    TooManyRequests {
        /// The value of `Retry-After` in seconds.
        retry_after: u64,
    },
    /// 500.
    ServerError,
    /// The response is delayed.
    Slow {
        /// The delay before the response head, in milliseconds.
        delay_ms: u64,
    },
}

impl TokenFault {
    pub(super) fn samples() -> Vec<Self> {
        vec![
            Self::ShortLife { seconds: 2 },
            Self::ExpiresIn { value: json!("3600") },
            Self::NoExpiresIn,
            Self::NewlineInToken,
            Self::NoToken,
            Self::RefuseCredentials,
            Self::TooManyRequests { retry_after: 1 },
            Self::ServerError,
            Self::Slow { delay_ms: 500 },
        ]
    }

    /// Waits for the sum of the delays in `faults`.
    pub(in crate::sandbox) async fn delay(faults: &[Self], clock: &Clock) {
        for fault in faults {
            if let Self::Slow { delay_ms } = fault {
                clock.sleep(Duration::from_millis(*delay_ms)).await;
            }
        }
    }

    /// The refusal of the first fault that has one, in the format of the path.
    pub(in crate::sandbox) fn refusal(faults: &[Self], format: ErrorFormat) -> Option<Response<ScriptedBody>> {
        let error = |status, text: &str| format.error(status, "", text).into_response();
        faults.iter().find_map(|fault| match fault {
            Self::RefuseCredentials => {
                let text = "Invalid client credentials";
                Some(error(StatusCode::UNAUTHORIZED, text))
            }
            Self::TooManyRequests { retry_after } => {
                let mut response = error(StatusCode::TOO_MANY_REQUESTS, "Too many requests");
                let seconds = HeaderValue::from(*retry_after);
                response.headers_mut().insert(RETRY_AFTER, seconds);
                Some(response)
            }
            Self::ServerError => Some(error(StatusCode::INTERNAL_SERVER_ERROR, "Internal Error")),
            Self::ShortLife { .. }
            | Self::ExpiresIn { .. }
            | Self::NoExpiresIn
            | Self::NewlineInToken
            | Self::NoToken
            | Self::Slow { .. } => None,
        })
    }

    /// The lifetime of the token to be issued.
    pub(in crate::sandbox) fn lifetime(faults: &[Self], default: Duration) -> Duration {
        faults.iter().fold(default, |lifetime, fault| match fault {
            Self::ShortLife { seconds } => Duration::from_secs(*seconds),
            _ => lifetime,
        })
    }

    /// Changes the document of a successful token response.
    pub(in crate::sandbox) fn distort(faults: &[Self], document: &mut Value) {
        let Some(members) = document.as_object_mut() else {
            return;
        };
        for fault in faults {
            match fault {
                Self::ExpiresIn { value } => {
                    members.insert("expires_in".to_owned(), value.clone());
                }
                Self::NoExpiresIn => {
                    members.remove("expires_in");
                }
                Self::NewlineInToken => {
                    let token = json!("sandbox\r\nx-injected: yes");
                    members.insert("access_token".to_owned(), token);
                }
                Self::NoToken => {
                    members.remove("access_token");
                }
                Self::ShortLife { .. }
                | Self::RefuseCredentials
                | Self::TooManyRequests { .. }
                | Self::ServerError
                | Self::Slow { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Fault;
    use crate::sandbox::testing::{TestResponse, TestSandbox};

    async fn with(sandbox: &TestSandbox, fault: TokenFault) -> TestResponse {
        sandbox.handle.arm_times(Fault::Token(fault), 1);
        let reply = sandbox.request_token(&sandbox.credentials()).await;
        assert!(sandbox.request_token(&sandbox.credentials()).await.ok()["access_token"].is_string());
        reply
    }

    #[tokio::test]
    async fn a_short_lifetime_is_declared_and_enforced() {
        let mut sandbox = TestSandbox::start().await;
        let fault = TokenFault::ShortLife { seconds: 2 };
        assert_eq!(with(&sandbox, fault.clone()).await.ok()["expires_in"], 2);
        sandbox.handle.arm(Fault::Token(fault));
        sandbox.renew_token().await;
        sandbox.control.advance(Duration::from_secs(1));
        assert_eq!(sandbox.get("/v0/bank/available").await.status, 200);
        sandbox.control.advance(Duration::from_secs(1));
        assert_eq!(sandbox.get("/v0/bank/available").await.status, 401);
    }

    #[tokio::test]
    async fn expires_in_has_the_armed_value_or_is_missing() {
        let sandbox = TestSandbox::start().await;
        for value in [json!("3600"), json!(0), json!(-1), json!(1e12), json!("soon"), json!(null)] {
            let fault = TokenFault::ExpiresIn { value: value.clone() };
            assert_eq!(with(&sandbox, fault).await.ok().get("expires_in"), Some(&value));
        }
        assert!(with(&sandbox, TokenFault::NoExpiresIn).await.ok().get("expires_in").is_none());
    }

    #[tokio::test]
    async fn the_faults_of_the_token_put_a_line_break_into_it_or_omit_it() {
        let sandbox = TestSandbox::start().await;
        let token = with(&sandbox, TokenFault::NewlineInToken).await.ok()["access_token"].take();
        assert!(token.as_str().unwrap().contains("\r\n"));
        assert!(with(&sandbox, TokenFault::NoToken).await.ok().get("access_token").is_none());
    }

    #[tokio::test]
    async fn valid_credentials_get_401_429_or_500() {
        let sandbox = TestSandbox::start().await;
        assert_eq!(with(&sandbox, TokenFault::RefuseCredentials).await.status, 401);
        assert_eq!(with(&sandbox, TokenFault::ServerError).await.status, 500);
        let later = with(&sandbox, TokenFault::TooManyRequests { retry_after: 7 }).await;
        assert_eq!((later.status.as_u16(), later.header("retry-after")), (429, "7"));
    }

    #[tokio::test]
    async fn a_slow_response_is_delayed_by_the_clock() {
        let sandbox = TestSandbox::start().await;
        let fault = TokenFault::Slow { delay_ms: 60_000 };
        sandbox.handle.arm(Fault::Token(fault));
        let credentials = sandbox.credentials();
        let request = sandbox.request_token(&credentials);
        let (reply, advanced) = sandbox.advance_clock_until(Duration::from_secs(1), request).await;
        reply.ok();
        assert!(advanced >= Duration::from_secs(60));
    }
}
