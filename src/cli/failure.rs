//! Why a command failed, and the exit code for it.

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::output;

/// How long a command waits for the reader of stderr.
const REPORT_LIMIT: Duration = Duration::from_secs(1);

/// A failed command. The codes above 1 are those of sysexits.h, so that a supervisor can tell them apart.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Code 1: a failure that may not occur on another try.
    pub(super) fn new(message: impl Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// Code 69, `EX_UNAVAILABLE`: an address cannot be bound, or the provider cannot be reached.
    pub(super) fn unavailable(message: impl Display) -> Self {
        Self { code: 69, message: message.to_string() }
    }

    /// Code 78, `EX_CONFIG`: the configuration is faulty, and a restart would fail again.
    pub(super) fn config(message: impl Display) -> Self {
        Self { code: 78, message: message.to_string() }
    }

    /// Prints the reason to stderr and returns the exit code. Nobody may be reading stderr, and the process must end
    /// all the same, so this waits at most [`REPORT_LIMIT`].
    pub(super) fn report(self) -> ExitCode {
        let (printed, waiting) = mpsc::channel();
        // Without a thread the reason is lost, and the exit code remains.
        let _ = thread::Builder::new().spawn(move || {
            for line in self.message.lines() {
                output::note(line);
            }
            // If nobody waits any more, the process is about to end.
            let _ = printed.send(());
        });
        // Any result means the end: printed, no thread, or no reader.
        let _ = waiting.recv_timeout(REPORT_LIMIT);
        ExitCode::from(self.code)
    }
}

/// `?` turns any error into a failure with code 1.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}
