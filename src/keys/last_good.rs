//! The last good set on disk, so that a gateway that restarts during an outage of the provider has a key.
//!
//! The file contains the usable keys, the preferred one first, with their source and the time of the fetch.
//! Rejected entries are left out: a private key that was published by mistake must not be written to disk.
//!
//! A set from the file is checked like a fetched one. Its age counts from the fetch, also across the restart. The
//! wall clock measures it, because two processes share no other clock. If the fetch lies in the future, the clock was
//! wrong or the file was planted. The age is then unknown, and the file is refused: an age of zero would keep a
//! withdrawn key in use for as long as a new one.
//!
//! The file may be on a network that hangs. A read has a limit, so that the gateway can fetch the set instead. A write
//! has none, because nothing can cancel it. At most one is under way, and it is followed by one of the newest set.
//!
//! The file is used only if no other user can have written it: see `trusted_file.rs`.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cached_set::CachedKeySet;
use super::set::{KeySet, MAX_BYTES};
use super::trusted_file::{NotTrusted, open_trusted};
use super::{FetchErrorKind, Keys, Source};
use crate::error_chain::io_cause;
use crate::{file_read, transport_error};

/// How far in the future the time of the fetch may be. A clock that is corrected while the gateway restarts goes back by
/// less, and a set is used longer by at most this time.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// Enough for the usable keys of a set of [`MAX_BYTES`], and the other fields.
const MAX_FILE_BYTES: u64 = MAX_BYTES as u64 + 4096;

/// The progress of the writes.
#[derive(Debug, Default)]
pub(super) struct Saving {
    /// When the newest set was fetched, if no write of it has begun.
    unsaved: Option<SystemTime>,
    is_under_way: bool,
}

/// The content of the file.
#[derive(Debug)]
pub(super) struct LastGood {
    pub(super) set: KeySet,
    pub(super) fetched: SystemTime,
    pub(super) lifetime: Duration,
}

#[derive(Serialize, Deserialize)]
struct LastGoodFile {
    source: String,
    /// In seconds since 1970.
    fetched_at: u64,
    lifetime_seconds: u64,
    keys: Vec<Value>,
}

/// Why the file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum NotRestored {
    #[error("the file cannot be read: {}", io_cause(*.0))]
    Io(io::ErrorKind),
    #[error("the file was not written by jwe-gateway, or is damaged")]
    NotOurs,
    #[error("the file contains the keys of another source")]
    OtherSource,
    #[error("{0}")]
    NotGood(FetchErrorKind),
    #[error("the file says that its keys were fetched {} s from now: correct the clock, or delete the file", .0.as_secs())]
    FromTheFuture(Duration),
    #[error(transparent)]
    NotTrusted(#[from] NotTrusted),
}

impl Keys {
    /// Reads the last-known-good file, once. Ends after [`file_read::TIMEOUT`], even if the read hangs.
    pub(super) async fn restore(&self) {
        let Some(path) = &self.0.config.last_known_good else {
            return;
        };
        let upstream = &*self.0.name;
        let restore = async {
            let (file, source) = (path.clone(), self.0.config.source.clone());
            let reading = tokio::task::spawn_blocking(move || read(&file, &source, SystemTime::now()));
            let read = match tokio::time::timeout(file_read::TIMEOUT, reading).await {
                Ok(read) => read.unwrap_or(Err(NotRestored::Io(io::ErrorKind::Interrupted))),
                Err(_) => Err(NotRestored::Io(io::ErrorKind::TimedOut)),
            };
            match read {
                Ok(last_good) => {
                    let fetched = last_good.fetched;
                    let mut state = self.state();
                    if state.restore(last_good, self.0.clock.now(), SystemTime::now()) {
                        self.0.cached.store(state.cached().cloned());
                        self.0.counters.fetches.restored(fetched);
                        tracing::info!(upstream, path = %path.display(), "the last good key set was read from disk");
                    }
                }
                Err(NotRestored::Io(io::ErrorKind::NotFound)) => {}
                Err(error) => {
                    tracing::warn!(upstream, %error, path = %path.display(), "the last good key set on disk is not used");
                }
            }
        };
        self.0.restored.get_or_init(|| restore).await;
    }

