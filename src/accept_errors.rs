//! Classifies accept errors, and reports that connections cannot be accepted: once when that begins, and once when it
//! ends.
//!
//! A listener retries many times a second, and one log line for each would fill the disk and hide its cause.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::Instant;

/// The errors have ended if none occurs for this time. While descriptors are scarce, some accepts fail and some
/// succeed.
const QUIET: Duration = Duration::from_secs(1);

/// Whether only one caller is concerned: it closed its connection before the gateway accepted it.
pub(crate) fn concerns_one_caller(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// Whether a connection that is closed frees what was missing: a descriptor, or memory of the kernel.
pub(crate) fn lacks_resources(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// The pause after an accept that failed, most often for lack of file descriptors. Long enough not to busy-loop,
/// and short enough to go unnoticed once a descriptor is free.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The accept errors of the current period.
#[derive(Debug, Default)]
pub(crate) struct AcceptErrors(Option<Period>);

#[derive(Debug)]
struct Period {
    failures: u64,
    begun: Instant,
    last: Instant,
}

impl AcceptErrors {
    /// `listener` names the listener in the log.
    pub(crate) fn report(&mut self, listener: &'static str, error: &io::Error) {
        let now = Instant::now();
        if self.0.is_none() {
            tracing::warn!(listener, %error, "connections cannot be accepted");
        }
        let period = self.0.get_or_insert(Period { failures: 0, begun: now, last: now });
        period.failures += 1;
        period.last = now;
    }

    /// Returns once there was no error for a while after an error.
    pub(crate) async fn quiet(&self) {
        match &self.0 {
            Some(period) => tokio::time::sleep_until(period.last + QUIET).await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn report_end(&mut self, listener: &'static str) {
        if let Some(Period { failures, begun, last }) = self.0.take() {
            let seconds = (last - begun).as_secs_f64();
            tracing::info!(listener, failures, seconds, "connections are accepted again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_descriptors_or_memory_is_a_reason_to_close_another_connection() {
        for (errno, one_caller, resources) in [
            (Errno::MFILE, false, true),
            (Errno::NFILE, false, true),
            (Errno::NOBUFS, false, true),
            (Errno::NOMEM, false, true),
            (Errno::CONNABORTED, true, false),
            (Errno::CONNRESET, true, false),
            (Errno::PROTO, false, false),
            (Errno::PERM, false, false),
        ] {
            let error = io::Error::from(errno);
            assert_eq!((concerns_one_caller(&error), lacks_resources(&error)), (one_caller, resources), "{error}");
        }
    }
}
