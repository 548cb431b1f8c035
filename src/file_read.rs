//! Reads a file within a deadline.
//!
//! A read from a network file system may hang, and nothing can cancel it: it keeps its thread. So at most one read
//! of a path is under way. While it hangs, other reads of the path wait for their deadline and fail. They take no
//! thread, so a file that hangs for days keeps one thread, and not one per attempt.
//!
//! Rejected: a read without waiting (`O_NONBLOCK`), because it has no effect on files. Also rejected: the result of a
//! read that ended late. The file may have changed since, and the next attempt reads it again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

/// The limit for one read, including the wait for an earlier read of the same path. A small file takes milliseconds,
/// also on a network.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// The limit for a file that is read whole: a secret, a key, certificates. Without it, a wrong path (`/dev/zero`, a log)
/// would fill the memory, because a read cannot be cancelled.
const MAX_BYTES: u64 = 1024 * 1024;

/// One lock for each path. The paths come from the configuration, so there are few, and none is ever removed.
static LOCKS: Mutex<BTreeMap<PathBuf, Arc<tokio::sync::Mutex<()>>>> = Mutex::new(BTreeMap::new());

/// The first `limit` bytes of the file. The memory is wiped when dropped: the file may hold a key.
///
/// # Errors
/// If the file cannot be read. [`io::ErrorKind::TimedOut`] if the read takes longer than [`TIMEOUT`].
pub(crate) async fn read(path: &Path, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let lock = {
        // The map is whole even if the lock is poisoned: its only change is one insertion.
        let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(path.to_owned()).or_default())
    };
    let content = async {
        let turn = lock.lock_owned().await;
        let path = path.to_owned();
        let reading = tokio::task::spawn_blocking(move || {
            let content = read_now(&path, limit);
            drop(turn);
            content
        });
        // The error means that the process is ending.
        reading.await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
    };
    tokio::time::timeout(TIMEOUT, content).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The whole file, if it is not longer than [`MAX_BYTES`].
///
/// # Errors
/// The same as for [`read`], and [`io::ErrorKind::FileTooLarge`].
pub(crate) async fn read_whole(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    read(path, MAX_BYTES + 1).await.and_then(check_length)
}

/// The same without a deadline: blocks until the file system returns.
///
/// # Errors
/// If the file cannot be read, and [`io::ErrorKind::FileTooLarge`].
pub(crate) fn read_whole_blocking(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    read_now(path, MAX_BYTES + 1).and_then(check_length)
}

fn check_length(content: Zeroizing<Vec<u8>>) -> io::Result<Zeroizing<Vec<u8>>> {
    if content.len() as u64 > MAX_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(content) }
}

fn read_now(path: &Path, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len().min(limit);
    // One byte more, so that the end of the file is found without a larger buffer. A larger buffer would leave a copy.
    let capacity = usize::try_from(length).map_or(0, |length| length.saturating_add(1));
    let mut content = Zeroizing::new(Vec::new());
    content.try_reserve(capacity).map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::HungFile;

    #[tokio::test]
    async fn a_file_is_read_up_to_the_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "content").unwrap();
        assert_eq!(**read(file.path(), 100).await.unwrap(), *b"content");
        assert_eq!(**read(file.path(), 3).await.unwrap(), *b"con");
        assert_eq!(read(Path::new("/nowhere"), 3).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(read(Path::new("/"), 3).await.is_err());
    }

    #[tokio::test]
    async fn a_file_that_is_read_whole_has_a_maximum_length() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let max = usize::try_from(MAX_BYTES).unwrap();
        fs::write(file.path(), vec![b'x'; max]).unwrap();
        assert_eq!(read_whole(file.path()).await.unwrap().len(), max);
        fs::write(file.path(), vec![b'x'; max + 1]).unwrap();
        for result in [read_whole(file.path()).await, read_whole_blocking(file.path())] {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        }
    }

    #[tokio::test]
    async fn a_read_that_hangs_fails_in_time_and_no_second_one_starts_before_its_end() {
        let hung = HungFile::new();
        assert_eq!(read(hung.path(), 9).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        hung.replace("new");
        assert_eq!(read(hung.path(), 9).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        hung.release();
        assert_eq!(**read(hung.path(), 9).await.unwrap(), *b"new");
    }
}
