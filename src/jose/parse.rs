//! Parsing the compact serialization (RFC 7516 section 7.1) of messages that others made.
//!
//! A message is checked without a copy, and its ciphertext, which can have many MiB, without decoding.
//! Each message has exactly one accepted spelling: text that two readers could read in two ways is
//! malformed.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;

use super::content::{BLOCK_BYTES, IV_BYTES, TAG_BYTES};
use super::header::{ALG, ENC, MAX_HEADER_CHARS, ProtectedHeader};
use super::jwk::{MAX_KID_BYTES, MAX_MODULUS_BITS, MIN_MODULUS_BITS};

/// A message that a caller sealed for the provider. Cheap to clone, so that it can be resent.
#[derive(Clone)]
pub struct CallerMade {
    pub(super) header: ProtectedHeader,
    pub(super) parts: [u64; 5],
    pub(super) message: Bytes,
}

impl CallerMade {
    /// Checks the form: exactly five parts in base64url without padding, and nothing around them, not
    /// even a line break; a protected header with our `alg` and `enc`; possible lengths of encrypted key,
    /// IV, ciphertext and tag. Only the provider can tell whether it can be opened.
    ///
    /// # Errors
    /// If the form is wrong, which is the caller's fault: see [`MalformedJose`].
    pub fn parse(message: Bytes) -> Result<Self, MalformedJose> {
        let Parsed { header, texts, .. } = Parsed::read(&message)?;
        Ok(Self { header, parts: texts.map(|text| text.len() as u64), message })
    }

    /// Checks that `piece` can be part of a message, before it is kept in memory.
    ///
    /// # Errors
    /// If it has a byte that no message has, such as `{`.
    pub fn check_piece(piece: &[u8]) -> Result<(), MalformedJose> {
        let is_message = all_in_blocks(piece, |byte| in_alphabet(byte) | (byte == b'.'));
        if is_message { Ok(()) } else { Err(MalformedJose::ForeignByte) }
    }

    /// Checks that the protected header has no other members than `alg`, `enc`, `kid`, `typ`, `cty` and those of
    /// `allowed`. The header is not encrypted, so any other member can carry clear text.
    ///
    /// # Errors
    /// [`MalformedJose::ExtraMember`] for the first other member.
    pub fn check_members(self, allowed: &[String]) -> Result<Self, MalformedJose> {
        match self.header.extra.iter().find(|name| !allowed.contains(name)) {
            Some(name) => Err(MalformedJose::extra_member(name)),
            None => Ok(self),
        }
    }

    /// Returns the kid in the protected header.
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

/// Why a message is not a compact JWE with our algorithms. It never contains a part of the message, except
/// the name of a header member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedJose {
    /// The message does not have exactly five parts, separated by dots.
    #[error("the message does not have exactly five parts")]
    PartCount,
    /// The message has a byte that no compact message has.
    #[error("the message has other bytes than base64url and dots")]
    ForeignByte,
    /// A part has a character outside the alphabet, padding, white space, or unused last bits that are
    /// not zero.
    #[error("the {0} is not base64url without padding")]
    NotBase64Url(Part),
    /// A part has a length that is impossible with our algorithms.
    #[error("the {0} has an impossible length")]
    Length(Part),
    /// The protected header is too long.
    #[error("the protected header has more than {MAX_HEADER_CHARS} characters")]
    HeaderTooLong,
    /// The protected header is not a JSON object in UTF-8, or has a name twice.
    #[error("the protected header is not a JSON object with distinct names")]
    HeaderNotJson,
    /// `alg` is missing or names another algorithm.
    #[error("`alg` is not {ALG}")]
    Algorithm,
    /// `enc` is missing or names another algorithm.
    #[error("`enc` is not {ENC}")]
    Encryption,
    /// `zip` is present. Compression before encryption reveals something about the content.
    #[error("`zip` is not supported")]
    Compressed,
    /// `crit` is present. It demands support of extensions, and there is none.
    #[error("`crit` is not supported")]
    Critical,
    /// `kid` is not a string, empty, or too long.
    #[error("`kid` is not a string of 1 to {MAX_KID_BYTES} bytes")]
    Kid,
    /// The protected header has a member that is not allowed. The name is `None` if it does not look like the
    /// name of a member, because it can then be content.
    #[error("the protected header is not encrypted and must not have {}: remove it", extra_member(.0.as_deref()))]
    ExtraMember(Option<String>),
}

