//! The protected header: one form when written, strict rules when read.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::MalformedJose;
use super::jwk::MAX_KID_BYTES;

/// The algorithm that wraps content encryption keys (RFC 7518 section 4.3). Nothing can change it.
pub(super) const ALG: &str = "RSA-OAEP-256";
/// The algorithm that encrypts content (RFC 7518 section 5.2.5). Nothing can change it.
pub(super) const ENC: &str = "A256CBC-HS512";

/// The limit for the characters of an encoded header. The gateway's own have at most 2200, if every
/// byte of the longest kid needs an escape. Headers of callers may have further members.
pub(super) const MAX_HEADER_CHARS: usize = 4096;

/// The limit for the bytes of `typ` and `cty`, which name media types (RFC 7516 section 4.1.11). A longer text is no
/// media type in use.
pub(super) const MAX_TYPE_BYTES: usize = 64;

/// A protected header that names our `alg` and `enc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProtectedHeader {
    /// The header as JSON.
    pub(super) text: String,
    pub(super) kid: Option<String>,
    /// The names of all members except `alg`, `enc`, `kid`, and a `typ` and a `cty` that can be media types. In order.
    pub(super) extra: Vec<String>,
}

impl ProtectedHeader {
    /// Returns the header of messages that the gateway seals: these members in this order, `kid` if there
    /// is one.
    pub(super) fn ours(kid: Option<&str>) -> Self {
        let member = kid.map(|kid| format!(r#","kid":{}"#, Value::from(kid))).unwrap_or_default();
        let text = format!(r#"{{"alg":"{ALG}","enc":"{ENC}","typ":"JWE"{member}}}"#);
        Self { text, kid: kid.map(str::to_owned), extra: Vec::new() }
    }

    /// Returns the first part of a compact JWE.
    pub(super) fn encoded(&self) -> String {
        BASE64URL.encode(&self.text)
    }

    /// Reads the first part of a compact JWE (RFC 7516 section 4). Other members are listed in `extra`, except `crit`,
    /// which demands that extensions are understood, and `zip`, because the gateway never decompresses.
    pub(super) fn parse(encoded: &[u8]) -> Result<Self, MalformedJose> {
        if encoded.len() > MAX_HEADER_CHARS {
            return Err(MalformedJose::HeaderTooLong);
        }
        let bytes = BASE64URL.decode(encoded).map_err(|_| MalformedJose::HeaderNotJson)?;
        let text = String::from_utf8(bytes).map_err(|_| MalformedJose::HeaderNotJson)?;
        let Members(members) = serde_json::from_str(&text).map_err(|_| MalformedJose::HeaderNotJson)?;

        let has = |member, wanted| members.get(member).and_then(Value::as_str) == Some(wanted);
        if !has("alg", ALG) {
            return Err(MalformedJose::Algorithm);
        }
        if !has("enc", ENC) {
            return Err(MalformedJose::Encryption);
        }
        if members.contains_key("zip") {
            return Err(MalformedJose::Compressed);
        }
        if members.contains_key("crit") {
            return Err(MalformedJose::Critical);
        }
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) if (1..=MAX_KID_BYTES).contains(&kid.len()) => Some(kid.clone()),
            Some(_) => return Err(MalformedJose::Kid),
        };
        let extra = members.into_iter().filter(|(name, value)| !is_usual(name, value)).map(|(name, _)| name).collect();
        Ok(Self { text, kid, extra })
    }
}

/// Whether the member is one that most libraries write. `alg`, `enc` and `kid` were checked before.
pub(super) fn is_usual(name: &str, value: &Value) -> bool {
    match name {
        "alg" | "enc" | "kid" => true,
        "typ" | "cty" => value.as_str().is_some_and(|text| text.len() <= MAX_TYPE_BYTES),
        _ => false,
    }
}

/// A JSON object whose names are distinct (RFC 7516 section 4): of two `alg` members, another
/// implementation could use the other one.
pub(super) struct Members(pub(super) BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DistinctNames)
    }
}

struct DistinctNames;

