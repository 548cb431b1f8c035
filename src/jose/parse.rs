//! The compact serialization (RFC 7516 section 7.1): what others made.
//!
//! A message is judged without being copied, and its ciphertext, which may have many MiB, without
//! being decoded. The form has one spelling: whatever two readers could read in two ways is
//! malformed.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;

use super::content::{BLOCK_BYTES, Iv, Tag};
use super::header::{ALG, ENC, MAX_HEADER_CHARS, ProtectedHeader};
use super::jwk::{MAX_KID_BYTES, MAX_MODULUS_BITS, MIN_MODULUS_BITS};

/// A message that a caller sealed for the provider. Cheap to clone, so that it can be sent again.
#[derive(Clone)]
pub struct CallerMade {
    pub(super) header: ProtectedHeader,
    pub(super) parts: [u64; 5],
    pub(super) message: Bytes,
}

impl CallerMade {
    /// Checks the form: exactly five parts in base64url without padding, and nothing around them,
    /// not even a line break; a protected header with our `alg` and `enc`; an encrypted key,
    /// IV, ciphertext and tag of possible lengths. Whether it can be opened, only the
    /// provider knows.
    ///
    /// # Errors
    /// The caller's fault: see [`MalformedJose`].
    pub fn parse(message: Bytes) -> Result<Self, MalformedJose> {
        let Parsed { header, texts, .. } = Parsed::read(&message)?;
        Ok(Self { header, parts: texts.map(|text| text.len() as u64), message })
    }

    /// Whether `piece` can be a part of a message, for those who must not keep one that is none.
    ///
    /// # Errors
    /// When it has a byte that no message has: `{`, say.
    pub fn check_piece(piece: &[u8]) -> Result<(), MalformedJose> {
        let is_message = all_in_blocks(piece, |byte| in_alphabet(byte) | (byte == b'.'));
        if is_message { Ok(()) } else { Err(MalformedJose::ForeignByte) }
    }

    /// The kid in the protected header.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }
}

impl fmt::Debug for CallerMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerMade").field("kid", &self.kid()).field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// Why a message is not a compact JWE of ours. Never repeats anything of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedJose {
    /// Not exactly five parts with a dot between each two.
    #[error("the message has not exactly five parts")]
    PartCount,
    /// A byte that stands nowhere in a compact message.
    #[error("the message is not base64url and dots")]
    ForeignByte,
    /// A character outside the alphabet, padding, white space, or last bits that are not zero.
    #[error("the {0} is not base64url without padding")]
    NotBase64Url(Part),
    /// A length that no message under our algorithms has in this part.
    #[error("the {0} is of an impossible length")]
    Length(Part),
    /// More header than anybody needs.
    #[error("the protected header has more than {MAX_HEADER_CHARS} characters")]
    HeaderTooLong,
    /// Not a JSON object in UTF-8, or one with a name that stands twice.
    #[error("the protected header is not a JSON object with distinct names")]
    HeaderNotJson,
    /// `alg` is missing or another one.
    #[error("`alg` is not {ALG}")]
    Algorithm,
    /// `enc` is missing or another one.
    #[error("`enc` is not {ENC}")]
    Encryption,
    /// `zip` is there: compressing before encrypting tells something of the content.
    #[error("`zip` is not supported")]
    Compressed,
    /// `crit` is there: it demands that extensions be understood, and we know none.
    #[error("`crit` is not supported")]
    Critical,
    /// `kid` is not a string, empty, or too long.
    #[error("`kid` is not a string of 1 to {MAX_KID_BYTES} bytes")]
    Kid,
}

/// The parts of a compact JWE, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// JWE Protected Header.
    Header,
    /// JWE Encrypted Key.
    EncryptedKey,
    /// JWE Initialization Vector.
    Iv,
    /// JWE Ciphertext.
    Ciphertext,
    /// JWE Authentication Tag.
    Tag,
}

impl Part {
    const ALL: [Self; 5] = [Self::Header, Self::EncryptedKey, Self::Iv, Self::Ciphertext, Self::Tag];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "protected header",
            Self::EncryptedKey => "encrypted key",
            Self::Iv => "initialization vector",
            Self::Ciphertext => "ciphertext",
            Self::Tag => "authentication tag",
        })
    }
}

