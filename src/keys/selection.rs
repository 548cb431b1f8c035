//! Selects the key to seal with among the usable keys.
//!
//! The key that appeared most recently is selected. In a rotation the provider adds a key and later removes the
//! older ones, so the newest key stays published longest. Among keys that appeared together, document order
//! decides. With pins, only pinned keys count.
//!
//! A pin is a thumbprint (RFC 7638), which identifies the key itself, or a `kid`, which the publisher chooses. The
//! publisher can publish a key whose `kid` is the thumbprint of another, pinned key. Therefore a pin in the form of a
//! thumbprint is never compared with a `kid`.
//!
//! A key that vanishes and comes back does not count as new. A cache with several nodes may serve an old and a new
//! set in turn, and a withdrawn key must not look new each time.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;

use super::set::KeySet;
use crate::jose::EncryptionKey;

/// How many keys are remembered. With a rotation per day or per month, this lasts for months or years. It only
/// limits the memory that a faulty provider can use up.
const MAX_REMEMBERED: usize = 256;

/// When each key appeared first, counted in sets.
#[derive(Debug, Default)]
pub(super) struct FirstSeen {
    /// Oldest first.
    seen: Vec<(Arc<EncryptionKey>, u64)>,
    sets: u64,
}

impl FirstSeen {
    /// Records the keys of a fetched set.
    pub(super) fn record<'a>(&mut self, keys: impl IntoIterator<Item = &'a Arc<EncryptionKey>>) {
        self.sets += 1;
        let published: Vec<&Arc<EncryptionKey>> = keys.into_iter().collect();
        for &key in &published {
            if self.of(key).is_none() {
                self.seen.push((Arc::clone(key), self.sets));
            }
        }
        let mut beyond = self.seen.len().saturating_sub(MAX_REMEMBERED);
        self.seen.retain(|(seen, _)| {
            let forgotten = beyond > 0 && !published.contains(&seen);
            beyond -= usize::from(forgotten);
            !forgotten
        });
    }

    fn of(&self, key: &EncryptionKey) -> Option<u64> {
        self.seen.iter().find(|(seen, _)| **seen == *key).map(|(_, set)| *set)
    }
}

/// The usable keys of a set, the preferred one first.
pub(super) fn by_preference(set: &KeySet, first_seen: &FirstSeen) -> Vec<Arc<EncryptionKey>> {
    let mut keys: Vec<_> = set.usable().cloned().collect();
    // The sort is stable: document order decides among keys that appeared together.
    keys.sort_by_key(|key| std::cmp::Reverse(first_seen.of(key)));
    keys
}

/// Whether the pins allow this key. Without pins, every key is allowed.
pub(super) fn is_pinned(key: &EncryptionKey, pins: &[String]) -> bool {
    let names = |pin: &String| {
        if is_thumbprint(pin) { key.thumbprint() == pin } else { key.kid() == Some(pin) }
    };
    pins.is_empty() || pins.iter().any(names)
}

