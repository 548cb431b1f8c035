//! The declared type of a body: JSON, which the gateway seals, or a JWE, which the caller has sealed.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    /// `application/json` and `application/*+json`.
    Json,
    /// `application/jose`: a compact JWE that the caller made.
    Jose,
}

/// Why a declared type is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MediaTypeFault {
    #[error("a request with a body needs a Content-Type")]
    Missing,
    /// The gateway and the provider could each read another line.
    #[error("a request must have only one Content-Type")]
    Repeated,
    #[error("the Content-Type must be application/json, application/*+json or application/jose")]
    Other,
    /// A JWE for a provider that accepts none.
    #[error("this upstream accepts clear JSON only; it could not open a JWE")]
    NotSealed,
    /// RFC 8259 section 8.1.
    #[error("the charset of JSON must be utf-8")]
    Charset,
    /// A compressed body would have to be decompressed for the check, and its size would reveal something of
    /// its content.
    #[error("the Content-Encoding must be identity: send the body uncompressed")]
    Encoded,
}

/// The declared type of the body, if there is one.
///
/// # Errors
/// Every [`MediaTypeFault`] except [`MediaTypeFault::Missing`], which depends on whether there is a body.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<Option<MediaType>, MediaTypeFault> {
    let encoded = |line: &http::HeaderValue| !line.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().any(encoded) {
        return Err(MediaTypeFault::Encoded);
    }
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(MediaTypeFault::Repeated);
    }
    parse(line.to_str().map_err(|_| MediaTypeFault::Other)?).map(Some)
}

/// Parses a media type (RFC 9110 section 8.3.1).
fn parse(value: &str) -> Result<MediaType, MediaTypeFault> {
    let mut parts = value.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/jose" => Ok(MediaType::Jose),
        "application/json" => utf8_json(parts),
        _ if essence.strip_prefix("application/").is_some_and(is_json_suffixed) => utf8_json(parts),
        _ => Err(MediaTypeFault::Other),
    }
}

fn is_json_suffixed(subtype: &str) -> bool {
    subtype.strip_suffix("+json").is_some_and(|name| !name.is_empty() && !name.contains(['/', ' ', ',']))
}

fn utf8_json<'v>(parameters: impl Iterator<Item = &'v str>) -> Result<MediaType, MediaTypeFault> {
    for parameter in parameters {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        if name.trim().eq_ignore_ascii_case("charset")
            && !["utf-8", "utf8"].iter().any(|utf8| value.eq_ignore_ascii_case(utf8))
        {
            return Err(MediaTypeFault::Charset);
        }
    }
    Ok(MediaType::Json)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn json_may_have_any_suffix_and_parameter_but_must_be_utf_8() {
        for value in [
            "application/json",
            "Application/JSON ; charset=UTF-8",
            "application/json;charset=\"utf-8\"; v=1",
            "application/problem+json",
            "application/vnd.flanks.v1+json; profile=x",
        ] {
            assert_eq!(parse(value), Ok(MediaType::Json), "{value}");
        }
        assert_eq!(parse("application/json; charset=latin1"), Err(MediaTypeFault::Charset));
    }

    #[test]
    fn a_jwe_is_accepted_and_any_other_type_is_refused() {
        assert_eq!(parse("application/jose"), Ok(MediaType::Jose));
        for value in [
            "",
            "text/json",
            "application/jose+json2",
            "application/+json",
            "text/plain",
            "application/json, text/plain",
            "multipart/form-data",
        ] {
            assert_eq!(parse(value), Err(MediaTypeFault::Other), "{value}");
        }
    }

    #[test]
    fn a_repeated_content_type_and_a_content_encoding_are_refused() {
        let mut headers = HeaderMap::new();
        assert_eq!(media_type(&headers), Ok(None));
        headers.append(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("Identity"));
        assert_eq!(media_type(&headers), Ok(Some(MediaType::Json)));
        headers.append(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert_eq!(media_type(&headers), Err(MediaTypeFault::Repeated));
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(media_type(&headers), Err(MediaTypeFault::Encoded));
    }
}