/// The limit for the characters of a member's name in an error. All registered names are shorter.
const MAX_NAME_CHARS: usize = 32;

impl MalformedJose {
    fn extra_member(name: &str) -> Self {
        Self::ExtraMember(plain_name(name).map(str::to_owned))
    }
}

/// Returns `text` if it looks like a registered name, so that it may be shown.
pub(super) fn plain_name(text: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.#".contains(&byte);
    ((1..=MAX_NAME_CHARS).contains(&text.len()) && text.bytes().all(is_plain)).then_some(text)
}

fn extra_member(name: Option<&str>) -> String {
    name.map_or_else(|| "a member with an unusual name".to_owned(), |name| format!("the member `{name}`"))
}

/// The parts of a compact JWE, in their order on the wire.
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

/// A well-formed message in its parts.
pub(super) struct Parsed<'a> {
    /// The parts on the wire. Each is base64url of a possible length.
    pub(super) texts: [&'a [u8]; 5],
    pub(super) header: ProtectedHeader,
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
        let header = ProtectedHeader::parse(header)?;
        // An encrypted key is as long as the modulus of the key that wrapped it.
        let is_possible = [
            (Part::EncryptedKey, (MIN_MODULUS_BITS / 8..=MAX_MODULUS_BITS / 8).contains(&octets_in(encrypted_key))),
            (Part::Iv, octets_in(iv) == IV_BYTES),
            (Part::Ciphertext, !ciphertext.is_empty() && octets_in(ciphertext).is_multiple_of(BLOCK_BYTES)),
            (Part::Tag, octets_in(tag) == TAG_BYTES),
        ];
        match is_possible.into_iter().find(|(_, is_possible)| !is_possible) {
            Some((part, _)) => Err(MalformedJose::Length(part)),
            None => Ok(Self { texts, header }),
        }
    }
}

/// Returns the characters of unpadded base64 for `octets` octets.
pub(super) const fn chars_for(octets: usize) -> usize {
    octets / 3 * 4 + [0, 2, 3][octets % 3]
}

/// Returns the octets that `text`, unpadded base64 of a possible length, stands for.
const fn octets_in(text: &[u8]) -> usize {
    text.len() / 4 * 3 + text.len() % 4 * 3 / 4
}

/// Splits a message into its five parts. The last dot is searched from the end, because many MiB can be
/// between it and the third one.
fn split(message: &[u8]) -> Option<[&[u8]; 5]> {
    let dot = |byte: &u8| *byte == b'.';
    let mut parts = message.splitn(4, dot);
    let (header, encrypted_key, iv, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let last = rest.iter().rposition(dot)?;
    let (ciphertext, tag) = (&rest[..last], &rest[last + 1..]);
    (!ciphertext.contains(&b'.')).then_some([header, encrypted_key, iv, ciphertext, tag])
}

/// Returns whether `text` is base64url without padding whose unused last bits are zero. Only the last
/// group is decoded.
fn is_base64url(text: &[u8]) -> bool {
    let (_, last_group) = text.split_at(text.len() / 4 * 4);
    all_in_blocks(text, in_alphabet) && BASE64URL.decode(last_group).is_ok()
}

fn in_alphabet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | (byte == b'-') | (byte == b'_')
}

/// Scans in blocks: compilers vectorise a block, and the scan ends soon after the first wrong byte.
fn all_in_blocks(text: &[u8], is_valid: impl Fn(u8) -> bool) -> bool {
    const BLOCK: usize = 4096;
    text.chunks(BLOCK).all(|block| block.iter().fold(true, |all, byte| all & is_valid(*byte)))
}
