//! A fixed credential: a secret that is sent as the value of a header, with an optional prefix.
//!
//! `keys` presents it when it fetches a key set. `credentials` adds it to requests. Tokens go through the same
//! [`header_value`].

use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::secret::{Secret, SecretSource, UnreadableSecret};

/// A secret that is sent in a header.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticCredential {
    /// The header that carries it.
    pub header: HeaderName,
    /// The text before the secret, with its space if it needs one: `"Bearer "`, or nothing.
    pub prefix: String,
    /// The secret. It is read again whenever it is used, so a rotated one needs no restart.
    pub secret: SecretSource,
}

/// A credential that cannot be sent. The text never contains the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCredential {
    #[error(transparent)]
    Unreadable(#[from] UnreadableSecret),
    #[error("the credential contains characters that a header cannot carry; only printable ASCII is allowed")]
    NotHeaderText,
}

impl StaticCredential {
    /// Reads the secret and returns the value of the header.
    pub(crate) async fn header_value(&self) -> Result<HeaderValue, BadCredential> {
        header_value(&self.prefix, &self.secret.read_async().await?)
    }
}

/// The value of a header that carries this secret, marked as sensitive.
pub(crate) fn header_value(prefix: &str, secret: &Secret) -> Result<HeaderValue, BadCredential> {
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + secret.expose().len()));
    text.push_str(prefix);
    text.push_str(secret.expose());
    if !is_header_text(&text) {
        return Err(BadCredential::NotHeaderText);
    }
    let mut value = HeaderValue::from_str(&text).map_err(|_| BadCredential::NotHeaderText)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether a header can carry `text`: printable ASCII only. `HeaderValue` accepts other bytes too, but receivers do
/// not agree about their meaning.
pub(crate) fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_header_has_the_prefix_and_the_secret_and_is_sensitive() {
        let secret = SecretSource::Value(Secret::new("canary".into()));
        let credential = StaticCredential { header: http::header::AUTHORIZATION, prefix: "Bearer ".into(), secret };
        let value = credential.header_value().await.unwrap();
        assert_eq!(value, "Bearer canary");
        assert!(value.is_sensitive() && !format!("{credential:?} {value:?}").contains("canary"));
    }

    #[test]
    fn a_secret_that_a_header_cannot_carry_is_an_error() {
        for secret in ["a\nb", "a\r\nx: y", "a\0", "abcé", "a\tb", "a\x7f"] {
            assert_eq!(header_value("", &Secret::new(secret.into())), Err(BadCredential::NotHeaderText), "{secret:?}");
        }
    }
}
