//! Credentials of the gateway's own, for callers that ask for one as they would ask the provider.
//!
//! A token says nothing to who holds it. It is bound to its caller and to the key it was got with:
//! when the key is taken from the file, its tokens end with it.
//!
//! Rejected: a table of tokens given out. It would have to be bounded, shared among replicas and
//! kept over restarts. Instead a token carries its expiry under a MAC (HMAC-SHA-256) whose key is random
//! in each process, or read from a file that replicas share. Rejected, too: MACs under the callers'
//! digests, which would make the files of digests worth stealing.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;

use super::key::KeyDigest;
use crate::secret::Secret;

/// What every token begins with, so that it is told from a key, and by scanners for leaked secrets.
/// All characters of a token may stand behind `Bearer` (RFC 6750 section 2.1).
const PREFIX: &str = "jgw_";

/// As long as the provider's own: clients are written for that.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);

/// The least bytes of a shared secret.
const MIN_SECRET: usize = 16;

const EXPIRY: usize = 8;
const MAC: usize = 32;

/// What tokens are made and known with.
#[derive(Clone)]
pub(crate) struct TokenKey(hmac::Key);

impl TokenKey {
    /// Known to this process alone.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub(crate) fn random() -> Result<Self, BadTokenKey> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new());
        key.map(Self).map_err(|_| BadTokenKey::NoRandomNumbers)
    }

    /// Known to all who have `secret`.
    ///
    /// # Errors
    /// When it is too short to be one.
    pub(crate) fn shared(secret: &Secret) -> Result<Self, BadTokenKey> {
        let secret = secret.expose().as_bytes();
        if secret.len() < MIN_SECRET {
            return Err(BadTokenKey::TooShort);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// A token for the caller `name` by its key of this digest, good for [`LIFETIME`] from `now`.
    pub(super) fn mint(&self, name: &str, key: &KeyDigest, now: SystemTime) -> String {
        let expiry = seconds(now).unwrap_or(0).saturating_add(LIFETIME.as_secs()).to_be_bytes();
        let mac = self.mac(expiry, name, key);
        format!("{PREFIX}{}", BASE64URL.encode([&expiry[..], mac.as_ref()].concat()))
    }

    /// Whether `token` was minted for this caller and key, and is good at `now`.
    pub(super) fn knows(&self, token: &Token, name: &str, key: &KeyDigest, now: SystemTime) -> bool {
        let mac = self.mac(token.expiry, name, key);
        let is_ours = aws_lc_rs::constant_time::verify_slices_are_equal(mac.as_ref(), &token.mac).is_ok();
        is_ours && seconds(now).is_some_and(|now| now < u64::from_be_bytes(token.expiry))
    }

    /// The digest's length is fixed and the name comes last, so no two of them are written alike.
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

/// There is nothing to make tokens with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTokenKey {
    /// A secret that could be guessed.
    #[error("the key for tokens has less than {MIN_SECRET} bytes")]
    TooShort,
    /// The system's generator failed.
    #[error("the system has no random numbers")]
    NoRandomNumbers,
}

/// A token taken apart; nothing is known of it yet.
pub(super) struct Token {
    expiry: [u8; EXPIRY],
    mac: [u8; MAC],
}

impl Token {
    /// None when it has not the form of one: then it is a key, perhaps.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (expiry, mac) = bytes.split_at_checked(EXPIRY)?;
        Some(Self { expiry: expiry.try_into().ok()?, mac: mac.try_into().ok()? })
    }
}

/// None on a clock that stands before 1970: then no token is good.
fn seconds(time: SystemTime) -> Option<u64> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn knows(key: &TokenKey, token: &str, name: &str, digest: &KeyDigest, now: SystemTime) -> bool {
        Token::parse(token).is_some_and(|token| key.knows(&token, name, digest, now))
    }

    #[test]
    fn a_token_is_good_for_its_caller_its_key_and_its_time() {
        let (key, digest) = (TokenKey::random().unwrap(), KeyDigest::of("one"));
        let token = key.mint("a", &digest, NOW);
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte)));
        let last = NOW + LIFETIME - Duration::from_secs(1);
        assert!(knows(&key, &token, "a", &digest, NOW) && knows(&key, &token, "a", &digest, last));
        assert!(!knows(&key, &token, "a", &digest, NOW + LIFETIME), "expired");
        assert!(!knows(&key, &token, "b", &digest, NOW), "another caller");
        assert!(!knows(&key, &token, "a", &KeyDigest::of("two"), NOW), "another key");
        assert!(!knows(&TokenKey::random().unwrap(), &token, "a", &digest, NOW), "another gateway");
    }

    #[test]
    fn a_token_with_any_bit_changed_is_none() {
        let (key, digest) = (TokenKey::random().unwrap(), KeyDigest::of("one"));
        let token = key.mint("a", &digest, NOW);
        let bytes = BASE64URL.decode(token.strip_prefix(PREFIX).unwrap()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = format!("{PREFIX}{}", BASE64URL.encode(changed));
            assert!(!knows(&key, &changed, "a", &digest, NOW), "bit {bit}");
        }
        assert!(Token::parse(&token[..token.len() - 1]).is_none() && Token::parse(PREFIX).is_none());
    }

    #[test]
    fn replicas_with_one_secret_know_each_others_tokens() {
        let secret = Secret::new("0123456789abcdef".to_owned());
        let [one, other] = [TokenKey::shared(&secret).unwrap(), TokenKey::shared(&secret).unwrap()];
        let digest = KeyDigest::of("one");
        assert!(knows(&other, &one.mint("a", &digest, NOW), "a", &digest, NOW));
        assert_eq!(TokenKey::shared(&Secret::new("short".to_owned())).unwrap_err(), BadTokenKey::TooShort);
        assert!(!format!("{one:?}").contains("0123"));
    }
}
