//! A value in use, and its replacement when its files have changed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::Loader;
use super::content::{FileContent, FileContents, Fingerprint, UnreadableFile};

/// A value loaded from files, which [`run_refresh`](super::run_refresh) keeps current.
pub(crate) struct Reloaded<L: Loader> {
    loader: L,
    in_use: ArcSwap<LoadedValue<L::Output>>,
    /// The result of the last poll, if it failed.
    failure: ArcSwapOption<UnusableState>,
    reloads: AtomicU64,
    failed_states: AtomicU64,
    /// When each of the loader's files was last read with success.
    read_at: Vec<Mutex<SystemTime>>,
    /// Locked during a poll.
    polling: tokio::sync::Mutex<()>,
}

struct LoadedValue<T> {
    output: T,
    fingerprint: Fingerprint,
}

/// A state of the files from which no value can be loaded.
#[derive(Debug, PartialEq, Eq)]
struct UnusableState {
    fingerprint: Fingerprint,
    message: String,
}

/// The result of a poll for one value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PollOutcome {
    /// The name of the value in the log.
    pub name: String,
    /// An error if the files cannot be used. The last good value is then in use.
    pub result: Result<Change, String>,
}

/// Whether a changed value has come into use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    InUse,
}

/// When a file was last read with success.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileRead {
    pub path: PathBuf,
    pub time: SystemTime,
}

/// Reads the files of all values side by side, and uses each content that has changed and is usable.
///
/// Polls that run at the same time must have the same values in the same order, or none in common.
pub(crate) async fn poll<L: Loader>(watched: &[Arc<Reloaded<L>>]) -> Vec<PollOutcome> {
    // One poll at a time: otherwise an earlier content could replace a later one.
    let mut turns = Vec::with_capacity(watched.len());
    for reloaded in watched {
        turns.push(reloaded.polling.lock().await);
    }
    let start = |path: &Path| (path.to_owned(), tokio::spawn(FileContent::read_in_time(path.to_owned())));
    let reads: Vec<Vec<_>> =
        watched.iter().map(|reloaded| reloaded.loader.files().into_iter().map(start).collect()).collect();
    let mut polled = Vec::with_capacity(watched.len());
    for (reloaded, reads) in watched.iter().zip(reads) {
        let mut contents = Vec::with_capacity(reads.len());
        for (path, read) in reads {
            // The error means that the process is ending.
            contents.push(read.await.unwrap_or_else(|_| Err(UnreadableFile::interrupted(path))));
        }
        polled.push((&reloaded.loader, FileContents(contents)));
    }
    let all: Vec<_> = polled.iter().map(|(loader, contents)| (*loader, contents)).collect();
    L::prepare(&all);
    watched.iter().zip(&polled).map(|(reloaded, (_, contents))| reloaded.apply(contents)).collect()
}

impl<L: Loader> Reloaded<L> {
    /// Loads the value for the first time. Blocks while the files are read. [`run_refresh`](super::run_refresh) reports
    /// that it is in use.
    ///
    /// # Errors
    /// If the value cannot be loaded.
    pub(crate) fn load(loader: L) -> Result<Self, L::Error> {
        let contents = FileContents::read(loader.files());
        let output = loader.load(&contents)?;
        Ok(Self {
            read_at: contents.0.iter().map(|_| Mutex::new(SystemTime::now())).collect(),
            polling: tokio::sync::Mutex::default(),
            loader,
            in_use: ArcSwap::from_pointee(LoadedValue { output, fingerprint: Fingerprint::of(&contents) }),
            failure: ArcSwapOption::empty(),
            reloads: AtomicU64::new(0),
            failed_states: AtomicU64::new(0),
        })
    }

    /// Reports the first value as the one in use.
    pub(super) fn report(&self) {
        self.loader.adopted(&self.in_use.load().output);
    }

    /// The last value that could be loaded.
    #[must_use]
    pub(crate) fn current(&self) -> L::Output {
        self.in_use.load().output.clone()
    }

