//! The last good set on disk, so that a restart during the provider's outage still has a key.
//!
//! The file holds what we would seal with and nothing else: the usable keys, the preferred one
//! first, where they came from and when. Entries that were refused stay out, because a private
//! key published by mistake must not come to lie on our disk.
//!
//! It is read like any fetched set. Its age counts from the fetch, over the restart, by the wall
//! clock: the only clock that two processes share.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cached_set::CachedKeySet;
use super::set::{KeySet, MAX_BYTES};
use super::{FetchErrorKind, Source};
use crate::error_chain::io_cause;
use crate::transport_error;

/// The usable keys of a set of [`MAX_BYTES`], and the few fields beside them.
const MAX_FILE_BYTES: u64 = MAX_BYTES as u64 + 4096;

/// A set that was good when it was written.
#[derive(Debug)]
pub(super) struct LastGood {
    pub(super) set: KeySet,
    pub(super) fetched: SystemTime,
    pub(super) lifetime: Duration,
}

#[derive(Serialize, Deserialize)]
struct Document {
    source: String,
    /// Seconds since 1970.
    fetched_at: u64,
    lifetime_seconds: u64,
    keys: Vec<Value>,
}

/// Why the file gives no set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotRestored {
    #[error("it cannot be read: {}", io_cause(*.0))]
    Io(io::ErrorKind),
    #[error("it is not a file of ours")]
    NotOurs,
    #[error("it holds the keys of another source")]
    OtherSource,
    #[error("{0}")]
    NotGood(FetchErrorKind),
}

/// Reads what was kept for this source.
pub(super) fn read(path: &Path, source: &Source) -> Result<LastGood, NotRestored> {
    let unreadable = |error: io::Error| NotRestored::Io(error.kind());
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    let document: Document = serde_json::from_slice(&bytes).map_err(|_| NotRestored::NotOurs)?;
    if document.source != name_of(source) {
        return Err(NotRestored::OtherSource);
    }
    let fetched = UNIX_EPOCH.checked_add(Duration::from_secs(document.fetched_at)).ok_or(NotRestored::NotOurs)?;
    let set = KeySet::from_jwks(document.keys).map_err(NotRestored::NotGood)?;
    Ok(LastGood { set, fetched, lifetime: Duration::from_secs(document.lifetime_seconds) })
}

/// Writes the set in hand, fetched at this moment. A reader sees the old file or the new one,
/// never half of one; nobody but the owner can read it or put another in its place.
pub(super) fn write(path: &Path, source: &Source, cached: &CachedKeySet, fetched: SystemTime) -> io::Result<()> {
    let keys = cached.by_preference.iter().filter_map(|key| cached.set.jwk(key)).cloned().collect();
    let document = Document {
        source: name_of(source),
        fetched_at: fetched.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        lifetime_seconds: cached.lifetime.as_secs(),
        keys,
    };
    let temporary = beside(path);
    let written = write_new(&temporary, &serde_json::to_vec(&document)?).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Nothing more can be done about it, and the first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// The source as the file states it: without userinfo, which is no part of where it is. The
/// query may choose among several sets.
fn name_of(source: &Source) -> String {
    match source {
        Source::Url(url) => {
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            format!("{}{query}", transport_error::location(url))
        }
        Source::File(path) => path.display().to_string(),
    }
}

/// In the same directory, because a rename is atomic only within one file system; named after
/// the process, so that two of them do not write into one file.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    // Left behind by a process of the same number that was killed while writing.
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
