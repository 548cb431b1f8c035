//! A JWK Set as it was published: which of its entries can be sealed with, and why not the others.
//!
//! Entries are judged one by one (RFC 7517 section 5 asks to ignore the ones not understood), so a
//! `null` between two keys costs nothing. What is judged here is only what concerns the set as a
//! whole: its size and its `kid`s. A single key is [`EncryptionKey`]'s affair.
//!
//! Rejected: cutting a set of more than [`MAX_ENTRIES`] short. The newest key often stands last,
//! and sealing with what is left would be sealing with a retired key. Such a set is a failure,
//! and the last good one serves on.

use std::sync::Arc;

use serde_json::Value;

use super::{EntryState, FetchErrorKind, KeyName};
use crate::jose::EncryptionKey;

/// The most bytes of a JWK Set that are read: a hundred 8192-bit keys need a sixth of it.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// The most entries of a set: a provider in the middle of a rotation publishes two or three.
pub(crate) const MAX_ENTRIES: usize = 100;

/// The entries of a JWK Set, in document order.
#[derive(Debug)]
pub(crate) struct KeySet {
    entries: Vec<Entry>,
}

/// One entry of a set.
#[derive(Debug)]
pub(super) struct Entry {
    jwk: Value,
    key: Option<Arc<EncryptionKey>>,
    /// Never [`EntryState::NotPinned`], which is a matter of choice and not of the set.
    state: EntryState,
}

impl KeySet {
    /// Reads a JWK Set: a JSON object with an array `keys` (RFC 7517 section 5), of which at least
    /// one entry is usable.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, FetchErrorKind> {
        if document.len() > MAX_BYTES {
            return Err(FetchErrorKind::TooLarge);
        }
        let document: Value = serde_json::from_slice(document)
            .map_err(|error| FetchErrorKind::NotJson { line: error.line(), column: error.column() })?;
        let Value::Object(mut document) = document else {
            return Err(FetchErrorKind::NotAKeySet);
        };
        match document.remove("keys") {
            Some(Value::Array(keys)) => Self::from_jwks(keys),
            _ => Err(FetchErrorKind::NotAKeySet),
        }
    }

    /// The set of these JWKs, of which at least one is usable.
    pub(super) fn from_jwks(jwks: Vec<Value>) -> Result<Self, FetchErrorKind> {
        if jwks.len() > MAX_ENTRIES {
            return Err(FetchErrorKind::TooManyKeys { entries: jwks.len() });
        }
        let mut entries: Vec<Entry> = jwks.into_iter().map(Entry::new).collect();
        let ambiguous: Vec<bool> =
            entries.iter().map(|entry| entries.iter().any(|other| entry.shares_its_kid_with(other))).collect();
        for (entry, ambiguous) in entries.iter_mut().zip(ambiguous) {
            if ambiguous && entry.state == EntryState::Usable {
                entry.state = EntryState::AmbiguousKid;
            }
        }
        let set = Self { entries };
        if set.usable().next().is_none() {
            let first = set.entries.first().map(|entry| Box::new(entry.state.clone()));
            return Err(FetchErrorKind::NothingUsable { entries: set.entries.len(), first });
        }
        Ok(set)
    }

    /// Every entry, in document order.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The keys that can be sealed with, in document order; one published twice is named once.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &Arc<EncryptionKey>> {
        let keys = self.entries.iter().enumerate();
        keys.filter_map(|(index, entry)| entry.usable().filter(|key| !self.stands_before(index, key)))
    }

    /// Whether this very key (kid and material) can be sealed with.
    pub(crate) fn publishes(&self, key: &EncryptionKey) -> bool {
        self.usable().any(|published| **published == *key)
    }

    /// The entries that cannot be used, each with its reason.
    pub(super) fn unusable(&self) -> Vec<(Option<KeyName>, EntryState)> {
        let unusable = self.entries.iter().filter(|entry| entry.usable().is_none());
        unusable.map(|entry| (entry.name(), entry.state().clone())).collect()
    }

    /// The JWK of a usable key, as it was published.
    pub(crate) fn jwk(&self, key: &EncryptionKey) -> Option<&Value> {
        self.entries.iter().find(|entry| entry.usable().is_some_and(|own| **own == *key)).map(|entry| &entry.jwk)
    }

    fn stands_before(&self, index: usize, key: &EncryptionKey) -> bool {
        self.entries[..index].iter().any(|entry| entry.usable().is_some_and(|own| **own == *key))
    }
}

impl Entry {
    fn new(jwk: Value) -> Self {
        match EncryptionKey::from_jwk(&jwk) {
            Ok(key) => Self { jwk, key: Some(Arc::new(key)), state: EntryState::Usable },
            Err(reason) => Self { jwk, key: None, state: EntryState::Unusable(reason) },
        }
    }

    /// The key, unless something speaks against it.
    pub(super) fn usable(&self) -> Option<&Arc<EncryptionKey>> {
        self.key.as_ref().filter(|_| self.state == EntryState::Usable)
    }

    pub(super) fn state(&self) -> &EntryState {
        &self.state
    }

    /// The key as far as it could be read; also of an entry that cannot be used.
    pub(super) fn key(&self) -> Option<&EncryptionKey> {
        self.key.as_deref()
    }

    /// What the entry is called; nothing when it has neither a `kid` nor a thumbprint.
    pub(super) fn name(&self) -> Option<KeyName> {
        match &self.key {
            Some(key) => Some(KeyName::of(key)),
            None => self.kid().map(|kid| KeyName { kid: Some(kid.to_owned()), thumbprint: None }),
        }
    }

    fn kid(&self) -> Option<&str> {
        self.jwk.get("kid").and_then(Value::as_str)
    }

