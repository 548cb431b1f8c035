//! Parses a 200 of the token endpoint: returns the token and its lifetime, or the reason why there is no token.
//!
//! The token is checked strictly, because it goes into a header. The lifetime is parsed leniently: providers write
//! `expires_in` as a number, as a string, or not at all.

use std::time::Duration;

use serde_json::{Map, Value};

use super::NoToken;
use crate::secret::Secret;

/// Limit for the length of a token. Tokens of a few KiB exist (JWTs with many claims). Few servers accept more than
/// 16 KiB of headers.
pub(crate) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The lifetime if the response states none, or one that cannot be parsed.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Shortest lifetime. It also replaces an `expires_in` of 0 or less: the token may work once.
pub(crate) const MIN_LIFETIME: Duration = Duration::from_secs(1);

/// Longest lifetime. A token is renewed at least once a day.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenResponse {
    pub(crate) token: Secret,
    /// Counted from the receipt, by the monotonic clock.
    pub(crate) lifetime: Duration,
    /// The scope, if the response states one.
    pub(crate) scope: Option<String>,
}

/// Parses a response (RFC 6749 section 5.1).
pub(crate) fn parse(body: &[u8]) -> Result<TokenResponse, NoToken> {
    let mut response: Map<String, Value> = serde_json::from_slice(body).map_err(|_| NoToken::NotAnObject)?;
    if response.get("error").is_some_and(|error| !error.is_null()) {
        return Err(NoToken::ErrorMember);
    }
    let token = match response.remove("access_token") {
        Some(Value::String(token)) => Secret::new(token),
        _ => return Err(NoToken::Missing),
    };
    check(token.expose())?;
    match response.get("token_type") {
        None | Some(Value::Null) => {}
        Some(Value::String(token_type)) if token_type.eq_ignore_ascii_case("bearer") => {}
        Some(_) => return Err(NoToken::UnknownType),
    }
    let scope = response.get("scope").and_then(Value::as_str).map(str::to_owned);
    Ok(TokenResponse { token, lifetime: lifetime(response.get("expires_in")), scope })
}

/// RFC 6750 section 2.1: `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn check(token: &str) -> Result<(), NoToken> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    let stem = token.trim_end_matches('=');
    match token.len() {
        0 => Err(NoToken::Missing),
        length if length > MAX_TOKEN_BYTES => Err(NoToken::TooLong),
        _ if stem.is_empty() || !stem.bytes().all(is_allowed) => Err(NoToken::NotB64Token),
        _ => Ok(()),
    }
}

