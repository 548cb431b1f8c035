//! The keys of a caller that are in use, and their reload when the key file changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::BadCallers;
use super::key::{self, KeyDigest, KeySource};
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
        caller: &Arc<str>,
        owners: &Arc<KeyOwners>,
    ) -> Result<Self, BadCallers> {
        match source {
            Some(KeySource::File(path)) => {
                let (caller, owners, path) = (Arc::clone(caller), Arc::clone(owners), path.clone());
                let name = format!("the keys of caller {caller}");
                Ok(Self::File(Arc::new(Reloaded::load(KeyFile { caller, path, owners, name })?)))
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
        let read = contents.of(&self.path).map_err(Into::into).and_then(key::parse);
        let digests = read.map_err(|cause| BadCallers::KeyFile { name: self.caller.to_string(), cause })?;
        self.owners.claim(&self.caller, digests)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn adopted(&self, digests: &Arc<[KeyDigest]>) {
        tracing::debug!(caller = %self.caller, keys = digests.len(), "the caller's keys are in use");
    }
}

/// The keys in use by caller. No key has two owners, also after a reload.
#[derive(Debug, Default)]
pub(super) struct KeyOwners(Mutex<BTreeMap<Arc<str>, Arc<[KeyDigest]>>>);

impl KeyOwners {
    /// Replaces the keys of `caller` by `digests`.
    fn claim(&self, caller: &Arc<str>, digests: Vec<KeyDigest>) -> Result<Arc<[KeyDigest]>, BadCallers> {
        // The map is whole even if the lock is poisoned: its only change is one `insert`.
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let other =
            owners.iter().find(|(owner, keys)| *owner != caller && keys.iter().any(|key| digests.contains(key)));
        if let Some((other, _)) = other {
            return Err(BadCallers::SharedKey { one: other.to_string(), other: caller.to_string() });
        }
        let digests: Arc<[KeyDigest]> = digests.into();
        owners.insert(Arc::clone(caller), Arc::clone(&digests));
        Ok(digests)
    }
}
