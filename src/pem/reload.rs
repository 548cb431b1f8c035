//! What is made of PEM files, made anew when they change.
//!
//! The files are read again every ten seconds, and what they hold is compared, not when they were
//! written: Kubernetes swaps a symbolic link, other tools write in place. The hard case is a reader
//! that comes while they write, and finds half a file, or a new certificate beside the old key.
//! Such a state is not taken; what was in use stays, the log says so once, and the next look may
//! find it mended. A chain cut between two certificates looks whole, and lasts until that look.
//!
//! Rejected: watching the directory. Network file systems and swapped links tell nobody; a look
//! every ten seconds costs a few small reads. Rejected, too: reading at each use. A file on a network
//! that hangs would hang whoever shakes hands.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, Digest, SHA256};

use super::{BadPem, PemFile};
use crate::clock::Clock;

/// Between two looks at the files: a certificate is renewed well before its end, and nobody who
/// has just put a new one there wants to wait for minutes.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// How something is made of files.
pub(crate) trait Loader: Send + Sync + 'static {
    /// What is made.
    type Output: Clone + Send + Sync + 'static;
    /// Why it cannot be.
    type Fault: fmt::Display + From<BadPem> + Send + 'static;

    /// The files it is made of.
    fn files(&self) -> Vec<&Path>;

    /// Makes it.
    ///
    /// # Errors
    /// When the files cannot be used, by themselves or together.
    fn make(&self, contents: &FileContents) -> Result<Self::Output, Self::Fault>;

    /// What the log calls it.
    fn name(&self) -> &str;

    /// It is in use from now on.
    fn adopted(&self, _made: &Self::Output) {}
}

/// Files as they were at one moment.
#[derive(Debug)]
pub(crate) struct FileContents(Vec<PemFile>);

impl FileContents {
    /// What the file at `path` held.
    ///
    /// # Errors
    /// When the recipe did not name it among its [`files`](Loader::files).
    pub(crate) fn of(&self, path: &Path) -> Result<&PemFile, BadPem> {
        let unnamed = || BadPem::Unreadable { path: path.to_owned(), cause: io::ErrorKind::NotFound };
        self.0.iter().find(|file| file.path == path).ok_or_else(unnamed)
    }

    fn read<R: Loader>(loader: &R) -> Result<Self, R::Fault> {
        let contents: Result<Vec<_>, BadPem> = loader.files().into_iter().map(PemFile::read).collect();
        Ok(Self(contents?))
    }
}

/// Something made of files, current.
pub(crate) struct Reloaded<R: Loader> {
    loader: Arc<R>,
    in_use: ArcSwap<InUse<R::Output>>,
    taken: AtomicU64,
    refused: AtomicU64,
}

struct InUse<T> {
    made: T,
    fingerprint: Fingerprint,
}

impl<R: Loader> Reloaded<R> {
    /// Makes it for the first time. Blocks, for as long as it takes to read the files.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn load(loader: R) -> Result<Self, R::Fault> {
        let contents = FileContents::read(&loader)?;
        let made = loader.make(&contents)?;
        loader.adopted(&made);
        let in_use = ArcSwap::from_pointee(InUse { made, fingerprint: Fingerprint::of(&contents) });
        Ok(Self { loader: Arc::new(loader), in_use, taken: AtomicU64::new(0), refused: AtomicU64::new(0) })
    }

    /// The last that could be made.
    #[must_use]
    pub(crate) fn current(&self) -> R::Output {
        self.in_use.load().made.clone()
    }

    /// Changes of the files that were taken since the start.
    #[must_use]
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// States of the files that could not be used; each counts once, however long it lasts.
    #[must_use]
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Follows the files. Never ends.
    pub(crate) async fn run_refresh(self: Arc<Self>, clock: Clock) {
        let mut trouble = None;
        loop {
            clock.sleep(POLL_INTERVAL).await;
            trouble = self.poll(trouble).await;
        }
    }

    /// Takes what the files hold now, if it is new. `known` is the trouble that was found last; that
    /// found now is returned.
    async fn poll(&self, known: Option<Trouble>) -> Option<Trouble> {
        let (loader, in_use) = (Arc::clone(&self.loader), self.in_use.load().fingerprint.clone());
        let broken = known.as_ref().and_then(|known| known.fingerprint.clone());
        // Off the runtime's threads: a mounted file may be on a network.
        let looked = tokio::task::spawn_blocking(move || examine(&*loader, &in_use, broken.as_ref())).await;
        let name = self.loader.name();
        match looked {
            Ok(Found::Same) => {
                if known.is_some() {
                    tracing::info!(name, "the files are again those in use");
                }
                None
            }
            Ok(Found::New(new)) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                tracing::info!(name, "changed files were taken into use");
                self.loader.adopted(&new.made);
                self.in_use.store(Arc::new(new));
                None
            }
            Ok(Found::Broken(trouble)) => {
                if known.as_ref() != Some(&trouble) {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    let error = &trouble.message;
                    tracing::error!(name, error, "the files cannot be used; the former ones stay in use");
                }
                Some(trouble)
            }
            // Told already, or the runtime is going down.
            Ok(Found::StillBroken) | Err(_) => known,
        }
    }
}

