//! Opening messages, for the sandbox, the command `open`, and tests. The gateway opens none.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use zeroize::Zeroizing;

use super::content::{Cek, decrypt};
use super::parse::{MalformedJose, Parsed, Part};
use super::private::DecryptionKey;

/// Opens a compact JWE with the key of `keys` that has its kid, or with any of them if the message has
/// no kid. It accepts the same form as [`Compact::parse`](super::Compact::parse).
///
/// If the encrypted key cannot be unwrapped, a random key takes its place and the message fails at its
/// tag. So the result does not reveal which of the two was wrong (RFC 7516 section 11.5). The time
/// reveals little: josekit takes slightly longer to report a failure.
///
/// # Errors
/// See [`OpenError`].
pub fn open(message: &[u8], keys: &[DecryptionKey]) -> Result<Opened, OpenError> {
    let parsed = Parsed::read(message)?;
    let kid = parsed.header.kid.as_deref();
    let mut candidates = keys.iter().filter(|key| kid.is_none() || key.kid() == kid).peekable();
    if candidates.peek().is_none() {
        return Err(OpenError::UnknownKey(parsed.header.kid));
    }

    let [aad, encrypted_key, iv, ciphertext, tag] = parsed.texts;
    let encrypted_key = decode(encrypted_key, Part::EncryptedKey)?;
    let iv = decode(iv, Part::Iv)?.try_into().map_err(|_| MalformedJose::Length(Part::Iv))?;
    let tag = decode(tag, Part::Tag)?.try_into().map_err(|_| MalformedJose::Length(Part::Tag))?;
    let mut plaintext = Zeroizing::new(decode(ciphertext, Part::Ciphertext)?);
    let substitute = Cek::random().map_err(|_| OpenError::Undecryptable)?;
    let opened = candidates.any(|key| {
        let unwrapped = key.unwrap_cek(&encrypted_key);
        decrypt(unwrapped.as_ref().unwrap_or(&substitute), &iv, aad, &mut plaintext, &tag).is_ok()
    });
    if !opened {
        return Err(OpenError::Undecryptable);
    }
    Ok(Opened { plaintext, parts: parsed.texts.map(<[u8]>::len), kid: parsed.header.kid, header: parsed.header.text })
}

/// Decodes a part. [`Parsed`] has checked it, so it does not fail.
fn decode(text: &[u8], part: Part) -> Result<Vec<u8>, MalformedJose> {
    BASE64URL.decode(text).map_err(|_| MalformedJose::NotBase64Url(part))
}

/// An opened message.
pub struct Opened {
    /// The plaintext, byte for byte. Wiped when dropped.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The kid in the protected header.
    pub kid: Option<String>,
    /// The protected header as JSON.
    pub header: String,
    /// The bytes of each part on the wire: header, encrypted key, IV, ciphertext, tag.
    pub parts: [usize; 5],
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("kid", &self.kid).field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// Why a message could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The message is not a compact JWE with our algorithms.
    #[error("malformed: {0}")]
    Malformed(#[from] MalformedJose),
    /// No key has the message's kid, or the message has no kid and there are no keys.
    #[error("no key has the kid of the message")]
    UnknownKey(Option<String>),
    /// The encrypted key, the tag or the padding is wrong, or the operating system has no random
    /// numbers. The error does not say which.
    #[error("the message cannot be opened")]
    Undecryptable,
}
