//! The state of the keys, for readiness, `/metrics` and `jwe-gateway keys`.

use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::selection::is_pinned;
use super::state::KeysState;
use super::{Config, FetchError, NoUsableKey};
use crate::jose::{EncryptionKey, UnusableKey};

/// The keys at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The key to seal with now.
    pub usable: Result<KeyName, NoUsableKey>,
    /// Every entry of the cached set, in document order.
    pub entries: Vec<Entry>,
    /// Time since the provider last sent or confirmed the cached set.
    pub age: Option<Duration>,
    /// The rest of its lifetime. Zero if the set is stale.
    pub lifetime_left: Option<Duration>,
    /// Its whole lifetime.
    pub lifetime: Option<Duration>,
    /// The wait for the next scheduled fetch.
    pub next_fetch: Duration,
    /// When fetches began to fail. `None` if the last one succeeded.
    pub failing_since: Option<Timestamp>,
    /// Why the last fetch failed. `None` if it succeeded.
    pub last_error: Option<FetchError>,
    /// Fetches since the start that brought or confirmed a good set.
    pub fetches_ok: u64,
    /// Failed fetches since the start.
    pub fetches_failed: u64,
    /// Fetched sets since the start whose keys differed from those of the set before.
    pub changes: u64,
}

/// One entry of the JWK Set.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub kid: Option<String>,
    /// Its RFC 7638 SHA-256 thumbprint, if it could be parsed as a key.
    pub thumbprint: Option<String>,
    /// The length of its modulus, if it could be parsed as a key.
    pub bits: Option<u32>,
    pub state: EntryState,
    /// Whether it is the key to seal with now.
    pub chosen: bool,
}

/// Whether an entry can be used, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryState {
    Usable,
    /// The key can be used, but the configured pins do not name it.
    NotPinned,
    /// A different key of the set has the same `kid` (RFC 7517 section 4.5).
    AmbiguousKid,
    Unusable(UnusableKey),
}

impl fmt::Display for EntryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usable => f.write_str("usable"),
            Self::NotPinned => f.write_str("not pinned"),
            Self::AmbiguousKid => f.write_str("another key has the same kid"),
            Self::Unusable(reason) => reason.fmt(f),
        }
    }
}

/// The name of a key: its `kid`, or its thumbprint if it has no `kid`.
///
/// The provider chooses the `kid`. `Display` escapes it and cuts it, for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyName {
    /// The `kid`, as published.
    pub kid: Option<String>,
    /// The RFC 7638 SHA-256 thumbprint. `None` if the entry is not a key.
    pub thumbprint: Option<String>,
}

/// How many characters of a `kid` are printed. A thumbprint and a UUID have fewer.
const MAX_PRINTED: usize = 64;

impl KeyName {
    pub(super) fn of(key: &EncryptionKey) -> Self {
        Self { kid: key.kid().map(str::to_owned), thumbprint: Some(key.thumbprint().to_owned()) }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.kid.as_ref().or(self.thumbprint.as_ref()).map_or("", String::as_str);
        let printed = name.char_indices().nth(MAX_PRINTED).map_or(name, |(end, _)| &name[..end]);
        let cut = if printed.len() < name.len() { "..." } else { "" };
        write!(f, "{}{cut}", printed.escape_debug())
    }
}

impl Snapshot {
    /// The fields that [`KeysState`] can fill in. `Keys::snapshot` adds when failures began.
    pub(super) fn of(state: &KeysState, config: &Config, now: Instant) -> Self {
        let cached = state.cached();
        let usable = state.key(now);
        let is_chosen = |key: &EncryptionKey| usable.as_ref().is_ok_and(|chosen| **chosen == *key);
        let set_entries = cached.map(|cached| cached.set().entries()).unwrap_or_default();
        let mut entries: Vec<Entry> = Vec::with_capacity(set_entries.len());
        let mut has_chosen = false;
        for entry in set_entries {
            let name = entry.name();
            let key = entry.usable();
            let chosen = !has_chosen && key.is_some_and(|key| is_chosen(key));
            has_chosen |= chosen;
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
            lifetime: cached.map(|cached| cached.lifetime),
            next_fetch: state.next_fetch().due.saturating_duration_since(now),
            failing_since: None,
            last_error: state.last_error().cloned(),
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
