//! The set in hand, as a gateway in the middle publishes it again to those who seal before it.
//!
//! Only keys that could be sealed with here go out: what was refused here (a private key
//! published by mistake, one with a doubtful `kid`, one that is not pinned) must not reach others
//! by our hand. Each goes out with all its members, the preferred one first, so that whoever
//! starts afresh prefers the same.

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};

use super::cached_set::CachedKeySet;
use super::selection::is_pinned;

/// A JWK Set to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeySetDocument {
    /// The document (RFC 7517 section 5).
    pub document: String,
    /// A strong validator (RFC 9110 section 8.8.3): another document has another one.
    pub etag: String,
    /// How much of the set's lifetime is left; zero when it is stale.
    pub lifetime_left: Duration,
}

impl KeySetDocument {
    pub(super) fn of(cached: &CachedKeySet, pins: &[String], now: Instant) -> Self {
        let pinned = cached.by_preference.iter().filter(|key| is_pinned(key, pins));
        let keys: Vec<&Value> = pinned.filter_map(|key| cached.set().jwk(key)).collect();
        let document = json!({ "keys": keys }).to_string();
        let etag = format!("\"{}\"", BASE64URL.encode(digest(&SHA256, document.as_bytes())));
        Self { document, etag, lifetime_left: cached.lifetime_left(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{document, jwk};
    use super::super::set::KeySet;
    use super::*;
    use crate::clock::Clock;
    use crate::keys::selection::{FirstSeen, by_preference};
    use std::sync::Arc;

    fn cached(jwks: &[Value]) -> CachedKeySet {
        let set = Arc::new(KeySet::parse(&document(jwks)).unwrap());
        CachedKeySet {
            by_preference: by_preference(&set, &FirstSeen::default()),
            set,
            chosen: None,
            received: Clock::manual().0.now(),
            age_when_received: Duration::from_secs(100),
            lifetime: Duration::from_secs(300),
            etag: None,
        }
    }

    #[test]
    fn what_cannot_be_sealed_with_here_is_not_published_again() {
        let mut private = jwk("private", 2);
        private["d"] = json!("canary");
        let cached = cached(&[private, jwk("a", 1), jwk("b", 3)]);
        let published = KeySetDocument::of(&cached, &[], cached.received);
        let document: Value = serde_json::from_str(&published.document).unwrap();
        assert_eq!(document, json!({ "keys": [jwk("a", 1), jwk("b", 3)] }));
        assert_eq!(published.lifetime_left, Duration::from_secs(200));
        let pinned = KeySetDocument::of(&cached, &["b".to_owned()], cached.received);
        assert_eq!(serde_json::from_str::<Value>(&pinned.document).unwrap(), json!({ "keys": [jwk("b", 3)] }));
        assert_ne!(pinned.etag, published.etag);
    }
}
