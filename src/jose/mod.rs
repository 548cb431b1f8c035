//! JOSE: plain JSON in, a compact JWE out, and back. Pure: no I/O, no clock, no log.
//!
//! A [`Plaintext`] is a body that was checked to be JSON. Only [`seal()`] turns it into a [`Compact`].
//! A message that a caller sealed becomes a `Compact` if it is well-formed ([`CallerMade`]). The
//! upstream client sends a `Compact`, so sending plaintext by mistake does not compile.
//!
//! The algorithms are constants: `RSA-OAEP-256` wraps a fresh key, `A256CBC-HS512` encrypts with it.
//! No JWK, header, request or setting can change them.
//!
//! # The hard case
//!
//! A body can have many MiB. Its length must be known before its first byte is sent, and its ciphertext
//! should never be in memory as a whole. With CBC and PKCS #7 the length of the ciphertext follows from
//! the length of the plaintext. So [`seal()`] wraps the key and computes the lengths of the five parts;
//! [`Chunks`] encrypts, authenticates and encodes while the socket takes the message.
//!
//! # Known defects of other JOSE libraries, and why they cannot occur here
//!
//! - *Algorithm confusion*: the message chooses how it is opened. Here a header that names any other
//!   algorithm is malformed, and so is a header that has a member twice.
//! - *Key confusion*: a public key is used as a secret one, or a signing key encrypts. Here each
//!   direction has one key type, and `kty`, `use`, `alg` and `key_ops` are checked first.
//! - *RSA1_5 oracles* (Bleichenbacher, Marvin): RSA1_5 is not implemented. An OAEP failure continues
//!   with a random key and fails at the tag (RFC 7516 section 11.5). The gateway holds no private key.
//! - *Padding oracles*: the tag is checked before decryption, in constant time.
//! - *A tag over too little*: it covers header, IV, ciphertext and the header's length. The test
//!   vectors of RFC 7518 and Wycheproof show it; they also exclude swapped key halves and cut tags.
//! - *Zip bombs*, and compressed lengths that reveal secrets: `zip` is refused, and never sent.
//! - *High PBES2 counts*: there are no password algorithms.
//! - *Invalid curves*: there are no elliptic curves.
//! - *Keys from `jku`, `x5u` or `jwk` in the header*: these members are never read.
//! - *`crit` ignored*: a message with `crit` is refused, because no extension is implemented.
//! - *Weak or oversized RSA keys*: 2048 to 8192 bits, odd, 3 <= e < 2^33, checked before any arithmetic.
//! - *A `kid` that breaks out of its JSON string*: serde_json writes it.
//! - *Random numbers used twice*: nothing is cached; a retry seals again.
//!
//! # What was rejected
//!
//! josekit's content encryption. It decrypts CBC before it checks the tag, compares tags with `!=`,
//! keeps keys in plain vectors, panics if random numbers fail, and holds a large payload about four
//! times. Ours is a page over aws-lc-rs, which TLS needs anyway, and tests compare it with josekit's.
//!
//! Also rejected: one library for both directions of the key wrap. aws-lc-rs wraps. josekit on OpenSSL
//! generates the sandbox's keys and unwraps, so a mistake in one library does not hide in the other.
//! josekit and all code that opens messages belong to the feature `sandbox`. josekit's errors do not leave
//! this module.

mod compact;
mod content;
mod grammar;
mod header;
mod json;
mod jwk;
mod lint;
#[cfg(feature = "sandbox")]
mod open;
mod parse;
#[cfg(feature = "sandbox")]
mod private;
mod seal;
// Two attributes, because clippy allows `unwrap` below a plain `cfg(test)` only.
#[cfg(test)]
#[cfg(feature = "sandbox")]
mod tests;

pub use compact::{Chunks, Compact};
pub use json::{JsonCheck, MAX_DEPTH, NotJson, Plaintext, Progress};
pub use jwk::{EncryptionKey, MAX_KID_BYTES, MAX_MODULUS_BITS, MIN_MODULUS_BITS, UnusableKey};
pub use lint::{Finding, FindingCode, Lint, lint};
#[cfg(feature = "sandbox")]
pub use open::{OpenError, Opened, open};
pub use parse::{CallerMade, MalformedJose, Part};
#[cfg(feature = "sandbox")]
pub use private::DecryptionKey;
pub use seal::{SealError, seal};