fn lifetime(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    match seconds.filter(|seconds: &f64| seconds.is_finite()) {
        Some(seconds) => Duration::from_secs_f64(seconds.clamp(MIN_LIFETIME.as_secs_f64(), MAX_LIFETIME.as_secs_f64())),
        None => DEFAULT_LIFETIME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn granted(response: &Value) -> Result<TokenResponse, NoToken> {
        parse(response.to_string().as_bytes())
    }

    fn lifetime_of(expires_in: Value) -> u64 {
        granted(&json!({ "access_token": "t", "expires_in": expires_in })).unwrap().lifetime.as_secs()
    }

    #[test]
    fn a_documented_response_has_a_token_and_a_lifetime() {
        let response = json!({ "access_token": "abc.DEF-1_2~3+4/5==", "token_type": "Bearer", "expires_in": 3600 });
        let granted = granted(&response).unwrap();
        assert_eq!(granted.token.expose(), "abc.DEF-1_2~3+4/5==");
        assert_eq!((granted.lifetime, granted.scope), (Duration::from_secs(3600), None));
    }

    #[test]
    fn a_scope_is_returned_unchanged() {
        let scope = |scope: Value| granted(&json!({ "access_token": "t", "scope": scope })).unwrap().scope;
        assert_eq!(scope(json!("a b")).as_deref(), Some("a b"));
        assert_eq!(scope(json!(["a", "b"])), None);
    }

    #[test]
    fn expires_in_may_be_a_number_a_numeric_string_or_a_float() {
        assert_eq!(lifetime_of(json!(3600)), 3600);
        assert_eq!(lifetime_of(json!("3600")), 3600);
        assert_eq!(lifetime_of(json!(" 3600 ")), 3600);
        assert_eq!(lifetime_of(json!(3599.7)), 3599);
        assert_eq!(lifetime_of(json!("3599.7")), 3599);
    }

    #[test]
    fn a_lifetime_is_between_a_second_and_a_day() {
        for short in [json!(0), json!(-1), json!("0"), json!("-1e300"), json!(0.001), json!(i64::MIN)] {
            assert_eq!(lifetime_of(short.clone()), 1, "{short}");
        }
        for long in [json!(86_401), json!(1e12), json!("1e12"), json!(u64::MAX), json!(1e300)] {
            assert_eq!(lifetime_of(long.clone()), 86_400, "{long}");
        }
    }

    #[test]
    fn a_missing_or_malformed_expires_in_means_five_minutes() {
        assert_eq!(granted(&json!({ "access_token": "t" })).unwrap().lifetime, DEFAULT_LIFETIME);
        for nonsense in
            [json!("soon"), json!(""), json!(null), json!([]), json!({}), json!(true), json!("inf"), json!("NaN")]
        {
            assert_eq!(lifetime_of(nonsense.clone()), 300, "{nonsense}");
        }
    }

    #[test]
    fn the_token_type_is_bearer_in_any_case_or_missing() {
        for fine in [json!("Bearer"), json!("bearer"), json!("BEARER"), json!(null)] {
            assert!(granted(&json!({ "access_token": "t", "token_type": fine })).is_ok());
        }
        for other in [json!("mac"), json!("DPoP"), json!(""), json!(7)] {
            assert_eq!(granted(&json!({ "access_token": "t", "token_type": other })), Err(NoToken::UnknownType));
        }
    }

    #[test]
    fn a_200_without_a_token_or_with_an_error_is_a_failure() {
        for body in ["", "null", "[]", "<html>", "{\"access_token\":\"t\"", "\"t\""] {
            assert_eq!(parse(body.as_bytes()), Err(NoToken::NotAnObject), "{body}");
        }
        for response in
            [json!({}), json!({ "access_token": null }), json!({ "access_token": 7 }), json!({ "access_token": "" })]
        {
            assert_eq!(granted(&response), Err(NoToken::Missing), "{response}");
        }
        assert_eq!(granted(&json!({ "error": "slow_down", "access_token": "t" })), Err(NoToken::ErrorMember));
        assert!(granted(&json!({ "error": null, "access_token": "t" })).is_ok());
    }

    #[test]
    fn a_token_that_is_not_a_b64token_is_a_failure() {
        for token in ["a\nb", "a\r\nx: y", "a b", "abcé", "a\0", "=", "==", "a=b", "a,b", "a\"b", "a\u{7f}"] {
            assert_eq!(granted(&json!({ "access_token": token })), Err(NoToken::NotB64Token), "{token:?}");
        }
        assert!(granted(&json!({ "access_token": "a".repeat(MAX_TOKEN_BYTES) })).is_ok());
        assert_eq!(granted(&json!({ "access_token": "a".repeat(MAX_TOKEN_BYTES + 1) })), Err(NoToken::TooLong));
    }

    proptest! {
        #[test]
        fn the_lifetime_keeps_its_limits_for_any_expires_in(number: f64, text: String) {
            for expires_in in [json!(number), json!(text), json!(number.to_string())] {
                prop_assert!((1..=86_400).contains(&lifetime_of(expires_in)));
            }
        }

        #[test]
        fn the_parser_does_not_panic_on_any_bytes(body: Vec<u8>) {
            let _ = parse(&body);
        }
    }
}
