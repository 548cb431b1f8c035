//! Which JWKs can be used to seal, and why others cannot.
//!
//! Our own rules are checked first: AWS-LC sees only the numbers `n` and `e` of a JWK that satisfies them all.
//! AWS-LC has the same rules for the numbers, but would check them when a message is sealed, and not say which
//! one is broken.
//!
//! Rejected: josekit for reading and wrapping, because OpenSSL would be a second cryptographic library in the
//! gateway. josekit also refuses a key with `"key_ops": ["wrapKey"]`, checks neither the exponent nor an upper
//! bound of the modulus, and makes a new OpenSSL context for each wrap.
//!
//! An error names members and numbers of bits, never a value: a JWK Set that publishes private members
//! by mistake must not have them copied into a log.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Map, Value};

use super::content::Cek;
use super::header::{ALG, ProtectedHeader};

/// RFC 7518 section 4.3: "A key of size 2048 bits or larger MUST be used".
pub const MIN_MODULUS_BITS: usize = 2048;
/// Larger keys cost time without benefit. Go's crypto/tls has the same bound since CVE-2023-29409.
pub const MAX_MODULUS_BITS: usize = 8192;
/// The limit for the bytes of a kid: enough for any thumbprint or URN, and headers stay small.
pub const MAX_KID_BYTES: usize = 256;
/// The limit for the octets of an encrypted key, which is as long as the modulus.
pub(super) const MAX_ENCRYPTED_KEY_BYTES: usize = MAX_MODULUS_BITS / 8;

/// With exponent 1 every message would be in clear.
const MIN_EXPONENT: u64 = 3;
/// The limit of BoringSSL and AWS-LC: 33 bits. Larger exponents are not in use, and would make every
/// message more expensive.
const EXPONENT_BOUND: u64 = 1 << 33;

/// The members of an RSA private key (RFC 7518 section 6.3.2).
pub(super) const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// A public key to seal with. Cheap to clone. Two keys are equal if their kids and their thumbprints
/// are equal.
#[derive(Clone)]
pub struct EncryptionKey(Arc<Inner>);

struct Inner {
    thumbprint: String,
    bits: u32,
    header: ProtectedHeader,
    encoded_header: String,
    rsa: OaepPublicEncryptingKey,
}

impl EncryptionKey {
    /// Reads one entry of a JWK Set's `keys` (RFC 7517 section 5). This costs more than a key wrap, so
    /// call it when the set changes and not for each message.
    ///
    /// # Errors
    /// If the entry cannot be used to seal. Other entries of the set may still be usable.
    pub fn from_jwk(jwk: &Value) -> Result<Self, UnusableKey> {
        let members = jwk.as_object().ok_or(UnusableKey::NotAnObject)?;
        let published: Vec<_> = PRIVATE_MEMBERS.into_iter().filter(|name| members.contains_key(*name)).collect();
        if !published.is_empty() {
            return Err(UnusableKey::Private(published));
        }
        check_purpose(members, ["encrypt", "wrapKey"])?;
        let PublicMembers { kid, n, e, bits } = PublicMembers::read(members)?;

        // RFC 7638 section 3.2: the required members, in the order of their names, without spaces.
        let canonical = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, BASE64URL.encode(&e), BASE64URL.encode(&n));
        let thumbprint = BASE64URL.encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
        let header = ProtectedHeader::ours(kid.as_deref());
        let encoded_header = header.encoded();
        let rsa: Result<PublicEncryptingKey, _> = PublicKeyComponents { n, e }.try_into();
        let rsa = rsa.and_then(OaepPublicEncryptingKey::new).map_err(|_| UnusableKey::Rejected)?;
        let key = Self(Arc::new(Inner { thumbprint, bits, header, encoded_header, rsa }));
        // A trial wrap: AWS-LC checks the numbers only when they are used. It also moves two costs out of the
        // first request: preparing the modulus, and the first random number (about 100 ms).
        let mut buffer = [0; MAX_ENCRYPTED_KEY_BYTES];
        let trial = Cek::random().ok().and_then(|cek| key.wrap(&cek, &mut buffer));
        if trial.is_some() { Ok(key) } else { Err(UnusableKey::Rejected) }
    }

    /// Returns the key's name in its set (RFC 7517 section 4.5).
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.0.header.kid.as_deref()
    }

    /// Returns the key's SHA-256 thumbprint (RFC 7638) in base64url.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.0.thumbprint
    }

    /// Returns the number of bits of the modulus.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.0.bits
    }

    /// Returns the protected header of every message that is sealed with this key, as JSON.
    pub(super) fn header(&self) -> &str {
        &self.0.header.text
    }

    /// Returns the protected header in base64url: the first part of the message, and its AAD.
    pub(super) fn encoded_header(&self) -> &str {
        &self.0.encoded_header
    }

    /// Wraps a content encryption key with RSA-OAEP-256: SHA-256 for the hash and for MGF1, no label (RFC 7518
    /// section 4.3). Returns the encrypted key, written to `buffer`, or `None` if the library fails.
    pub(super) fn wrap<'b>(&self, cek: &Cek, buffer: &'b mut [u8; MAX_ENCRYPTED_KEY_BYTES]) -> Option<&'b [u8]> {
        let encrypted_key = self.0.rsa.encrypt(&OAEP_SHA256_MGF1SHA256, cek.expose(), buffer, None);
        encrypted_key.ok().map(|octets| &*octets)
    }
}