/// A message taken apart and found well-formed: all but the ciphertext decoded.
pub(super) struct Parsed<'a> {
    /// The parts as they stand on the wire.
    pub(super) texts: [&'a [u8]; 5],
    pub(super) header: ProtectedHeader,
    pub(super) encrypted_key: Vec<u8>,
    pub(super) iv: Iv,
    pub(super) tag: Tag,
}

impl<'a> Parsed<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, MalformedJose> {
        let texts = split(message).ok_or(MalformedJose::PartCount)?;
        for (text, part) in texts.iter().zip(Part::ALL) {
            if !is_base64url(text) {
                return Err(MalformedJose::NotBase64Url(part));
            }
        }
        let [header, encrypted_key, iv, ciphertext, tag] = texts;
        if ciphertext.is_empty() || !octets_in(ciphertext).is_multiple_of(BLOCK_BYTES) {
            return Err(MalformedJose::Length(Part::Ciphertext));
        }
        Ok(Self {
            texts,
            header: ProtectedHeader::parse(header)?,
            encrypted_key: decode_key(encrypted_key)?,
            iv: decode_array(iv, Part::Iv)?,
            tag: decode_array(tag, Part::Tag)?,
        })
    }

    /// The ciphertext in octets.
    pub(super) fn ciphertext(&self) -> Result<Vec<u8>, MalformedJose> {
        decode(self.texts[3], Part::Ciphertext)
    }
}

/// Characters of unpadded base64 for so many octets.
pub(super) const fn chars_for(octets: usize) -> usize {
    octets / 3 * 4 + [0, 2, 3][octets % 3]
}

/// Octets in unpadded base64 of a possible length.
const fn octets_in(text: &[u8]) -> usize {
    text.len() / 4 * 3 + text.len() % 4 * 3 / 4
}

/// The five parts. The last dot is sought from the end: between it and the third may lie many MiB.
fn split(message: &[u8]) -> Option<[&[u8]; 5]> {
    let dot = |byte: &u8| *byte == b'.';
    let mut parts = message.splitn(4, dot);
    let (header, encrypted_key, iv, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let last = rest.iter().rposition(dot)?;
    let (ciphertext, tag) = (&rest[..last], &rest[last + 1..]);
    (!ciphertext.contains(&b'.')).then_some([header, encrypted_key, iv, ciphertext, tag])
}

/// Whether `text` is base64url without padding, its unused last bits zero. Nothing is decoded but
/// the last group.
fn is_base64url(text: &[u8]) -> bool {
    let (_, last_group) = text.split_at(text.len() / 4 * 4);
    all_in_blocks(text, in_alphabet) && BASE64URL.decode(last_group).is_ok()
}

fn in_alphabet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | (byte == b'-') | (byte == b'_')
}

/// A scan that compilers make wide, in blocks, so that it ends soon after the first wrong byte.
fn all_in_blocks(text: &[u8], is_right: impl Fn(u8) -> bool) -> bool {
    const BLOCK: usize = 4096;
    text.chunks(BLOCK).all(|block| block.iter().fold(true, |all, byte| all & is_right(*byte)))
}

fn decode(text: &[u8], part: Part) -> Result<Vec<u8>, MalformedJose> {
    BASE64URL.decode(text).map_err(|_| MalformedJose::NotBase64Url(part))
}

/// The encrypted key is as long as the modulus that wrapped it.
fn decode_key(text: &[u8]) -> Result<Vec<u8>, MalformedJose> {
    if !(MIN_MODULUS_BITS / 8..=MAX_MODULUS_BITS / 8).contains(&octets_in(text)) {
        return Err(MalformedJose::Length(Part::EncryptedKey));
    }
    decode(text, Part::EncryptedKey)
}

fn decode_array<const N: usize>(text: &[u8], part: Part) -> Result<[u8; N], MalformedJose> {
    if octets_in(text) != N {
        return Err(MalformedJose::Length(part));
    }
    decode(text, part)?.try_into().map_err(|_| MalformedJose::Length(part))
}
