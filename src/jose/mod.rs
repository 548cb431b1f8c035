//! JOSE: plain JSON in, a compact JWE out, and back. Pure: no io, no clock, no log.
//!
//! A [`Plaintext`] is a body that was checked to be JSON. Only [`seal()`] makes a [`Compact`] of it;
//! a caller's own message becomes one when it is well-formed ([`CallerMade`]). Whoever sends takes
//! a [`Compact`] and nothing else, so plaintext that leaves by mistake does not compile.
//!
//! Algorithms are constants: `RSA-OAEP-256` wraps a fresh key, `A256CBC-HS512` encrypts with it.
//! No JWK, header, request or setting chooses.
//!
//! # The hard case
//!
//! A body may have many MiB, its length must be known before its first byte is sent, and
//! its ciphertext should never be in memory whole. CBC with PKCS #7 makes the length a function of
//! the plaintext's, so [`seal()`] wraps the key and computes the five lengths; [`Chunks`] encrypts,
//! authenticates and encodes as the socket takes it.
//!
//! # What broke other JOSE stacks, and why not here
//!
//! - *Algorithm confusion*: the message chose how it was opened. Here a header that names anything
//!   but our two algorithms is malformed, and a name that stands twice is too.
//! - *Key confusion*: a public key taken for a secret one, or a signing key for an encryption
//!   key. There is one type of key each way, and `kty`, `use`, `alg` and `key_ops` are checked first.
//! - *RSA1_5 oracles* (Bleichenbacher, Marvin): there is no RSA1_5. OAEP failures go on with a random
//!   key and fail at the tag (RFC 7516 section 11.5); the gateway itself holds no private key.
//! - *Padding oracles*, tags checked after decryption or compared with `==`: the tag comes first,
//!   in constant time.
//! - *A tag over too little*: it covers header, IV, ciphertext and the header's length, as the
//!   known answers of RFC 7518 and Wycheproof show.
//! - *Halves of the key swapped*, a cut tag, a wrong AL: the same known answers.
//! - *Zip bombs*, and secrets told by compressed lengths: `zip` is refused, and never sent.
//! - *PBES2 counts* that keep a server busy: no password algorithms.
//! - *Invalid curves*: no elliptic ones.
//! - *Keys fetched from `jku` or `x5u`, or taken from `jwk`* in the header: nobody reads them.
//! - *`crit` ignored*: refused, as we know no extension.
//! - *Weak or absurd RSA keys*: 2048 to 8192 bits, odd, 3 <= e < 2^33, judged before any arithmetic.
//! - *A `kid` that breaks out of its string*: written by serde_json.
//! - *Random numbers used twice*: nothing is cached; a retry seals again.
//!
//! # What was rejected
//!
//! josekit's own content layer. It decrypts CBC before it checks the tag and compares tags with
//! `!=`, keeps keys in plain vectors, panics when random numbers fail, and holds a large payload
//! about four times over. Ours is a page over aws-lc-rs, which TLS brings in anyway, and is checked
//! against josekit's. josekit wraps and unwraps keys; its errors do not leave this room.

mod compact;
mod content;
mod header;
mod json;
mod jwk;
mod open;
mod parse;
mod private;
mod seal;
#[cfg(test)]
mod tests;

pub use compact::{Chunks, Compact};
pub use json::{MAX_DEPTH, NotJson, Plaintext};
pub use jwk::{EncryptionKey, MAX_KID_BYTES, MAX_MODULUS_BITS, MIN_MODULUS_BITS, UnusableKey};
pub use open::{OpenError, Opened, open};
pub use parse::{CallerMade, MalformedJose, Part};
pub use private::DecryptionKey;
pub use seal::{SealError, seal};