/// Whether `pin` has the form of a SHA-256 digest in base64url.
fn is_thumbprint(pin: &str) -> bool {
    BASE64URL.decode(pin).is_ok_and(|bytes| bytes.len() == 32)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{jwk, key};
    use super::*;
    use proptest::prelude::*;

    fn set(kids: &[u8]) -> KeySet {
        KeySet::from_jwks(kids.iter().map(|kid| jwk(&kid.to_string(), u64::from(*kid))).collect()).unwrap()
    }

    fn chosen(sets: &[&[u8]], pins: &[String]) -> Option<String> {
        let mut first_seen = FirstSeen::default();
        let mut chosen = None;
        for kids in sets {
            let set = set(kids);
            first_seen.record(set.usable());
            let keys = by_preference(&set, &first_seen);
            chosen = keys.iter().find(|key| is_pinned(key, pins)).and_then(|key| key.kid().map(str::to_owned));
        }
        chosen
    }

    #[test]
    fn among_keys_that_appeared_together_document_order_decides() {
        assert_eq!(chosen(&[&[1, 2, 3]], &[]).unwrap(), "1");
        assert_eq!(chosen(&[&[1, 2], &[2, 1]], &[]).unwrap(), "2");
    }

    #[test]
    fn the_key_that_appeared_most_recently_is_chosen_at_any_position() {
        assert_eq!(chosen(&[&[1], &[1, 2]], &[]).unwrap(), "2");
        assert_eq!(chosen(&[&[1], &[2, 1]], &[]).unwrap(), "2");
        assert_eq!(chosen(&[&[1], &[1, 2], &[3, 2], &[2, 3]], &[]).unwrap(), "3");
    }

    #[test]
    fn if_the_newest_key_is_withdrawn_the_one_before_it_is_chosen() {
        assert_eq!(chosen(&[&[1], &[1, 2], &[1]], &[]).unwrap(), "1");
    }

    #[test]
    fn a_withdrawn_key_that_comes_back_does_not_look_new() {
        assert_eq!(chosen(&[&[1], &[1, 2], &[2], &[1, 2]], &[]).unwrap(), "2");
    }

    #[test]
    fn new_material_under_an_old_kid_is_a_new_key() {
        let mut first_seen = FirstSeen::default();
        let first = KeySet::from_jwks(vec![jwk("a", 1), jwk("b", 2)]).unwrap();
        first_seen.record(first.usable());
        let second = KeySet::from_jwks(vec![jwk("a", 1), jwk("b", 3)]).unwrap();
        first_seen.record(second.usable());
        assert_eq!(by_preference(&second, &first_seen)[0], key("b", 3));
    }

    #[test]
    fn pins_name_keys_by_kid_or_by_thumbprint_and_exclude_the_others() {
        assert_eq!(chosen(&[&[1, 2, 3]], &["2".into()]).unwrap(), "2");
        assert_eq!(chosen(&[&[1, 2, 3]], &[key("3", 3).thumbprint().to_owned()]).unwrap(), "3");
        assert_eq!(chosen(&[&[1], &[1, 2], &[1, 2, 3]], &["1".into(), "2".into()]).unwrap(), "2");
        assert_eq!(chosen(&[&[1, 2, 3]], &["4".into()]), None);
    }

    #[test]
    fn a_key_with_the_thumbprint_of_a_pinned_key_as_its_kid_is_not_pinned() {
        let pin = key("3", 3).thumbprint().to_owned();
        let spoofed = KeySet::from_jwks(vec![jwk(&pin, 4)]).unwrap();
        assert!(!spoofed.usable().any(|key| is_pinned(key, std::slice::from_ref(&pin))));
        let named_by_itself = KeySet::from_jwks(vec![jwk(&pin, 3)]).unwrap();
        assert!(named_by_itself.usable().all(|key| is_pinned(key, std::slice::from_ref(&pin))));
    }

    #[test]
    fn the_number_of_remembered_keys_is_limited() {
        let mut first_seen = FirstSeen::default();
        for seed in 0..2 * MAX_REMEMBERED as u64 {
            let set = KeySet::from_jwks(vec![jwk("a", seed)]).unwrap();
            first_seen.record(set.usable());
        }
        assert_eq!(first_seen.seen.len(), MAX_REMEMBERED);
    }

    proptest! {
        #[test]
        fn the_chosen_key_is_published_and_no_other_published_key_is_newer(
            sets in prop::collection::vec(prop::collection::btree_set(0u8..8, 1..6), 1..12),
        ) {
            let sets: Vec<Vec<u8>> = sets.into_iter().map(|set| set.into_iter().collect()).collect();
            let sets: Vec<&[u8]> = sets.iter().map(Vec::as_slice).collect();
            let first_seen = |kid: u8| sets.iter().position(|set| set.contains(&kid)).unwrap();
            let chosen: u8 = chosen(&sets, &[]).unwrap().parse().unwrap();
            let last = sets.last().unwrap();
            prop_assert!(last.contains(&chosen));
            prop_assert!(last.iter().all(|kid| first_seen(*kid) <= first_seen(chosen)));
        }
    }
}
