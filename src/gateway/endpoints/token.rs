//! The emulated token endpoint, for clients that were written for the provider.
//!
//! Such a client posts its id and secret, and then sends the token that it receives. Here the id is a
//! caller's name, the secret is the caller's key, and the token is the gateway's own. The client changes its
//! base URL and nothing else, and never sees the provider's credentials. A request may have any of the three
//! formats in which the gateway asks the provider (RFC 6749 section 2.3.1). The response follows RFC 6749
//! section 5.1.
//!
//! The hard case is a client without a key. The caller is known only after the body is read, so every client that can
//! connect can begin a token request. Such a request holds no permit and no budget of an upstream until its caller is
//! known. Its connection bounds it: [`MAX_BODY`] bytes for all token requests of a connection, and [`BODY_TIME`] for
//! each. Rejected: a part of the permits for such requests. Clients that send slowly could use it up, and callers
//! would then get no token.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use http::{HeaderMap, HeaderValue, Response};
use serde::Deserialize;
use serde_json::json;
use url::{Url, form_urlencoded};
use zeroize::{Zeroize, Zeroizing};

use crate::gateway::callers::{Caller, Callers, TOKEN_LIFETIME, UnknownCaller};
use crate::gateway::request::body::ConnectionBudget;
use crate::path_prefix::PathPrefix;

/// The path of the token endpoint, unless the configuration has another: that of Flanks.
pub(crate) const PATH: &str = "/v0/token";

/// The maximum size of a token request in bytes. It has three short texts.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// How long a client may take to send the request. Short, because the client is not authenticated before. Three short
/// texts arrive with the head.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(1);

/// The budget for the bodies of all token requests of one connection.
pub(crate) fn connection_budget() -> ConnectionBudget {
    ConnectionBudget::new(MAX_BODY)
}

/// Why a token request is refused. It holds no part of the request, so it can be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTokenRequest {
    #[error("a token request must be a POST")]
    Method,
    #[error("the body must be a JSON object or a form, with the matching Content-Type")]
    Form,
    #[error("client_id and client_secret are required")]
    Credentials,
    /// They are in the body and in `Authorization`, or in several `Authorization` headers.
    #[error("client_id and client_secret must be sent once: in the body or in Authorization")]
    Twice,
    #[error("grant_type must be client_credentials")]
    Grant,
}

/// Where an upstream's token endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenLocation {
    /// The path of the gateway's request, without the upstream's base path.
    pub target: String,
    /// The path of the caller's request. None if no path below the upstream's prefix leads to `target`.
    pub caller_path: Option<String>,
}

/// The location of an upstream's token endpoint. None if it is not below the upstream's `url`.
///
/// The configuration's check and the gateway both ask here: the path that `check` approves is the path that
/// is served. `token_url` is where the gateway fetches its own tokens. An upstream without one has its
/// endpoint at [`PATH`].
pub(crate) fn locate(
    url: &Url,
    prefix: &PathPrefix,
    strip_prefix: bool,
    token_url: Option<&Url>,
) -> Option<TokenLocation> {
    let target = match token_url {
        // The scheme is not compared: one port is one server.
        Some(token_url)
            if token_url.host() != url.host() || token_url.port_or_known_default() != url.port_or_known_default() =>
        {
            return None;
        }
        Some(token_url) => PathPrefix::base_path(url).strip(token_url.path())?,
        None => PATH,
    };
    let caller_path = match strip_prefix {
        true => Some(prefix.join(target)),
        false => prefix.contains(target).then(|| target.to_owned()),
    };
    Some(TokenLocation { target: target.to_owned(), caller_path })
}