impl<'de> Visitor<'de> for DistinctNames {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with distinct names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate name"));
            }
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: impl AsRef<[u8]>) -> Result<ProtectedHeader, MalformedJose> {
        ProtectedHeader::parse(BASE64URL.encode(header).as_bytes())
    }

    #[test]
    fn our_header_has_exactly_this_text() {
        assert_eq!(
            ProtectedHeader::ours(Some("key-1")).text,
            r#"{"alg":"RSA-OAEP-256","enc":"A256CBC-HS512","typ":"JWE","kid":"key-1"}"#
        );
        assert_eq!(ProtectedHeader::ours(None).text, r#"{"alg":"RSA-OAEP-256","enc":"A256CBC-HS512","typ":"JWE"}"#);
    }

    #[test]
    fn a_kid_is_escaped_as_a_json_string() {
        let kid = "a\",\"zip\":\"DEF\\\n\u{0}é";
        let header = ProtectedHeader::ours(Some(kid));
        assert_eq!(parse(&header.text).unwrap(), header);
        assert_eq!(header.kid.as_deref(), Some(kid));

        let longest = ProtectedHeader::ours(Some(&"\u{1}".repeat(MAX_KID_BYTES)));
        assert_eq!(parse(&longest.text).unwrap(), longest);
    }

    #[test]
    fn unknown_members_are_accepted_and_listed() {
        let text = r#" { "enc":"A256CBC-HS512", "cty":"application/json","alg":"RSA-OAEP-256", "x":[null]} "#;
        let header = ProtectedHeader { text: text.to_owned(), kid: None, extra: vec!["x".to_owned()] };
        assert_eq!(parse(text).unwrap(), header);
    }

    #[test]
    fn only_members_that_most_libraries_write_are_not_extra() {
        let extra = |more: &str| {
            let header = format!(r#"{{"alg":"{ALG}","enc":"{ENC}"{more}}}"#);
            parse(&header).unwrap().extra
        };
        let long = format!(r#","typ":"{}""#, "x".repeat(MAX_TYPE_BYTES + 1));
        assert!(extra(r#","kid":"a","typ":"JWE","cty":"application/json; charset=utf-8""#).is_empty());
        assert_eq!(extra(r#","typ":{"iban":"x"},"cty":["x"]"#), ["cty", "typ"]);
        assert_eq!(extra(&long), ["typ"]);
        for member in ["note", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "apu", "Kid", ""] {
            assert_eq!(extra(&format!(r#",{member:?}:"x""#)), [member]);
        }
    }

    #[test]
    fn every_malformed_header_is_refused_with_its_reason() {
        use MalformedJose::*;
        let long = format!(r#","x":"{}""#, "x".repeat(MAX_HEADER_CHARS));
        let long_kid = format!(r#","kid":"{}""#, "x".repeat(MAX_KID_BYTES + 1));
        for (more, reason) in [
            (r#","zip":"DEF""#, Compressed),
            (r#","zip":null"#, Compressed),
            (r#","crit":["exp"]"#, Critical),
            (r#","crit":[]"#, Critical),
            (r#","kid":"""#, Kid),
            (r#","kid":7"#, Kid),
            (r#","kid":null"#, Kid),
            (long_kid.as_str(), Kid),
            (r#","alg":"RSA-OAEP-256""#, HeaderNotJson),
            (r#","x":1,"x":1"#, HeaderNotJson),
            (",", HeaderNotJson),
            ("}", HeaderNotJson),
            (long.as_str(), HeaderTooLong),
        ] {
            let header = format!(r#"{{"alg":"{ALG}","enc":"{ENC}"{more}}}"#);
            assert_eq!(parse(&header), Err(reason), "{header}");
        }
        for (header, reason) in [
            (r#"{"alg":"RSA1_5","enc":"A256CBC-HS512"}"#, Algorithm),
            (r#"{"alg":"rsa-oaep-256","enc":"A256CBC-HS512"}"#, Algorithm),
            (r#"{"alg":["RSA-OAEP-256"],"enc":"A256CBC-HS512"}"#, Algorithm),
            (r#"{"alg":"dir","enc":"A256CBC-HS512"}"#, Algorithm),
            (r#"{"enc":"A256CBC-HS512"}"#, Algorithm),
            (r#"{"alg":"RSA-OAEP-256","enc":"A128CBC-HS256"}"#, Encryption),
            (r#"{"alg":"RSA-OAEP-256"}"#, Encryption),
            (r#"["RSA-OAEP-256","A256CBC-HS512"]"#, HeaderNotJson),
            ("null", HeaderNotJson),
            ("", HeaderNotJson),
        ] {
            assert_eq!(parse(header), Err(reason), "{header}");
        }
        assert_eq!(parse(b"{\"alg\":\"\xff\"}"), Err(HeaderNotJson));
        assert_eq!(ProtectedHeader::parse(b"e30="), Err(HeaderNotJson));
    }
}
