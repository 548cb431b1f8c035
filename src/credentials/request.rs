//! A token request in one of three formats.
//!
//! The buffers with the secret are allocated once in their final size, and wiped when they are dropped. The body is
//! wiped after the client has sent it. The gateway cannot wipe copies in the buffers of the HTTP and TLS libraries.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use serde::Serializer as _;
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use super::{ClientCredentials, Format, RESERVED_MEMBERS, RenewalErrorKind};
use crate::secret::Secret;
use crate::static_credential::header_value;

const GRANT_TYPE: (&str, &str) = ("grant_type", "client_credentials");

/// A token request. It has no `Debug`, because the body contains the secret.
pub(super) struct TokenRequest {
    pub(super) content_type: HeaderValue,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) body: Bytes,
}

impl TokenRequest {
    pub(super) fn new(config: &ClientCredentials, secret: &Secret) -> Result<Self, RenewalErrorKind> {
        let id_and_secret = [("client_id", config.client_id.as_str()), ("client_secret", secret.expose())];
        let extra = config.extra.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let extra = extra.filter(|(name, _)| !RESERVED_MEMBERS.contains(name));
        let in_body = id_and_secret.into_iter().filter(|_| config.format != Format::Basic);
        let members: Vec<(&str, &str)> = in_body.chain([GRANT_TYPE]).chain(extra).collect();
        let form = "application/x-www-form-urlencoded";
        let (content_type, body, authorization) = match config.format {
            Format::Json => ("application/json", json(&members), None),
            Format::Form => (form, form_encoded(&members), None),
            Format::Basic => (form, form_encoded(&members), Some(basic(&config.client_id, secret)?)),
        };
        Ok(Self { content_type: HeaderValue::from_static(content_type), authorization, body: Bytes::from_owner(body) })
    }
}

/// A JSON object. A byte becomes at most six bytes (`\u0000`).
fn json(members: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let capacity = members.iter().map(|(name, value)| 6 * (name.len() + value.len()) + 6).sum::<usize>() + 2;
    let mut body = Zeroizing::new(Vec::with_capacity(capacity));
    // Serialising strings into a vector cannot fail.
    let _ = serde_json::Serializer::new(&mut *body).collect_map(members.iter().copied());
    body
}

/// `application/x-www-form-urlencoded` (RFC 6749 appendix B). A byte becomes at most three bytes (`%00`).
fn form_encoded(members: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let capacity = members.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let mut body = Zeroizing::new(Vec::with_capacity(capacity));
    for (name, value) in members {
        if !body.is_empty() {
            body.push(b'&');
        }
        byte_serialize(name.as_bytes()).for_each(|part| body.extend_from_slice(part.as_bytes()));
        body.push(b'=');
        byte_serialize(value.as_bytes()).for_each(|part| body.extend_from_slice(part.as_bytes()));
    }
    body
}

/// RFC 6749 section 2.3.1: client id and secret are form-encoded before they become user and password.
fn basic(client_id: &str, secret: &Secret) -> Result<HeaderValue, RenewalErrorKind> {
    let halves = [client_id, secret.expose()];
    let capacity = halves.iter().map(|half| 3 * half.len()).sum::<usize>() + 1;
    let mut pair = Zeroizing::new(String::with_capacity(capacity));
    byte_serialize(halves[0].as_bytes()).for_each(|part| pair.push_str(part));
    pair.push(':');
    byte_serialize(halves[1].as_bytes()).for_each(|part| pair.push_str(part));
    Ok(header_value("Basic ", &Secret::new(STANDARD.encode(pair.as_bytes())))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretSource;
    use serde_json::{Value, json};

    fn written(format: Format, extra: &[(&str, &str)]) -> (TokenRequest, String) {
        let secret = Secret::new("s3cr:t \"&=é".into());
        let source = SecretSource::Value(secret.clone());
        let mut config = ClientCredentials::new("https://example.org/t".parse().unwrap(), "id one".into(), source);
        config.format = format;
        config.extra = extra.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let request = TokenRequest::new(&config, &secret).unwrap();
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        (request, body)
    }

    #[test]
    fn json_has_the_members_in_the_documented_order_followed_by_the_extra_ones() {
        let (request, body) = written(Format::Json, &[("scope", "a b")]);
        assert_eq!(request.content_type, "application/json");
        assert!(request.authorization.is_none());
        let members: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            members,
            json!({
                "client_id": "id one", "client_secret": "s3cr:t \"&=é", "grant_type": "client_credentials", "scope": "a b",
            })
        );
        assert!(body.starts_with(r#"{"client_id":"#));
    }

    #[test]
    fn a_form_has_the_same_members_encoded() {
        let (request, body) = written(Format::Form, &[("scope", "a b")]);
        assert_eq!(request.content_type, "application/x-www-form-urlencoded");
        assert!(request.authorization.is_none());
        let secret = "client_secret=s3cr%3At+%22%26%3D%C3%A9";
        assert_eq!(body, format!("client_id=id+one&{secret}&grant_type=client_credentials&scope=a+b"));
    }

    #[test]
    fn basic_has_id_and_secret_form_encoded_in_a_sensitive_header_and_not_in_the_body() {
        let (request, body) = written(Format::Basic, &[("scope", "a b")]);
        assert_eq!(body, "grant_type=client_credentials&scope=a+b");
        let value = request.authorization.unwrap();
        assert!(value.is_sensitive());
        let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(STANDARD.decode(encoded).unwrap(), b"id+one:s3cr%3At+%22%26%3D%C3%A9");
    }

    #[test]
    fn an_extra_member_cannot_replace_a_reserved_one() {
        for format in [Format::Json, Format::Form, Format::Basic] {
            let (_, body) = written(format, &[("client_id", "other"), ("grant_type", "password")]);
            assert!(!body.contains("other") && !body.contains("password"), "{body}");
        }
    }

    #[test]
    fn the_buffers_never_grow() {
        let member = ("\0\0\0", "\0\0\0\0");
        let assert_fits = |body: Zeroizing<Vec<u8>>, estimate: usize| assert!(body.len() <= estimate, "{}", body.len());
        assert_fits(json(&[member, member]), 2 * (6 * 7 + 6) + 2);
        assert_fits(form_encoded(&[member, member]), 2 * (3 * 7 + 2));
    }
}