impl PartialEq for EncryptionKey {
    fn eq(&self, other: &Self) -> bool {
        self.kid() == other.kid() && self.thumbprint() == other.thumbprint()
    }
}

impl Eq for EncryptionKey {}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptionKey")
            .field("kid", &self.kid())
            .field("thumbprint", &self.thumbprint())
            .field("bits", &self.bits())
            .finish()
    }
}

/// Why a JWK cannot be used. `Display` gives a short text for a list of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableKey {
    /// The entry is `null`, a number, a list or the like.
    #[error("the entry is not a JSON object")]
    NotAnObject,
    /// A required member is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A member's value has the wrong JSON type. `null` counts as a wrong type.
    #[error("`{0}` has the wrong type")]
    WrongType(&'static str),
    /// A member is not base64url, is padded, or its unused last bits are not zero.
    #[error("`{0}` is not base64url without padding")]
    NotBase64Url(&'static str),
    /// `kty` names another type of key.
    #[error("the key type is not RSA")]
    NotRsa,
    /// `use` names another use.
    #[error("`use` is not `enc`")]
    NotForEncryption,
    /// `alg` names another algorithm.
    #[error("`alg` is not {ALG}")]
    OtherAlgorithm,
    /// `key_ops` allows neither encryption nor key wrapping (for a private key, the reverse).
    #[error("`key_ops` does not allow this use")]
    OtherOperations,
    /// Members of a private key are published: every reader of the set can open messages that were
    /// sealed with it. Contains the names only. An operator should be alerted.
    #[error("private members are published: {}", .0.join(", "))]
    Private(Vec<&'static str>),
    /// `kid` is an empty string.
    #[error("`kid` is empty")]
    EmptyKid,
    /// `kid` has more than [`MAX_KID_BYTES`] bytes.
    #[error("`kid` is longer than {MAX_KID_BYTES} bytes")]
    KidTooLong,
    /// `kid` has a control character (C0, DEL, C1) or a line separator (U+2028, U+2029). Such a text would change
    /// the lines of logs and terminals.
    #[error("`kid` has a control character or a line separator")]
    KidControl,
    /// The modulus has fewer than [`MIN_MODULUS_BITS`] bits.
    #[error("the modulus has {bits} bits, fewer than {MIN_MODULUS_BITS}")]
    ModulusTooShort {
        /// Leading zeros not counted.
        bits: usize,
    },
    /// The modulus has more than [`MAX_MODULUS_BITS`] bits.
    #[error("the modulus has {bits} bits, more than {MAX_MODULUS_BITS}")]
    ModulusTooLong {
        /// Leading zeros not counted.
        bits: usize,
    },
    /// The modulus is even, so it is not the product of two large primes.
    #[error("the modulus is even")]
    EvenModulus,
    /// The public exponent is even, so it has no inverse.
    #[error("the exponent is even")]
    EvenExponent,
    /// The public exponent is 1, which would leave the message in clear.
    #[error("the exponent is less than {MIN_EXPONENT}")]
    ExponentTooSmall,
    /// The public exponent is 2^33 or more.
    #[error("the exponent has more than 33 bits")]
    ExponentTooLarge,
    /// All rules are satisfied, but the RSA library cannot use the numbers, or a private key cannot
    /// unwrap what its own public key wrapped.
    #[error("the RSA library cannot use the key")]
    Rejected,
}

/// The checked members of a public JWK, each number without leading zero octets.
pub(super) struct PublicMembers {
    pub(super) kid: Option<String>,
    pub(super) n: Vec<u8>,
    pub(super) e: Vec<u8>,
    bits: u32,
}

impl PublicMembers {
    /// Reads `kid`, `n` and `e`. Lengths are checked before any arithmetic.
    pub(super) fn read(jwk: &Map<String, Value>) -> Result<Self, UnusableKey> {
        let kid = match string(jwk, "kid")? {
            Some("") => return Err(UnusableKey::EmptyKid),
            Some(kid) if kid.len() > MAX_KID_BYTES => return Err(UnusableKey::KidTooLong),
            Some(kid) if kid.chars().any(breaks_lines) => return Err(UnusableKey::KidControl),
            kid => kid.map(str::to_owned),
        };
        let n = octets(jwk, "n")?;
        let e = octets(jwk, "e")?;
        let bits = check_modulus(&n)?;
        check_exponent(&e)?;
        Ok(Self { kid, n, e, bits })
    }
}

fn breaks_lines(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// Checks that the key's type, use, algorithm and operations allow encryption.
pub(super) fn check_purpose(jwk: &Map<String, Value>, operations: [&str; 2]) -> Result<(), UnusableKey> {
    if string(jwk, "kty")?.ok_or(UnusableKey::Missing("kty"))? != "RSA" {
        return Err(UnusableKey::NotRsa);
    }
    if string(jwk, "use")?.is_some_and(|name| name != "enc") {
        return Err(UnusableKey::NotForEncryption);
    }
    if string(jwk, "alg")?.is_some_and(|name| name != ALG) {
        return Err(UnusableKey::OtherAlgorithm);
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(listed)) if operations.iter().any(|name| listed.contains(&Value::from(*name))) => Ok(()),
        Some(Value::Array(_)) => Err(UnusableKey::OtherOperations),
        Some(_) => Err(UnusableKey::WrongType("key_ops")),
    }
}

/// Returns the string of an optional member.
fn string<'a>(jwk: &'a Map<String, Value>, member: &'static str) -> Result<Option<&'a str>, UnusableKey> {
    match jwk.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(UnusableKey::WrongType(member)),
    }
}

/// Returns the text of a required member, still encoded.
pub(super) fn base64url<'a>(jwk: &'a Map<String, Value>, member: &'static str) -> Result<&'a str, UnusableKey> {
    string(jwk, member)?.ok_or(UnusableKey::Missing(member))
}

/// Returns a required number (RFC 7518 section 2, Base64urlUInt) without leading zero octets. Some
/// issuers write them although section 6.3.1.1 forbids it.
fn octets(jwk: &Map<String, Value>, member: &'static str) -> Result<Vec<u8>, UnusableKey> {
    let text = base64url(jwk, member)?;
    let mut octets = BASE64URL.decode(text).map_err(|_| UnusableKey::NotBase64Url(member))?;
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    octets.drain(..zeros);
    Ok(octets)
}

/// Returns the number of bits of the modulus `n`, which has no leading zero octets.
fn check_modulus(n: &[u8]) -> Result<u32, UnusableKey> {
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    if bits < MIN_MODULUS_BITS {
        return Err(UnusableKey::ModulusTooShort { bits });
    }
    if bits > MAX_MODULUS_BITS {
        return Err(UnusableKey::ModulusTooLong { bits });
    }
    if n.last().is_some_and(|last| last % 2 == 0) {
        return Err(UnusableKey::EvenModulus);
    }
    u32::try_from(bits).map_err(|_| UnusableKey::ModulusTooLong { bits })
}

/// Checks that encryption can use the exponent `e`, which has no leading zero octets.
fn check_exponent(e: &[u8]) -> Result<(), UnusableKey> {
    let value = match e.len() {
        0..=8 => e.iter().fold(0_u64, |value, octet| value << 8 | u64::from(*octet)),
        _ => return Err(UnusableKey::ExponentTooLarge),
    };
    match value {
        EXPONENT_BOUND.. => Err(UnusableKey::ExponentTooLarge),
        _ if value % 2 == 0 => Err(UnusableKey::EvenExponent),
        ..MIN_EXPONENT => Err(UnusableKey::ExponentTooSmall),
        _ => Ok(()),
    }
}