/// Why no token is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenNotGranted {
    #[error(transparent)]
    BadRequest(#[from] BadTokenRequest),
    /// The client id or the secret is wrong. The two are not told apart.
    #[error(transparent)]
    UnknownCaller(#[from] UnknownCaller),
}

/// Answers a token request. Returns the caller and the response. `scope` is the scope of the gateway's own
/// token, which all requests of the caller are sent with.
///
/// # Errors
/// See [`TokenNotGranted`].
pub(crate) fn answer(
    callers: &Callers,
    headers: &HeaderMap,
    body: &[u8],
    scope: Option<&str>,
) -> Result<(Caller, Response<Bytes>), TokenNotGranted> {
    let request = ClientAuthentication::read(headers, body)?;
    let (caller, token) = callers.token(&request.client_id, &request.client_secret)?;
    let mut granted = json!({ "access_token": token, "token_type": "Bearer", "expires_in": TOKEN_LIFETIME.as_secs() });
    if let Some(scope) = scope {
        granted["scope"] = scope.into();
    }
    let mut response = Response::new(Bytes::from(granted.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    Ok((caller, response))
}

/// The fields of a token request. A secret that was copied is wiped.
#[derive(Deserialize)]
struct RequestFields<'a> {
    #[serde(borrow)]
    client_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    client_secret: Option<Cow<'a, str>>,
    #[serde(borrow)]
    grant_type: Option<Cow<'a, str>>,
}

impl Drop for RequestFields<'_> {
    fn drop(&mut self) {
        if let Some(Cow::Owned(secret)) = &mut self.client_secret {
            secret.zeroize();
        }
    }
}

struct ClientAuthentication {
    client_id: String,
    client_secret: Zeroizing<String>,
}

impl ClientAuthentication {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, BadTokenRequest> {
        let mut fields = RequestFields::read(headers, body).ok_or(BadTokenRequest::Form)?;
        if fields.grant_type.as_deref() != Some("client_credentials") {
            return Err(BadTokenRequest::Grant);
        }
        let in_body = fields.client_id.take().zip(fields.client_secret.take());
        let in_body = in_body.map(|(id, secret)| (id.into_owned(), Zeroizing::new(secret.into_owned())));
        // A client that puts its token on a session sends the old token when it asks for the next one.
        let mut in_header = headers.get_all(AUTHORIZATION).iter().filter(|line| !has_scheme(line, "bearer"));
        // RFC 6749 section 2.3: a client uses one authentication method in a request.
        match (in_body, in_header.next(), in_header.next()) {
            (Some((client_id, client_secret)), None, _) => Ok(Self { client_id, client_secret }),
            (None, Some(line), None) => {
                let (client_id, client_secret) = basic(line).ok_or(BadTokenRequest::Credentials)?;
                Ok(Self { client_id, client_secret })
            }
            (None, None, _) => Err(BadTokenRequest::Credentials),
            _ => Err(BadTokenRequest::Twice),
        }
    }
}

impl<'a> RequestFields<'a> {
    fn read(headers: &HeaderMap, body: &'a [u8]) -> Option<Self> {
        let media_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/json") {
            return serde_json::from_slice(body).ok();
        }
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return None;
        }
        let mut fields = Self { client_id: None, client_secret: None, grant_type: None };
        for (name, value) in form_urlencoded::parse(body) {
            let member = match &*name {
                "client_id" => &mut fields.client_id,
                "client_secret" => &mut fields.client_secret,
                "grant_type" => &mut fields.grant_type,
                _ => continue,
            };
            // RFC 6749 section 3.2: no parameter occurs more than once.
            if member.replace(value).is_some() {
                return None;
            }
        }
        Some(fields)
    }
}

/// The id and the secret of a line with the scheme `Basic`, each encoded as in a form (RFC 6749 section
/// 2.3.1).
fn basic(line: &HeaderValue) -> Option<(String, Zeroizing<String>)> {
    if !has_scheme(line, "basic") {
        return None;
    }
    let (_scheme, credentials) = line.to_str().ok()?.split_once(' ')?;
    let decoded = Zeroizing::new(BASE64_STANDARD.decode(credentials.trim()).ok()?);
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((form_decoded(id), Zeroizing::new(form_decoded(secret))))
}

/// Whether a line of `Authorization` has this scheme, in any case (RFC 9110 section 11.1).
fn has_scheme(line: &HeaderValue, scheme: &str) -> bool {
    let own = line.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    own.eq_ignore_ascii_case(scheme.as_bytes())
}

