//! A JWK Set as it was published: its entries, and why some of them cannot be used.
//!
//! Each entry is checked by itself (RFC 7517 section 5 says to ignore entries that are not understood). A `null`
//! between two keys does no harm. This file checks only the set as a whole: its size and its `kid`s.
//! [`EncryptionKey`] checks a single key.
//!
//! Rejected: reading only the first [`MAX_ENTRIES`] entries. The newest key often stands last, so the rest would be
//! old keys. A set with more entries is a failed fetch, and the last good set stays in use.

use std::sync::Arc;

use serde_json::Value;

use super::{EntryState, FetchErrorKind, KeyName};
use crate::jose::EncryptionKey;

/// Limit for the size of a JWK Set. A hundred 8192-bit keys need a sixth of it.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// Limit for the number of entries. During a rotation a provider publishes two or three.
pub(crate) const MAX_ENTRIES: usize = 100;

/// The entries of a JWK Set, in document order.
#[derive(Debug)]
pub(crate) struct KeySet {
    entries: Vec<SetEntry>,
}

#[derive(Debug)]
pub(super) struct SetEntry {
    jwk: Value,
    key: Option<Arc<EncryptionKey>>,
    /// Never [`EntryState::NotPinned`]: pins are not part of the set.
    state: EntryState,
}

impl KeySet {
    /// Parses a JWK Set: a JSON object with an array `keys` (RFC 7517 section 5) that has a usable entry.
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

    /// Makes a set of these JWKs, of which at least one must be usable.
    pub(super) fn from_jwks(jwks: Vec<Value>) -> Result<Self, FetchErrorKind> {
        if jwks.len() > MAX_ENTRIES {
            return Err(FetchErrorKind::TooManyKeys { entries: jwks.len() });
        }
        let mut entries: Vec<SetEntry> = jwks.into_iter().map(SetEntry::new).collect();
        let ambiguous: Vec<bool> =
            entries.iter().map(|entry| entries.iter().any(|other| entry.is_ambiguous_with(other))).collect();
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
    pub(super) fn entries(&self) -> &[SetEntry] {
        &self.entries
    }

    /// The usable keys in document order, without duplicates.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &Arc<EncryptionKey>> {
        let keys = self.entries.iter().enumerate();
        keys.filter_map(|(index, entry)| entry.usable().filter(|key| !self.is_duplicate(index, key)))
    }

    /// Whether the set has a usable entry with the `kid` and the key material of `key`.
    pub(crate) fn publishes(&self, key: &EncryptionKey) -> bool {
        self.usable().any(|published| **published == *key)
    }

    /// The unusable entries, each with its reason.
    pub(super) fn unusable(&self) -> Vec<(Option<KeyName>, EntryState)> {
        let unusable = self.entries.iter().filter(|entry| entry.usable().is_none());
        unusable.map(|entry| (entry.name(), entry.state().clone())).collect()
    }

    /// The published JWK of a usable key.
    pub(crate) fn jwk(&self, key: &EncryptionKey) -> Option<&Value> {
        self.entries.iter().find(|entry| entry.usable().is_some_and(|own| **own == *key)).map(|entry| &entry.jwk)
    }

    fn is_duplicate(&self, index: usize, key: &EncryptionKey) -> bool {
        self.entries[..index].iter().any(|entry| entry.usable().is_some_and(|own| **own == *key))
    }
}

impl SetEntry {
    fn new(jwk: Value) -> Self {
        match EncryptionKey::from_jwk(&jwk) {
            Ok(key) => Self { jwk, key: Some(Arc::new(key)), state: EntryState::Usable },
            Err(reason) => Self { jwk, key: None, state: EntryState::Unusable(reason) },
        }
    }

    /// The key, if the entry is usable.
    pub(crate) fn usable(&self) -> Option<&Arc<EncryptionKey>> {
        self.key.as_ref().filter(|_| self.state == EntryState::Usable)
    }

    pub(super) fn state(&self) -> &EntryState {
        &self.state
    }

    /// The key, if it could be parsed, even if the entry is not usable.
    pub(super) fn key(&self) -> Option<&EncryptionKey> {
        self.key.as_deref()
    }

    /// `None` if the entry has neither a `kid` nor a thumbprint.
    pub(super) fn name(&self) -> Option<KeyName> {
        match &self.key {
            Some(key) => Some(KeyName::of(key)),
            None => self.kid().map(|kid| KeyName { kid: Some(kid.to_owned()), thumbprint: None }),
        }
    }

