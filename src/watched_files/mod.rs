//! A value that is loaded from files, and loaded again when the files change.
//!
//! The files are read every ten seconds, and their content is compared. Modification times do not help:
//! Kubernetes swaps a symbolic link, and other tools write in place.
//!
//! The hard case is a read while another program writes. The gateway then finds half a file, or a new
//! certificate beside the old key. If the value cannot be loaded, the last good value stays in use, the log
//! reports the error once, and the next poll tries again. A certificate chain that is cut between two
//! certificates looks complete. It is used until the next poll.
//!
//! All files of a poll are read side by side, each within [`file_read::TIMEOUT`](crate::file_read::TIMEOUT). A file
//! that cannot be read in time keeps its own value from changing, and delays the others by that time.
//!
//! Rejected: watching the directory. Network file systems and swapped links send no events, and a poll costs
//! a few small reads. Also rejected: reading the files at each use. A network file system that hangs would
//! block every TLS handshake.

mod content;
mod reloaded;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use content::{FileContent, FileContents, UnreadableFile};
pub(crate) use reloaded::{Change, FileRead, PollOutcome, Reloaded, poll};

use crate::clock::Clock;

/// How often the files are read. Certificates are renewed well before they expire, so more often is not needed. An
/// operator who has just replaced a file does not want to wait for minutes.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Loads a value from files.
pub(crate) trait Loader: Send + Sync + 'static {
    type Output: Clone + Send + Sync + 'static;
    type Error: fmt::Display + Send + 'static;

    fn files(&self) -> Vec<&Path>;

    /// # Errors
    /// If a file cannot be used, or the files do not fit together.
    fn load(&self, contents: &FileContents) -> Result<Self::Output, Self::Error>;

    /// The name of the value in the log.
    fn name(&self) -> &str;

    /// Called with all values of a poll, before any of them is loaded. For values that depend on each other.
    fn prepare(_polled: &[(&Self, &FileContents)])
    where
        Self: Sized,
    {
    }

    /// Whether the loaded value may take the place of the current one.
    ///
    /// # Errors
    /// If the current value must stay in use.
    fn may_replace(&self, _current: &Self::Output, _loaded: &Self::Output) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Called each time a value comes into use, also the first time.
    fn adopted(&self, _output: &Self::Output) {}

    /// Called at each poll that finds the files unusable.
    fn unusable(&self) {}
}

/// Loads the values again when their files have changed. Polls all of `watched` every [`POLL_INTERVAL`]. Never returns.
pub(crate) async fn run_refresh<L: Loader>(watched: &[Arc<Reloaded<L>>], clock: &Clock) {
    watched.iter().for_each(|reloaded| reloaded.report());
    loop {
        clock.sleep(POLL_INTERVAL).await;
        poll(watched).await;
    }
}