fn form_decoded(text: &str) -> String {
    let spaced = Zeroizing::new(text.replace('+', " "));
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::gateway::callers::{Config, KeyDigest, KeySource, TokenKey};
    use crate::gateway::server::peer::Peer;

    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";

    fn callers() -> Callers {
        let keys = Some(KeySource::Digests(vec![KeyDigest::of("k y+")]));
        Callers::new(vec![Config { keys, ..Config::new("a") }], TokenKey::random().unwrap(), Clock::system(), None)
            .unwrap()
    }

    fn headers(content_type: &'static str, authorization: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    fn fault(headers: &HeaderMap, body: &str) -> TokenNotGranted {
        answer(&callers(), headers, body.as_bytes(), None).unwrap_err()
    }

    #[test]
    fn the_token_endpoint_is_below_the_base_path_and_the_prefix() {
        let located = |url: &str, prefix: &str, strip_prefix, token_url: Option<&str>| {
            let token_url = token_url.map(|url| url.parse().unwrap());
            let location = locate(&url.parse().unwrap(), &prefix.parse().unwrap(), strip_prefix, token_url.as_ref())?;
            Some((location.target, location.caller_path))
        };
        let found = |target: &str, caller_path: Option<&str>| Some((target.to_owned(), caller_path.map(str::to_owned)));
        let at = |url: &str, token_url: &str| located(url, "/", false, Some(token_url));
        assert_eq!(at("https://a.test", "https://a.test:443/v0/token"), found("/v0/token", Some("/v0/token")));
        assert_eq!(at("https://a.test/base/", "https://a.test/base/Token"), found("/Token", Some("/Token")));
        assert_eq!(at("https://a.test/base", "http://a.test:443/base"), found("/", Some("/")));
        for (url, token_url) in [
            ("https://a.test", "https://b.test/v0/token"),
            ("https://a.test", "https://a.test:8443/v0/token"),
            ("https://a.test/base", "https://a.test/Token"),
            ("https://a.test/base", "https://a.test/based/Token"),
        ] {
            assert_eq!(at(url, token_url), None, "{url} {token_url}");
        }
        assert_eq!(located("https://a.test/base", "/p", true, None), found("/v0/token", Some("/p/v0/token")));
        assert_eq!(located("https://a.test", "/p", false, None), found("/v0/token", None));
        assert_eq!(located("https://a.test", "/v0", false, None), found("/v0/token", Some("/v0/token")));
    }

    #[test]
    fn a_callers_name_and_key_in_any_format_get_a_token() {
        let basic = format!("Basic {}", BASE64_STANDARD.encode("a:k+y%2B"));
        for (headers, body) in [
            (
                headers("application/json; charset=utf-8", None),
                r#"{"client_id":"a","client_secret":"k\u0020y+","grant_type":"client_credentials","scope":"x"}"#,
            ),
            (headers(FORM, None), "grant_type=client_credentials&client_id=a&client_secret=k+y%2B"),
            (headers(FORM, Some(&basic)), "grant_type=client_credentials"),
            (headers(FORM, Some("Bearer old")), "grant_type=client_credentials&client_id=a&client_secret=k+y%2B"),
        ] {
            let callers = callers();
            let (caller, granted) = answer(&callers, &headers, body.as_bytes(), Some("a b")).unwrap();
            assert_eq!(&**caller.name(), "a");
            let granted: serde_json::Value = serde_json::from_slice(granted.body()).unwrap();
            assert_eq!((granted["token_type"].as_str(), granted["expires_in"].as_u64()), (Some("Bearer"), Some(3600)));
            assert_eq!(granted["scope"], "a b");
            let credential = format!("Bearer {}", granted["access_token"].as_str().unwrap()).parse().unwrap();
            let presented = HeaderMap::from_iter([(AUTHORIZATION, credential)]);
            assert!(callers.identify(&presented, &Peer::default()).is_ok());
        }
    }

    #[test]
    fn an_unknown_id_and_a_wrong_secret_get_the_same_refusal() {
        for (id, secret) in [("b", "k y+"), ("a", "wrong"), ("", "")] {
            let body = json!({ "client_id": id, "client_secret": secret, "grant_type": "client_credentials" });
            assert_eq!(fault(&headers(JSON, None), &body.to_string()), UnknownCaller.into());
        }
    }

    #[test]
    fn a_malformed_token_request_is_refused_without_an_echo_of_it() {
        let basic = format!("Basic {}", BASE64_STANDARD.encode("a:k+y%2B"));
        for (headers, body) in [
            (headers(JSON, None), "canary"),
            (headers(JSON, None), r#"["canary"]"#),
            (headers(JSON, None), r#"{"client_id":"a","client_secret":"canary"}"#),
            (headers(JSON, None), r#"{"client_id":"a","grant_type":"client_credentials"}"#),
            (headers(JSON, None), r#"{"client_id":1,"client_secret":"canary","grant_type":"client_credentials"}"#),
            (headers(FORM, None), "grant_type=password&client_id=a&client_secret=canary"),
            (headers(FORM, None), "grant_type=client_credentials&client_id=a&client_id=b&client_secret=canary"),
            (headers(FORM, Some(&basic)), "grant_type=client_credentials&client_id=a&client_secret=canary"),
            (headers(FORM, Some("Bearer x")), "grant_type=client_credentials"),
            (headers("text/plain", None), "grant_type=client_credentials&client_id=a&client_secret=canary"),
        ] {
            let fault = fault(&headers, body);
            assert!(matches!(fault, TokenNotGranted::BadRequest(_)), "{body}");
            assert!(!format!("{fault} {fault:?}").contains("canary"));
        }
    }
}
