//! The keys of a caller that are in use, and their reload when the key file changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::BadCallers;
use super::key::{self, KeyDigest, KeySource};
use crate::gateway::metrics::counters::CallerCounters;
use crate::watched_files::{FileContents, Loader, Reloaded};

/// The keys of one caller.
#[derive(Debug)]
pub(super) enum KeysInUse {
    Fixed(Arc<[KeyDigest]>),
    File(Arc<Reloaded<KeyFile>>),
}

impl KeysInUse {
    /// Loads the keys of `caller`. A key file is read; this blocks.
    ///
    /// # Errors
    /// See [`BadCallers`].
    pub(super) fn load(
        source: Option<&KeySource>,
        counters: &Arc<CallerCounters>,
        owners: &Arc<KeyOwners>,
    ) -> Result<Self, BadCallers> {
        let caller = &counters.name;
        match source {
            Some(KeySource::File(path)) => {
                let name = format!("the keys of caller {caller}");
                let (counters, owners, path) = (Arc::clone(counters), Arc::clone(owners), path.clone());
                let file = KeyFile { caller: Arc::clone(caller), counters, path, owners, name };
                Ok(Self::File(Arc::new(Reloaded::load(file)?)))
            }
            Some(KeySource::Digests(digests)) => Ok(Self::Fixed(owners.claim(caller, digests.clone())?)),
            None => Ok(Self::Fixed([].into())),
        }
    }

    pub(super) fn current(&self) -> Arc<[KeyDigest]> {
        match self {
            Self::Fixed(digests) => Arc::clone(digests),
            Self::File(file) => file.current(),
        }
    }

    pub(super) fn file(&self) -> Option<&Arc<Reloaded<KeyFile>>> {
        match self {
            Self::Fixed(_) => None,
            Self::File(file) => Some(file),
        }
    }
}

/// Loads a caller's keys from its key file.
pub(super) struct KeyFile {
    caller: Arc<str>,
    counters: Arc<CallerCounters>,
    path: PathBuf,
    owners: Arc<KeyOwners>,
    name: String,
}

impl Loader for KeyFile {
    type Output = Arc<[KeyDigest]>;
    type Error = BadCallers;

    fn files(&self) -> Vec<&Path> {
        vec![&self.path]
    }

    fn load(&self, contents: &FileContents) -> Result<Arc<[KeyDigest]>, BadCallers> {
        self.owners.claim(&self.caller, self.parse(contents)?)
    }

    /// A key may move from one caller to another in one poll, so the changed files are judged together.
    fn prepare(polled: &[(&Self, &FileContents)]) {
        let Some((first, _)) = polled.first() else { return };
        let wanted = polled.iter().filter_map(|(file, contents)| Some((&file.caller, file.parse(contents).ok()?)));
        first.owners.exchange(wanted.collect());
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn unusable(&self) {
        self.counters.denials.add_failed_read();
    }

    fn adopted(&self, digests: &Arc<[KeyDigest]>) {
        tracing::debug!(caller = %self.caller, keys = digests.len(), "the caller's keys are in use");
    }
}

impl KeyFile {
    fn parse(&self, contents: &FileContents) -> Result<Vec<KeyDigest>, BadCallers> {
        let read = contents.of(&self.path).map_err(Into::into).and_then(key::parse);
        read.map_err(|cause| BadCallers::KeyFile { name: self.caller.to_string(), cause })
    }
}

/// The keys in use by caller. No key has two owners, also after a reload.
#[derive(Debug, Default)]
pub(super) struct KeyOwners(Mutex<Owners>);

type Owners = BTreeMap<Arc<str>, Arc<[KeyDigest]>>;

impl KeyOwners {
    /// Replaces the keys of `caller` by `digests`.
    fn claim(&self, caller: &Arc<str>, digests: Vec<KeyDigest>) -> Result<Arc<[KeyDigest]>, BadCallers> {
        let mut owners = self.lock();
        let other =
            owners.iter().find(|(owner, keys)| *owner != caller && keys.iter().any(|key| digests.contains(key)));
        if let Some((other, _)) = other {
            return Err(BadCallers::SharedKey { one: other.to_string(), other: caller.to_string() });
        }
        let digests: Arc<[KeyDigest]> = digests.into();
        owners.insert(Arc::clone(caller), Arc::clone(&digests));
        Ok(digests)
    }

