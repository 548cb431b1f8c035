//! What a body says it is: JSON, which we seal, or a JWE, which the caller has sealed.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

/// What the bytes of a body are to be read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    /// `application/json` and `application/*+json`.
    Json,
    /// `application/jose`: a compact JWE made by the caller.
    Jose,
}

/// Why a body is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MediaTypeFault {
    /// A body that does not say what it is.
    #[error("a request with a body has a Content-Type")]
    Missing,
    /// Two lines could be read two ways.
    #[error("a request has one Content-Type")]
    Repeated,
    /// Neither JSON nor a JWE.
    #[error("only application/json, application/*+json and application/jose are taken")]
    Other,
    /// A JWE for a provider that takes none.
    #[error("this upstream takes clear JSON; a JWE could not be opened there")]
    NotSealed,
    /// JSON is UTF-8 (RFC 8259 section 8.1).
    #[error("JSON is taken in UTF-8 only")]
    Charset,
    /// A compressed body would have to be inflated to be checked, and its size would tell
    /// something of its content.
    #[error("encoded bodies are not taken")]
    Encoded,
}

/// What the head says of the body, if it says anything.
///
/// # Errors
/// See [`MediaTypeFault`]; [`MediaTypeFault::Missing`] is for the reader of a body to find.
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

/// RFC 9110 section 8.3.1.
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
    fn json_comes_with_any_parameters_and_suffixes_but_in_utf_8() {
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
    fn a_jwe_is_taken_and_everything_else_is_not() {
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
    fn two_content_types_or_any_encoding_are_refused() {
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
