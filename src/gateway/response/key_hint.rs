//! The response header `Jwe-Gateway-Key`: the provider no longer publishes the key of the caller's sealed message.
//!
//! The gateway cannot seal such a message again, and the provider's 400 does not name the reason. The client
//! that sealed the message must fetch the key set and send again.

use http::{HeaderName, HeaderValue};

/// Sent with the provider's refusal of a message that the caller sealed.
pub(crate) const JWE_KEY_HINT: HeaderName = HeaderName::from_static("jwe-gateway-key");

/// The number of kids in the header. A key set may have 100 keys, and a kid can be long.
const MAX_KIDS: usize = 8;

/// The content of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyHint {
    /// The published kids, the preferred one first.
    pub current: Vec<String>,
}

impl KeyHint {
    /// `reason=unknown, current=("kid-1" "kid-2")`: a structured-field dictionary (RFC 9651 section 3.2).
    ///
    /// A kid that is not printable ASCII cannot be a string there and is left out.
    #[must_use]
    pub(crate) fn header(&self) -> HeaderValue {
        let kids: Vec<_> = self.current.iter().filter_map(|kid| quoted(kid)).take(MAX_KIDS).collect();
        HeaderValue::try_from(format!("reason=unknown, current=({})", kids.join(" ")))
            .unwrap_or_else(|_| HeaderValue::from_static("reason=unknown"))
    }
}

/// RFC 9651 section 3.3.3.
fn quoted(text: &str) -> Option<String> {
    let is_printable = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    is_printable.then(|| format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kids_are_escaped_and_a_kid_that_is_not_printable_ascii_is_left_out() {
        let hint = KeyHint { current: vec!["a".into(), r#"b"\"#.into(), "ü".into(), "c\r\nX: y".into()] };
        assert_eq!(hint.header(), r#"reason=unknown, current=("a" "b\"\\")"#);
    }
}