    /// Replaces the keys of several callers at once. A caller keeps its keys if the new ones would include a key of
    /// another caller. If two callers want the same new key, the earlier one gets it.
    fn exchange(&self, wanted: Vec<(&Arc<str>, Vec<KeyDigest>)>) {
        let mut owners = self.lock();
        let mut next = owners.clone();
        let mut changed = Vec::new();
        for (caller, digests) in wanted {
            if owners.get(caller).is_none_or(|keys| **keys != *digests) {
                next.insert(Arc::clone(caller), digests.into());
                changed.push(caller);
            }
        }
        // A caller that keeps its keys may stop another one from getting them, so this repeats until all fit. A caller
        // that has a key already goes before one that wants it.
        let has_conflict = |next: &Owners, caller: &Arc<str>, only_kept: bool| {
            let is_kept = |other, key| owners.get(other).is_some_and(|before| before.contains(key));
            let is_taken = |key| {
                let mut others = next.iter().filter(|(other, _)| *other != caller);
                others.any(|(other, keys)| keys.contains(key) && (!only_kept || is_kept(other, key)))
            };
            next.get(caller).is_some_and(|keys| keys.iter().any(is_taken))
        };
        let refused = |next: &Owners, changed: &[&Arc<str>]| {
            let last = |only_kept| changed.iter().rposition(|caller| has_conflict(next, caller, only_kept));
            last(true).or_else(|| last(false))
        };
        while let Some(index) = refused(&next, &changed) {
            let caller = changed.remove(index);
            match owners.get(caller) {
                Some(keys) => next.insert(Arc::clone(caller), Arc::clone(keys)),
                None => next.remove(caller),
            };
        }
        *owners = next;
    }

    fn lock(&self) -> MutexGuard<'_, Owners> {
        // The map is whole even if the lock is poisoned: each change is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of the callers a, b and c after an exchange, if they had the keys 1, 2 and 3 before.
    fn after(wanted: [&str; 3]) -> [String; 3] {
        let digest = |key: char| KeyDigest::of(&key.to_string());
        let names: [Arc<str>; 3] = ["a".into(), "b".into(), "c".into()];
        let owners = KeyOwners::default();
        for (name, key) in names.iter().zip('1'..='3') {
            owners.claim(name, vec![digest(key)]).unwrap();
        }
        let wanted = names.iter().zip(wanted).map(|(name, keys)| (name, keys.chars().map(digest).collect()));
        owners.exchange(wanted.collect());
        let owners = owners.lock();
        names.map(|name| ('1'..='5').filter(|key| owners[&name].contains(&digest(*key))).collect())
    }

    #[test]
    fn keys_move_between_callers_in_one_exchange() {
        assert_eq!(after(["2", "4", "3"]), ["2", "4", "3"], "to an earlier caller");
        assert_eq!(after(["4", "12", "3"]), ["4", "12", "3"], "to a later caller");
        assert_eq!(after(["2", "3", "1"]), ["2", "3", "1"], "in a circle");
    }

    #[test]
    fn no_exchange_gives_a_key_to_two_callers() {
        assert_eq!(after(["2", "2", "3"]), ["1", "2", "3"], "b keeps its key");
        assert_eq!(after(["4", "4", "3"]), ["4", "2", "3"], "the earlier caller gets a new key");
        assert_eq!(after(["23", "1", "3"]), ["1", "2", "3"], "a keeps its key, so b does not get it");
        assert_eq!(after(["2", "3", "35"]), ["1", "2", "35"], "b keeps its key, so a does not get it");
    }
}