    /// How many changed values have come into use since the start.
    #[must_use]
    pub(crate) fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// How many unusable states of the files were found. Each counts once, however long it lasts.
    #[must_use]
    pub(crate) fn failed_states(&self) -> u64 {
        self.failed_states.load(Ordering::Relaxed)
    }

    /// When each file was last read with success.
    pub(crate) fn file_reads(&self) -> Vec<FileRead> {
        let read = |(path, read_at): (&Path, &Mutex<SystemTime>)| FileRead {
            path: path.to_owned(),
            time: *read_at.lock().unwrap_or_else(PoisonError::into_inner),
        };
        self.loader.files().into_iter().zip(&self.read_at).map(read).collect()
    }

    /// Uses the content of the files if it has changed and is usable.
    fn apply(&self, contents: &FileContents) -> PollOutcome {
        for (_, read_at) in contents.0.iter().zip(&self.read_at).filter(|(read, _)| read.is_ok()) {
            *read_at.lock().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
        }
        let name = self.loader.name().to_owned();
        let result = match self.load_if_changed(contents) {
            Ok(None) => {
                if self.failure.swap(None).is_some() {
                    tracing::info!(name, "the files again match the content in use");
                }
                Ok(Change::None)
            }
            Ok(Some(changed)) => {
                self.failure.store(None);
                self.reloads.fetch_add(1, Ordering::Relaxed);
                tracing::info!(name, "changed files are in use");
                self.loader.adopted(&changed.output);
                self.in_use.store(Arc::new(changed));
                Ok(Change::InUse)
            }
            Err(failure) => {
                self.loader.unusable();
                let error = failure.message.clone();
                if self.failure.load().as_deref() != Some(&failure) {
                    self.failed_states.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(name, error, "the files cannot be used; the last good content stays in use");
                }
                self.failure.store(Some(Arc::new(failure)));
                Err(error)
            }
        };
        PollOutcome { name, result }
    }

    /// The value that the files hold now. `None` if it is already in use. A state that failed before is tried again,
    /// because the result may depend on more than these files.
    fn load_if_changed(&self, contents: &FileContents) -> Result<Option<LoadedValue<L::Output>>, UnusableState> {
        let (fingerprint, in_use) = (Fingerprint::of(contents), self.in_use.load());
        if fingerprint == in_use.fingerprint {
            return Ok(None);
        }
        let loaded = self.loader.load(contents).and_then(|output| {
            self.loader.may_replace(&in_use.output, &output)?;
            Ok(output)
        });
        match loaded {
            Ok(output) => Ok(Some(LoadedValue { output, fingerprint })),
            Err(error) => Err(UnusableState { fingerprint, message: error.to_string() }),
        }
    }
}