    /// Writes the cached set to the last-known-good file, in the background. If a write is under way, the newest set is
    /// written after it.
    pub(super) fn save_last_good(&self) {
        let Some(path) = self.0.config.last_known_good.clone() else {
            return;
        };
        {
            let mut saving = self.saving();
            saving.unsaved = Some(SystemTime::now());
            if std::mem::replace(&mut saving.is_under_way, true) {
                return;
            }
        }
        let keys = self.clone();
        tokio::spawn(async move {
            while let Some((cached, fetched)) = keys.next_unsaved() {
                let (file, source) = (path.clone(), keys.0.config.source.clone());
                let mut writing = tokio::task::spawn_blocking(move || write(&file, &source, &cached, fetched));
                let written = match tokio::time::timeout(file_read::TIMEOUT, &mut writing).await {
                    Ok(written) => written,
                    Err(_) => {
                        keys.warn_not_saved(&io::ErrorKind::TimedOut.into());
                        writing.await
                    }
                };
                if let Ok(Err(error)) = written {
                    keys.warn_not_saved(&error);
                }
            }
        });
    }

    /// The newest set and the time of its fetch. `None` if it has been saved: no write is under way any more.
    fn next_unsaved(&self) -> Option<(Arc<CachedKeySet>, SystemTime)> {
        let mut saving = self.saving();
        // A set that is fetched after this line sets `unsaved` again.
        let next = saving.unsaved.take().and_then(|fetched| Some((self.0.cached.load_full()?, fetched)));
        saving.is_under_way = next.is_some();
        next
    }

    fn warn_not_saved(&self, error: &io::Error) {
        if let Some(path) = &self.0.config.last_known_good {
            let upstream = &*self.0.name;
            tracing::warn!(upstream, %error, path = %path.display(), "the last good key set cannot be written to disk");
        }
    }

    fn saving(&self) -> MutexGuard<'_, Saving> {
        // The value is whole even if the lock is poisoned: each change is one assignment.
        self.0.saving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the file. Its keys must come from `source`, before `now`.
fn read(path: &Path, source: &Source, now: SystemTime) -> Result<LastGood, NotRestored> {
    let unreadable = |error: io::Error| NotRestored::Io(error.kind());
    let file = open_trusted(path).map_err(unreadable)??;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    let document: LastGoodFile = serde_json::from_slice(&bytes).map_err(|_| NotRestored::NotOurs)?;
    if document.source != name_of(source) {
        return Err(NotRestored::OtherSource);
    }
    let fetched = UNIX_EPOCH.checked_add(Duration::from_secs(document.fetched_at)).ok_or(NotRestored::NotOurs)?;
    let ahead = fetched.duration_since(now).unwrap_or_default();
    if ahead > CLOCK_TOLERANCE {
        return Err(NotRestored::FromTheFuture(ahead));
    }
    let set = KeySet::from_jwks(document.keys).map_err(NotRestored::NotGood)?;
    Ok(LastGood { set, fetched, lifetime: Duration::from_secs(document.lifetime_seconds) })
}

/// Replaces the file atomically. Only the owner can read and write it: no other user must be able to replace the keys.
fn write(path: &Path, source: &Source, cached: &CachedKeySet, fetched: SystemTime) -> io::Result<()> {
    let keys = cached.by_preference.iter().filter_map(|key| cached.set.jwk(key)).cloned().collect();
    let document = LastGoodFile {
        source: name_of(source),
        fetched_at: fetched.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        lifetime_seconds: cached.lifetime.as_secs(),
        keys,
    };
    let temporary = temporary_path(path);
    let written = write_new(&temporary, &serde_json::to_vec(&document)?).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // An error here is ignored, because the first one is reported.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// The source as it is written in the file: with the query, which may select one of several sets, and without
/// user and password.
fn name_of(source: &Source) -> String {
    match source {
        Source::Url(url) => {
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            format!("{}{query}", transport_error::location(url))
        }
        Source::File(path) => path.display().to_string(),
    }
}

/// A temporary file in the same directory, because a rename is atomic only within one file system. The name
/// contains the process id, so that two processes do not write to the same file.
fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    // A process with the same id may have been killed while it was writing.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
