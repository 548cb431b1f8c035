//! Why a command ended other than well, and the exit code that a supervisor can tell it by.

use std::fmt::Display;
use std::process::ExitCode;

use super::output;

/// Ended for a reason of its own kind; the codes are those of sysexits.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    why: String,
}

impl Failure {
    /// Something failed that another try may mend: 1.
    pub(super) fn new(why: impl Display) -> Self {
        Self { code: 1, why: why.to_string() }
    }

    /// An address that cannot be bound, or a provider that a command needs and cannot reach
    /// (`EX_UNAVAILABLE`).
    pub(super) fn unavailable(why: impl Display) -> Self {
        Self { code: 69, why: why.to_string() }
    }

    /// A configuration that another start will not mend (`EX_CONFIG`).
    pub(super) fn config(why: impl Display) -> Self {
        Self { code: 78, why: why.to_string() }
    }

    /// Says so on stderr.
    pub(super) fn report(&self) -> ExitCode {
        for line in self.why.lines() {
            output::note(line);
        }
        ExitCode::from(self.code)
    }
}

/// What `?` makes of an error: a failure of code 1.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}
