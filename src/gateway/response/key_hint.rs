//! What we tell a caller that sealed its own message under a key the provider no longer knows.
//!
//! We cannot seal it again, and the provider's 400 does not say why. Whoever sealed it can fetch
//! the key set anew and send again; this header says that this would help.

use http::{HeaderName, HeaderValue};

/// On a relayed refusal of a caller-made message whose key is not published.
pub(crate) const JWE_KEY_HINT: HeaderName = HeaderName::from_static("jwe-gateway-key");

/// How many kids are told. A set may have a hundred, each as long as some headers may be.
const MOST: usize = 8;

/// The key a message names is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyHint {
    /// The kids that are published now, the preferred one first.
    pub current: Vec<String>,
}

impl KeyHint {
    /// `reason=unknown, current=("kid-1" "kid-2")`: a structured-field dictionary (RFC 9651
    /// section 3.2). A kid that cannot stand in a string there (not printable ASCII) is left out.
    #[must_use]
    pub(crate) fn header(&self) -> HeaderValue {
        let kids: Vec<_> = self.current.iter().filter_map(|kid| quoted(kid)).take(MOST).collect();
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
    fn kids_are_escaped_and_those_that_cannot_be_written_are_left_out() {
        let hint = KeyHint { current: vec!["a".into(), r#"b"\"#.into(), "ü".into(), "c\r\nX: y".into()] };
        assert_eq!(hint.header(), r#"reason=unknown, current=("a" "b\"\\")"#);
    }
}
