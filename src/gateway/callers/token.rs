//! The tokens that the gateway issues at an emulated token endpoint.
//!
//! A token is opaque to the caller. It is bound to the caller and to the key that it was issued for: when
//! the key is removed from the key file, its tokens are no longer valid.
//!
//! A token carries its expiry under a MAC (HMAC-SHA-256). The key of the MAC is random in each process, or
//! is read from a file that replicas share.
//!
//! Rejected: a table of issued tokens. It would have to be bounded, shared by replicas and kept over
//! restarts. Also rejected: the callers' digests as MAC keys. The key files would then be worth stealing.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;

use super::key::KeyDigest;
use crate::secret::Secret;

/// The prefix of every token. It distinguishes a token from a key, and scanners for leaked secrets can find
/// it. A token has only characters that RFC 6750 section 2.1 allows after `Bearer`.
const PREFIX: &str = "jgw_";

/// The lifetime of Flanks' own tokens: clients are written for that.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);

/// The minimum length of a shared secret, in bytes.
const MIN_SECRET: usize = 16;

const EXPIRY: usize = 8;
const MAC: usize = 32;

/// Issues and verifies tokens.
#[derive(Clone)]
pub(crate) struct TokenKey(hmac::Key);

impl TokenKey {
    /// A random key. Tokens are then valid in this process only.
    ///
    /// # Errors
    /// If the operating system's random number generator fails.
    pub(crate) fn random() -> Result<Self, BadTokenKey> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new());
        key.map(Self).map_err(|_| BadTokenKey::NoRandomNumbers)
    }

    /// A key made of `secret`. Tokens are then valid in all replicas with the same secret.
    ///
    /// # Errors
    /// If the secret is too short.
    pub(crate) fn shared(secret: &Secret) -> Result<Self, BadTokenKey> {
        let secret = secret.expose().as_bytes();
        if secret.len() < MIN_SECRET {
            return Err(BadTokenKey::TooShort);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// Issues a token to the caller `name` with the key of this digest, valid for [`LIFETIME`] from `now`.
    pub(super) fn mint(&self, name: &str, key: &KeyDigest, now: SystemTime) -> String {
        let expiry = seconds(now).unwrap_or(0).saturating_add(LIFETIME.as_secs()).to_be_bytes();
        let mac = self.mac(expiry, name, key);
        format!("{PREFIX}{}", BASE64URL.encode([&expiry[..], mac.as_ref()].concat()))
    }

    /// Whether `token` was issued for this caller and key, and is valid at `now`.
    pub(super) fn verifies(&self, token: &Token, name: &str, key: &KeyDigest, now: SystemTime) -> bool {
        let mac = self.mac(token.expiry, name, key);
        let is_ours = aws_lc_rs::constant_time::verify_slices_are_equal(mac.as_ref(), &token.mac).is_ok();
        is_ours && seconds(now).is_some_and(|now| now < u64::from_be_bytes(token.expiry))
    }

    /// The only part of variable length comes last, so no two inputs have the same bytes.
    fn mac(&self, expiry: [u8; EXPIRY], name: &str, key: &KeyDigest) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"jwe-gateway token 1");
        context.update(&expiry);
        context.update(key.bytes());
        context.update(name.as_bytes());
        context.sign()
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// Why there is no key for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTokenKey {
    #[error("the secret for tokens must have at least {MIN_SECRET} bytes")]
    TooShort,
    #[error("the operating system's random number generator failed")]
    NoRandomNumbers,
}

/// The parts of a token, not yet verified.
pub(super) struct Token {
    expiry: [u8; EXPIRY],
    mac: [u8; MAC],
}

impl Token {
    /// Parses a token. None if the text does not have the form of a token; it may be a key.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (expiry, mac) = bytes.split_at_checked(EXPIRY)?;
        Some(Self { expiry: expiry.try_into().ok()?, mac: mac.try_into().ok()? })
    }
}

/// Seconds since 1970. None if the system clock is set before 1970; no token is valid then.
fn seconds(time: SystemTime) -> Option<u64> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn verifies(key: &TokenKey, token: &str, name: &str, digest: &KeyDigest, now: SystemTime) -> bool {
        Token::parse(token).is_some_and(|token| key.verifies(&token, name, digest, now))
    }

    #[test]
    fn a_token_is_valid_for_its_caller_its_key_and_its_lifetime() {
        let (key, digest) = (TokenKey::random().unwrap(), KeyDigest::of("one"));
        let token = key.mint("a", &digest, NOW);
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte)));
        let last = NOW + LIFETIME - Duration::from_secs(1);
        assert!(verifies(&key, &token, "a", &digest, NOW) && verifies(&key, &token, "a", &digest, last));
        assert!(!verifies(&key, &token, "a", &digest, NOW + LIFETIME), "expired");
        assert!(!verifies(&key, &token, "b", &digest, NOW), "another caller");
        assert!(!verifies(&key, &token, "a", &KeyDigest::of("two"), NOW), "another key");
        assert!(!verifies(&TokenKey::random().unwrap(), &token, "a", &digest, NOW), "another gateway");
    }

    #[test]
    fn a_token_with_any_bit_changed_is_invalid() {
        let (key, digest) = (TokenKey::random().unwrap(), KeyDigest::of("one"));
        let token = key.mint("a", &digest, NOW);
        let bytes = BASE64URL.decode(token.strip_prefix(PREFIX).unwrap()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = format!("{PREFIX}{}", BASE64URL.encode(changed));
            assert!(!verifies(&key, &changed, "a", &digest, NOW), "bit {bit}");
        }
        assert!(Token::parse(&token[..token.len() - 1]).is_none() && Token::parse(PREFIX).is_none());
    }

    #[test]
    fn replicas_with_the_same_secret_accept_each_others_tokens() {
        let secret = Secret::new("0123456789abcdef".to_owned());
        let [one, other] = [TokenKey::shared(&secret).unwrap(), TokenKey::shared(&secret).unwrap()];
        let digest = KeyDigest::of("one");
        assert!(verifies(&other, &one.mint("a", &digest, NOW), "a", &digest, NOW));
        assert_eq!(TokenKey::shared(&Secret::new("short".to_owned())).unwrap_err(), BadTokenKey::TooShort);
        assert!(!format!("{one:?}").contains("0123"));
    }
}
