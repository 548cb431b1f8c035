//! What is held, for readiness, `/metrics` and `jwe-gateway keys`.

use std::fmt;
use std::time::{Duration, Instant};

use super::selection::is_pinned;
use super::state::State;
use super::{Config, NoUsableKey};
use crate::jose::{EncryptionKey, UnusableKey};

/// The keys as they are at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The key that a message would be sealed with now, or why there is none.
    pub usable: Result<KeyName, NoUsableKey>,
    /// Every entry of the set in hand, in document order.
    pub entries: Vec<Entry>,
    /// Time since the provider last confirmed the set in hand.
    pub age: Option<Duration>,
    /// How much of its lifetime is left; zero means that it is stale.
    pub lifetime_left: Option<Duration>,
    /// Fetches that brought a good set, or confirmed the one in hand, since the start.
    pub fetches_ok: u64,
    /// Fetches that failed since the start.
    pub fetches_failed: u64,
    /// Sets that differed from the one before, since the start.
    pub changes: u64,
}

/// One entry of the JWK Set.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its `kid`, if it has one.
    pub kid: Option<String>,
    /// Its RFC 7638 SHA-256 thumbprint, if it could be read as a key.
    pub thumbprint: Option<String>,
    /// The length of its modulus, if it could be read as a key.
    pub bits: Option<u32>,
    /// Whether it can be sealed with, or why not.
    pub state: EntryState,
    /// Whether it is the one that is sealed with now.
    pub chosen: bool,
}

/// What speaks for or against one entry of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryState {
    /// It can be sealed with.
    Usable,
    /// It could be sealed with, but the configured pins do not name it.
    NotPinned,
    /// A different key of the set bears the same `kid` (RFC 7517 section 4.5).
    AmbiguousKid,
    /// It is no key that we seal with.
    Unusable(UnusableKey),
}

impl fmt::Display for EntryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usable => f.write_str("usable"),
            Self::NotPinned => f.write_str("not pinned"),
            Self::AmbiguousKid => f.write_str("another key bears the same kid"),
            Self::Unusable(reason) => reason.fmt(f),
        }
    }
}

/// What a key is called: its `kid`, or its thumbprint when it has none.
///
/// The provider chose the `kid`; `Display` escapes it and cuts it short, for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyName {
    /// The `kid`, as published.
    pub kid: Option<String>,
    /// The RFC 7638 SHA-256 thumbprint; none of an entry that is no key.
    pub thumbprint: Option<String>,
}

/// Characters of a `kid` that are shown: more than a thumbprint or a UUID has.
const SHOWN: usize = 64;

impl KeyName {
    pub(super) fn of(key: &EncryptionKey) -> Self {
        Self { kid: key.kid().map(str::to_owned), thumbprint: Some(key.thumbprint().to_owned()) }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.kid.as_ref().or(self.thumbprint.as_ref()).map_or("", String::as_str);
        let shown = name.char_indices().nth(SHOWN).map_or(name, |(end, _)| &name[..end]);
        let cut = if shown.len() < name.len() { "..." } else { "" };
        write!(f, "{}{cut}", shown.escape_debug())
    }
}

impl Snapshot {
    pub(super) fn of(state: &State, config: &Config, now: Instant) -> Self {
        let cached = state.cached();
        let usable = state.key(now);
        let is_chosen = |key: &EncryptionKey| usable.as_ref().is_ok_and(|chosen| **chosen == *key);
        let set_entries = cached.map(|cached| cached.set().entries()).unwrap_or_default();
        let mut entries: Vec<Entry> = Vec::with_capacity(set_entries.len());
        let mut chosen_shown = false;
        for entry in set_entries {
            let name = entry.name();
            let key = entry.usable();
            let chosen = !chosen_shown && key.is_some_and(|key| is_chosen(key));
            chosen_shown |= chosen;
            entries.push(Entry {
                kid: name.as_ref().and_then(|name| name.kid.clone()),
                thumbprint: name.and_then(|name| name.thumbprint),
                bits: entry.key().map(EncryptionKey::bits),
                state: match key {
                    Some(key) if !is_pinned(key, &config.pin) => EntryState::NotPinned,
                    _ => entry.state().clone(),
                },
                chosen,
            });
        }
        let counts = state.counts();
        Self {
            usable: usable.map(|key| KeyName::of(&key)),
            entries,
            age: cached.map(|cached| cached.age(now)),
            lifetime_left: cached.map(|cached| cached.lifetime_left(now)),
            fetches_ok: counts.ok,
            fetches_failed: counts.failed,
            changes: counts.changes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_key_is_cut_and_escaped_for_the_log() {
        let name = |kid: &str| KeyName { kid: Some(kid.into()), thumbprint: None }.to_string();
        assert_eq!(name("a\nb"), "a\\nb");
        assert_eq!(name(&"é".repeat(64)), "é".repeat(64));
        assert_eq!(name(&"é".repeat(65)), format!("{}...", "é".repeat(64)));
        assert_eq!(KeyName { kid: None, thumbprint: Some("T".into()) }.to_string(), "T");
    }
}