    /// Whether the other RSA key bears the same `kid` and is not the same key. Entries of other
    /// types may share it (RFC 7517 section 4.5): nobody opens RSA-OAEP with them.
    fn shares_its_kid_with(&self, other: &Self) -> bool {
        let is_rsa = |entry: &Self| entry.jwk.get("kty").and_then(Value::as_str) == Some("RSA");
        let is_namesake = self.kid().is_some() && self.kid() == other.kid() && is_rsa(self) && is_rsa(other);
        is_namesake
            && match (&self.key, &other.key) {
                (Some(own), Some(others)) => own.thumbprint() != others.thumbprint(),
                _ => ["n", "e"].iter().any(|member| self.jwk.get(member) != other.jwk.get(member)),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{document, jwk, key};
    use super::*;
    use serde_json::json;

    fn parse(keys: Value) -> Result<KeySet, FetchErrorKind> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn kids(set: &KeySet) -> Vec<&str> {
        set.usable().filter_map(|key| key.kid()).collect()
    }

    #[test]
    fn an_entry_that_is_no_key_costs_the_others_nothing() {
        let set = parse(json!([
            null, 7, "key", [], {}, jwk("a", 1),
            { "kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ", "kid": "ec" },
            { "kty": "RSA", "kid": "weak", "n": "AQAB", "e": "AQAB" },
        ]))
        .unwrap();
        assert_eq!(kids(&set), ["a"]);
        assert_eq!(set.entries().len(), 8);
        for (index, entry) in set.entries().iter().enumerate() {
            assert_eq!(matches!(entry.state(), EntryState::Unusable(_)), index != 5, "entry {index}");
        }
    }

    #[test]
    fn a_kid_borne_by_two_different_keys_makes_both_unusable() {
        let set = parse(json!([jwk("a", 1), jwk("b", 2), jwk("a", 3)])).unwrap();
        assert_eq!(kids(&set), ["b"]);
        assert_eq!(*set.entries()[0].state(), EntryState::AmbiguousKid);
        assert_eq!(*set.entries()[2].state(), EntryState::AmbiguousKid);
        assert!(matches!(parse(json!([jwk("a", 1), jwk("a", 3)])), Err(FetchErrorKind::NothingUsable { .. })));
    }

    #[test]
    fn a_kid_shared_with_an_unusable_rsa_key_is_ambiguous_and_with_an_ec_key_is_not() {
        let mut signing = jwk("a", 2);
        signing["use"] = json!("sig");
        let ec = json!({ "kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ", "kid": "b" });
        assert_eq!(kids(&parse(json!([jwk("a", 1), signing, jwk("b", 3), ec])).unwrap()), ["b"]);
    }

    #[test]
    fn the_same_key_twice_is_one_key() {
        let mut with_use = jwk("a", 1);
        with_use["use"] = json!("enc");
        let set = parse(json!([jwk("a", 1), with_use])).unwrap();
        assert_eq!(kids(&set), ["a"]);
        let mut for_signatures = jwk("a", 1);
        for_signatures["use"] = json!("sig");
        assert_eq!(kids(&parse(json!([for_signatures, jwk("a", 1)])).unwrap()), ["a"]);
    }

    #[test]
    fn a_key_without_kid_is_usable_and_two_of_them_are_not_ambiguous() {
        let nameless = |seed| {
            let mut jwk = jwk("x", seed);
            jwk.as_object_mut().unwrap().remove("kid");
            jwk
        };
        let set = parse(json!([nameless(1), nameless(2)])).unwrap();
        assert_eq!(set.usable().count(), 2);
    }

    #[test]
    fn a_published_key_is_told_by_kid_and_material() {
        let set = parse(json!([jwk("a", 1)])).unwrap();
        assert!(set.publishes(&key("a", 1)));
        assert!(!set.publishes(&key("a", 2)));
        assert!(!set.publishes(&key("b", 1)));
        assert_eq!(set.jwk(&key("a", 1)), Some(&jwk("a", 1)));
    }

    #[test]
    fn a_set_without_a_usable_key_is_a_failure() {
        assert_eq!(parse(json!([])).unwrap_err(), FetchErrorKind::NothingUsable { entries: 0, first: None });
        assert!(matches!(parse(json!([null])), Err(FetchErrorKind::NothingUsable { entries: 1, first: Some(_) })));
    }

    #[test]
    fn a_set_of_more_than_a_hundred_entries_is_refused_whole() {
        let many = |count: u64| parse((0..count).map(|seed| jwk(&seed.to_string(), seed)).collect());
        assert_eq!(many(100).unwrap().usable().count(), 100);
        assert_eq!(many(101).unwrap_err(), FetchErrorKind::TooManyKeys { entries: 101 });
    }

    #[test]
    fn what_is_not_a_json_object_with_an_array_of_keys_is_a_failure() {
        let html = KeySet::parse(b"<html>canary</html>").unwrap_err();
        assert_eq!(html, FetchErrorKind::NotJson { line: 1, column: 1 });
        let whole = document(&[jwk("a", 1)]);
        assert!(matches!(KeySet::parse(&whole[..whole.len() - 1]), Err(FetchErrorKind::NotJson { .. })));
        assert!(matches!(KeySet::parse(b""), Err(FetchErrorKind::NotJson { .. })));
        assert!(matches!(KeySet::parse("[".repeat(100_000).as_bytes()), Err(FetchErrorKind::NotJson { .. })));
        for other in ["[]", "null", "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#] {
            assert_eq!(KeySet::parse(other.as_bytes()).unwrap_err(), FetchErrorKind::NotAKeySet, "{other}");
        }
        assert_eq!(KeySet::parse(&vec![b' '; MAX_BYTES + 1]).unwrap_err(), FetchErrorKind::TooLarge);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = KeySet::parse(&bytes);
        }
    }
}
