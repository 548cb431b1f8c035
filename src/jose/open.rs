//! Opening: for the sandbox, the command `open`, and tests. The gateway opens nothing.

use std::fmt;

use zeroize::Zeroizing;

use super::content::{Cek, decrypt};
use super::parse::{MalformedJose, Parsed};
use super::private::DecryptionKey;

/// Opens a compact JWE with whichever of `keys` bears its kid, or with any of them when it
/// bears none. It is as strict about the form as [`Compact::parse`](super::Compact::parse).
///
/// When the encrypted key does not unwrap, a random one takes its place and the message fails at
/// its tag, so that the answer does not tell which of the two was wrong, and the time hardly does
/// (RFC 7516 section 11.5). Hardly: josekit takes a little longer to report a failure.
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

    let substitute = Cek::random().map_err(|_| OpenError::Undecryptable)?;
    let mut plaintext = Zeroizing::new(parsed.ciphertext()?);
    let aad = parsed.texts[0];
    let opened = candidates.any(|key| {
        let unwrapped = key.unwrap_cek(&parsed.encrypted_key);
        let cek = unwrapped.as_ref().unwrap_or(&substitute);
        decrypt(cek, &parsed.iv, aad, &mut plaintext, &parsed.tag).is_ok()
    });
    if !opened {
        return Err(OpenError::Undecryptable);
    }
    Ok(Opened { plaintext, parts: parsed.texts.map(<[u8]>::len), kid: parsed.header.kid, header: parsed.header.text })
}

/// A message that was opened.
pub struct Opened {
    /// What was sealed, byte for byte. Wiped when dropped.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The kid in the protected header.
    pub kid: Option<String>,
    /// The protected header as JSON.
    pub header: String,
    /// Bytes of each part on the wire: header, encrypted key, IV, ciphertext, tag.
    pub parts: [usize; 5],
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("kid", &self.kid).field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// Why a message was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a compact JWE of ours.
    #[error("malformed: {0}")]
    Malformed(#[from] MalformedJose),
    /// None of the keys bears the message's kid; or it has none, and there are no keys.
    #[error("no key bears the kid of the message")]
    UnknownKey(Option<String>),
    /// The encrypted key, the tag or the padding is wrong (or the operating system has no random
    /// numbers to cover that up with). Which, is not said.
    #[error("the message cannot be opened")]
    Undecryptable,
}
