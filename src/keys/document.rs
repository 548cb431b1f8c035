//! The key set that an egress serves to its sidecars.
//!
//! It contains only keys that this gateway would use itself. A rejected key must not reach others through this
//! gateway: for instance a private key that was published by mistake, a key with an ambiguous `kid`, or one that
//! is not pinned. Each key is served with all its members. The preferred key comes first, so that a sidecar that has
//! just started prefers the same one.

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};

use super::cached_set::CachedKeySet;
use super::selection::is_pinned;

/// A JWK Set in the form in which it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeySetDocument {
    /// The document (RFC 7517 section 5).
    pub document: String,
    /// A strong validator (RFC 9110 section 8.8.3): the digest of the document.
    pub etag: String,
    /// The rest of the set's lifetime. Zero if the set is stale.
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
    fn a_key_that_this_gateway_does_not_use_is_not_served() {
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