impl<L: Loader> fmt::Debug for Reloaded<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reloaded({})", self.loader.name())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::clock::Clock;
    use crate::file_read;
    use crate::testing::HungFile;
    use crate::watched_files::{POLL_INTERVAL, run_refresh};
    use std::fs;

    /// Two files that are usable if their contents are equal.
    struct EqualPair([PathBuf; 2], AtomicU64);

    impl EqualPair {
        fn new(paths: [PathBuf; 2]) -> Self {
            Self(paths, AtomicU64::new(0))
        }

        fn unusable_polls(&self) -> u64 {
            self.1.load(Ordering::Relaxed)
        }

        fn put(&self, index: usize, text: &str) {
            fs::write(&self.0[index], text).unwrap();
        }
    }

    impl Loader for EqualPair {
        type Output = Arc<[u8]>;
        type Error = String;

        fn files(&self) -> Vec<&Path> {
            self.0.iter().map(PathBuf::as_path).collect()
        }

        fn load(&self, contents: &FileContents) -> Result<Arc<[u8]>, String> {
            let bytes = |index: usize| match contents.of(&self.0[index]) {
                Ok(content) => Ok(content.bytes()),
                Err(unreadable) => Err(unreadable.to_string()),
            };
            let (one, other) = (bytes(0)?, bytes(1)?);
            if one == other { Ok(one.into()) } else { Err("the files differ".to_owned()) }
        }

        fn name(&self) -> &str {
            "a pair"
        }

        fn unusable(&self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn pair() -> (tempfile::TempDir, EqualPair) {
        let directory = tempfile::tempdir().unwrap();
        let pair = EqualPair::new([directory.path().join("one"), directory.path().join("other")]);
        pair.put(0, "first");
        pair.put(1, "first");
        (directory, pair)
    }

    #[tokio::test]
    async fn an_unusable_state_counts_once_and_the_next_usable_one_is_loaded() {
        let (_directory, files) = pair();
        let reloaded = [Arc::new(Reloaded::load(EqualPair::new(files.0.clone())).unwrap())];
        let [only] = &reloaded;
        let counts = || (only.reloads(), only.failed_states(), only.loader.unusable_polls());
        poll(&reloaded).await;
        assert_eq!(counts(), (0, 0, 0));
        files.put(0, "second");
        poll(&reloaded).await;
        poll(&reloaded).await;
        assert_eq!(counts(), (0, 1, 2));
        fs::remove_file(&files.0[1]).unwrap();
        poll(&reloaded).await;
        poll(&reloaded).await;
        assert_eq!(counts(), (0, 2, 4));
        files.put(1, "other");
        poll(&reloaded).await;
        assert_eq!((counts(), &*only.current()), ((0, 3, 5), &b"first"[..]));
        files.put(1, "second");
        poll(&reloaded).await;
        assert_eq!((counts(), &*only.current()), ((1, 3, 5), &b"second"[..]));
    }

    #[tokio::test]
    async fn a_byte_that_moves_from_one_file_to_the_next_is_a_change() {
        let (_directory, files) = pair();
        let reloaded = [Arc::new(Reloaded::load(EqualPair::new(files.0.clone())).unwrap())];
        let [only] = &reloaded;
        files.put(0, "firs");
        files.put(1, "tfirst");
        poll(&reloaded).await;
        assert_eq!(only.failed_states(), 1);
    }

    #[tokio::test]
    async fn files_that_hang_delay_a_poll_once_and_only_their_own_value_stays_as_it_was() {
        let hung = [HungFile::new(), HungFile::new()];
        hung.iter().for_each(|file| file.replace("first"));
        let (_directory, files) = pair();
        let paths = [hung[0].path().to_owned(), hung[1].path().to_owned()];
        let reloaded = [paths, files.0.clone()].map(|paths| Arc::new(Reloaded::load(EqualPair::new(paths)).unwrap()));
        hung.iter().for_each(HungFile::hang);
        files.put(0, "second");
        files.put(1, "second");
        let start = Instant::now();
        let outcomes = poll(&reloaded).await;
        assert!(start.elapsed() < 2 * file_read::TIMEOUT, "the files are read side by side");
        let error = format!("{}: cannot be read: timed out", hung[0].path().display());
        assert_eq!((&outcomes[0].result, &outcomes[1].result), (&Err(error), &Ok(Change::InUse)));
        poll(&reloaded).await;
        assert_eq!((reloaded[0].failed_states(), reloaded[0].loader.unusable_polls()), (1, 2), "it is reported once");
        let age = |index: usize| reloaded[index].file_reads()[0].time.elapsed().unwrap();
        assert!(age(0) >= 2 * file_read::TIMEOUT && age(1) < file_read::TIMEOUT);
        hung.iter().for_each(|file| file.replace("third"));
        hung.iter().for_each(HungFile::release);
        assert_eq!(poll(&reloaded).await[0].result, Ok(Change::InUse));
    }

    #[tokio::test]
    async fn the_clock_decides_when_the_files_are_polled() {
        let (_directory, files) = pair();
        let reloaded = Arc::new(Reloaded::load(EqualPair::new(files.0.clone())).unwrap());
        let (clock, control) = Clock::manual();
        let watched = [Arc::clone(&reloaded)];
        let refresh = tokio::spawn(async move { run_refresh(&watched, &clock).await });
        files.put(0, "second");
        files.put(1, "second");
        let reload = async {
            while reloaded.reloads() == 0 {
                control.advance(POLL_INTERVAL);
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reload).await.unwrap();
        assert_eq!(&*reloaded.current(), b"second");
        refresh.abort();
    }
}
