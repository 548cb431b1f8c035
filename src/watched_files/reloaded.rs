//! A value in use, and its replacement when its files have changed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::Loader;
use super::content::{FileContents, Fingerprint};

/// A value loaded from files, which [`run_refresh`](super::run_refresh) keeps current.
pub(crate) struct Reloaded<L: Loader> {
    loader: Arc<L>,
    in_use: ArcSwap<LoadedValue<L::Output>>,
    /// The result of the last poll, if it failed.
    failure: ArcSwapOption<UnusableState>,
    reloads: AtomicU64,
    failed_states: AtomicU64,
    failed_polls: AtomicU64,
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

impl<L: Loader> Reloaded<L> {
    /// Loads the value for the first time. Blocks while the files are read.
    ///
    /// # Errors
    /// If the value cannot be loaded.
    pub(crate) fn load(loader: L) -> Result<Self, L::Error> {
        let contents = FileContents::read(loader.files());
        let output = loader.load(&contents)?;
        loader.adopted(&output);
        Ok(Self {
            loader: Arc::new(loader),
            in_use: ArcSwap::from_pointee(LoadedValue { output, fingerprint: Fingerprint::of(&contents) }),
            failure: ArcSwapOption::empty(),
            reloads: AtomicU64::new(0),
            failed_states: AtomicU64::new(0),
            failed_polls: AtomicU64::new(0),
        })
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

    /// How many polls found an unusable state. This keeps rising while the state lasts.
    #[must_use]
    pub(crate) fn failed_polls(&self) -> u64 {
        self.failed_polls.load(Ordering::Relaxed)
    }

    /// Reads the files once, and uses their content if it has changed and is usable.
    pub(crate) async fn poll(&self) {
        let (loader, in_use) = (Arc::clone(&self.loader), self.in_use.load().fingerprint.clone());
        // Not on the runtime's threads: reads from a network file system may hang.
        let polled = tokio::task::spawn_blocking(move || load_if_changed(&*loader, &in_use)).await;
        let name = self.loader.name();
        match polled {
            Ok(Ok(None)) => {
                if self.failure.swap(None).is_some() {
                    tracing::info!(name, "the files again match the content in use");
                }
            }
            Ok(Ok(Some(changed))) => {
                self.failure.store(None);
                self.reloads.fetch_add(1, Ordering::Relaxed);
                tracing::info!(name, "changed files are in use");
                self.loader.adopted(&changed.output);
                self.in_use.store(Arc::new(changed));
            }
            Ok(Err(failure)) => {
                self.failed_polls.fetch_add(1, Ordering::Relaxed);
                if self.failure.load().as_deref() != Some(&failure) {
                    self.failed_states.fetch_add(1, Ordering::Relaxed);
                    let error = &failure.message;
                    tracing::error!(name, error, "changed files cannot be used; the last good content stays in use");
                }
                self.failure.store(Some(Arc::new(failure)));
            }
            // The runtime is shutting down.
            Err(_) => {}
        }
    }
}

impl<L: Loader> fmt::Debug for Reloaded<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reloaded({})", self.loader.name())
    }
}

/// The value that the files hold now. `None` if it is already `in_use`. A state that failed before is tried again,
/// because the result may depend on more than these files.
fn load_if_changed<L: Loader>(
    loader: &L,
    in_use: &Fingerprint,
) -> Result<Option<LoadedValue<L::Output>>, UnusableState> {
    let contents = FileContents::read(loader.files());
    let fingerprint = Fingerprint::of(&contents);
    if fingerprint == *in_use {
        return Ok(None);
    }
    match loader.load(&contents) {
        Ok(output) => Ok(Some(LoadedValue { output, fingerprint })),
        Err(error) => Err(UnusableState { fingerprint, message: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::watched_files::{POLL_INTERVAL, run_refresh};

    /// Two files that are usable if their contents are equal.
    struct EqualPair([PathBuf; 2]);

    impl EqualPair {
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
    }

    fn pair() -> (tempfile::TempDir, EqualPair) {
        let directory = tempfile::tempdir().unwrap();
        let pair = EqualPair([directory.path().join("one"), directory.path().join("other")]);
        pair.put(0, "first");
        pair.put(1, "first");
        (directory, pair)
    }

    #[tokio::test]
    async fn an_unusable_state_counts_once_and_the_next_usable_one_is_loaded() {
        let (_directory, files) = pair();
        let reloaded = Reloaded::load(EqualPair(files.0.clone())).unwrap();
        let counts = || (reloaded.reloads(), reloaded.failed_states(), reloaded.failed_polls());
        reloaded.poll().await;
        assert_eq!(counts(), (0, 0, 0));
        files.put(0, "second");
        reloaded.poll().await;
        reloaded.poll().await;
        assert_eq!(counts(), (0, 1, 2));
        fs::remove_file(&files.0[1]).unwrap();
        reloaded.poll().await;
        reloaded.poll().await;
        assert_eq!(counts(), (0, 2, 4));
        files.put(1, "other");
        reloaded.poll().await;
        assert_eq!((counts(), &*reloaded.current()), ((0, 3, 5), &b"first"[..]));
        files.put(1, "second");
        reloaded.poll().await;
        assert_eq!((counts(), &*reloaded.current()), ((1, 3, 5), &b"second"[..]));
    }

    #[tokio::test]
    async fn a_byte_that_moves_from_one_file_to_the_next_is_a_change() {
        let (_directory, files) = pair();
        let reloaded = Reloaded::load(EqualPair(files.0.clone())).unwrap();
        files.put(0, "firs");
        files.put(1, "tfirst");
        reloaded.poll().await;
        assert_eq!(reloaded.failed_states(), 1);
    }

    #[tokio::test]
    async fn the_clock_decides_when_the_files_are_polled() {
        let (_directory, files) = pair();
        let reloaded = Arc::new(Reloaded::load(EqualPair(files.0.clone())).unwrap());
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