impl<R: Loader> fmt::Debug for Reloaded<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reloaded({})", self.loader.name())
    }
}

/// A state of the files that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    /// None when they could not even be read.
    fingerprint: Option<Fingerprint>,
    message: String,
}

enum Found<T> {
    Same,
    New(InUse<T>),
    Broken(Trouble),
    StillBroken,
}

fn examine<R: Loader>(loader: &R, in_use: &Fingerprint, broken: Option<&Fingerprint>) -> Found<R::Output> {
    let trouble = |fingerprint, fault: R::Fault| Found::Broken(Trouble { fingerprint, message: fault.to_string() });
    let contents = match FileContents::read(loader) {
        Ok(contents) => contents,
        Err(fault) => return trouble(None, fault),
    };
    let fingerprint = Fingerprint::of(&contents);
    if fingerprint == *in_use {
        return Found::Same;
    }
    if Some(&fingerprint) == broken {
        return Found::StillBroken;
    }
    match loader.make(&contents) {
        Ok(made) => Found::New(InUse { made, fingerprint }),
        Err(fault) => trouble(Some(fingerprint), fault),
    }
}

/// What tells one state of the files from another, and nothing about a key in them.
#[derive(Clone)]
struct Fingerprint(Digest);

impl Fingerprint {
    fn of(contents: &FileContents) -> Self {
        let mut context = Context::new(&SHA256);
        for file in &contents.0 {
            // With its length, so that no byte can move from one file to the next unseen.
            context.update(&(file.bytes.len() as u64).to_be_bytes());
            context.update(&file.bytes);
        }
        Self(context.finish())
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref() == other.0.as_ref()
    }
}

impl Eq for Fingerprint {}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Two files that go together when they are alike.
    struct Alike([PathBuf; 2]);

    impl Alike {
        fn put(&self, index: usize, text: &str) {
            std::fs::write(&self.0[index], text).unwrap();
        }
    }

    impl Loader for Alike {
        type Output = Arc<[u8]>;
        type Fault = BadPem;

        fn files(&self) -> Vec<&Path> {
            self.0.iter().map(PathBuf::as_path).collect()
        }

        fn make(&self, contents: &FileContents) -> Result<Arc<[u8]>, BadPem> {
            let (one, other) = (contents.of(&self.0[0])?, contents.of(&self.0[1])?);
            if one.bytes == other.bytes {
                Ok(one.bytes.as_slice().into())
            } else {
                Err(BadPem::NoCertificate(one.path().to_owned()))
            }
        }

        fn name(&self) -> &str {
            "a pair"
        }
    }

    fn pair() -> (tempfile::TempDir, Alike) {
        let directory = tempfile::tempdir().unwrap();
        let pair = Alike([directory.path().join("one"), directory.path().join("other")]);
        pair.put(0, "first");
        pair.put(1, "first");
        (directory, pair)
    }

    #[tokio::test]
    async fn a_broken_state_is_not_taken_and_counts_once_and_a_good_one_is() {
        let (_directory, files) = pair();
        let made = Reloaded::load(Alike(files.0.clone())).unwrap();
        let counts = || (made.taken(), made.refused());
        assert_eq!(made.poll(None).await, None);
        files.put(0, "second");
        let trouble = made.poll(None).await;
        let trouble = made.poll(trouble).await;
        assert_eq!(counts(), (0, 1), "{trouble:?}");
        std::fs::remove_file(&files.0[1]).unwrap();
        let trouble = made.poll(trouble).await;
        let trouble = made.poll(trouble).await;
        assert_eq!(counts(), (0, 2), "{trouble:?}");
        files.put(1, "other");
        let trouble = made.poll(trouble).await;
        assert_eq!((counts(), &*made.current()), ((0, 3), &b"first"[..]), "{trouble:?}");
        files.put(1, "second");
        assert_eq!(made.poll(trouble).await, None);
        assert_eq!((counts(), &*made.current()), ((1, 3), &b"second"[..]));
    }

    #[tokio::test]
    async fn a_byte_that_moves_from_one_file_to_the_next_is_a_change() {
        let (_directory, files) = pair();
        let made = Reloaded::load(Alike(files.0.clone())).unwrap();
        files.put(0, "firs");
        files.put(1, "tfirst");
        assert!(made.poll(None).await.is_some());
    }

    #[tokio::test]
    async fn files_are_followed_by_the_clock() {
        let (_directory, files) = pair();
        let made = Arc::new(Reloaded::load(Alike(files.0.clone())).unwrap());
        let (clock, control) = Clock::manual();
        let keeper = tokio::spawn(Arc::clone(&made).run_refresh(clock));
        files.put(0, "second");
        files.put(1, "second");
        let taken = async {
            while made.taken() == 0 {
                control.advance(POLL_INTERVAL);
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), taken).await.unwrap();
        assert_eq!(&*made.current(), b"second");
        keeper.abort();
    }
}