    fn kid(&self) -> Option<&str> {
        self.jwk.get("kid").and_then(Value::as_str)
    }

    /// Whether the entries are two different RSA keys with the same `kid`. A key of another type may share the
    /// `kid` (RFC 7517 section 4.5), because it cannot open RSA-OAEP.
    fn is_ambiguous_with(&self, other: &Self) -> bool {
        let is_rsa = |entry: &Self| entry.jwk.get("kty").and_then(Value::as_str) == Some("RSA");
        let has_same_kid = self.kid().is_some() && self.kid() == other.kid() && is_rsa(self) && is_rsa(other);
        has_same_kid
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
    fn an_entry_that_is_not_a_key_does_not_affect_the_others() {
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
    fn two_different_keys_with_the_same_kid_are_both_unusable() {
        let set = parse(json!([jwk("a", 1), jwk("b", 2), jwk("a", 3)])).unwrap();
        assert_eq!(kids(&set), ["b"]);
        assert_eq!(*set.entries()[0].state(), EntryState::AmbiguousKid);
        assert_eq!(*set.entries()[2].state(), EntryState::AmbiguousKid);
        assert!(matches!(parse(json!([jwk("a", 1), jwk("a", 3)])), Err(FetchErrorKind::NothingUsable { .. })));
    }

    #[test]
    fn a_kid_is_ambiguous_if_an_unusable_rsa_key_has_it_too_but_not_if_an_ec_key_has_it() {
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
        let without_kid = |seed| {
            let mut jwk = jwk("x", seed);
            jwk.as_object_mut().unwrap().remove("kid");
            jwk
        };
        let set = parse(json!([without_kid(1), without_kid(2)])).unwrap();
        assert_eq!(set.usable().count(), 2);
    }

    #[test]
    fn a_published_key_is_identified_by_kid_and_key_material() {
        let set = parse(json!([jwk("a", 1)])).unwrap();
        assert!(set.publishes(&key("a", 1)));
        assert!(!set.publishes(&key("a", 2)));
        assert!(!set.publishes(&key("b", 1)));
        assert_eq!(set.jwk(&key("a", 1)), Some(&jwk("a", 1)));
    }

    #[test]
    fn a_set_without_a_usable_key_is_a_failure() {
        let empty = parse(json!([])).unwrap_err();
        assert_eq!(empty, FetchErrorKind::NothingUsable { entries: 0, first: None });
        assert_eq!(empty.to_string(), "the key set has no entries");
        assert!(matches!(parse(json!([null])), Err(FetchErrorKind::NothingUsable { entries: 1, first: Some(_) })));
    }

    #[test]
    fn a_set_with_more_than_a_hundred_entries_is_rejected_as_a_whole() {
        let many = |count: u64| parse((0..count).map(|seed| jwk(&seed.to_string(), seed)).collect());
        assert_eq!(many(100).unwrap().usable().count(), 100);
        assert_eq!(many(101).unwrap_err(), FetchErrorKind::TooManyKeys { entries: 101 });
    }

    #[test]
    fn a_document_without_an_array_of_keys_is_a_failure() {
        let html = KeySet::parse(b"<html>canary</html>").unwrap_err();
        assert_eq!(html, FetchErrorKind::NotJson { line: 1, column: 1 });
        let complete = document(&[jwk("a", 1)]);
        assert!(matches!(KeySet::parse(&complete[..complete.len() - 1]), Err(FetchErrorKind::NotJson { .. })));
        assert!(matches!(KeySet::parse(b""), Err(FetchErrorKind::NotJson { .. })));
        assert!(matches!(KeySet::parse("[".repeat(100_000).as_bytes()), Err(FetchErrorKind::NotJson { .. })));
        for other in ["[]", "null", "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#] {
            assert_eq!(KeySet::parse(other.as_bytes()).unwrap_err(), FetchErrorKind::NotAKeySet, "{other}");
        }
        assert_eq!(KeySet::parse(&vec![b' '; MAX_BYTES + 1]).unwrap_err(), FetchErrorKind::TooLarge);
    }

    proptest::proptest! {
        #[test]
        fn the_parser_does_not_panic_on_any_bytes(bytes: Vec<u8>) {
            let _ = KeySet::parse(&bytes);
        }
    }
}
