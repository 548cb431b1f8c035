//! What is counted about the connections to one provider.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of one upstream. They are handed in, because they outlive the client.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    opened: AtomicU64,
    failed: AtomicU64,
    reused: AtomicU64,
    resent: AtomicU64,
}

impl Counters {
    /// Connections that were opened, with TLS for https.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Attempts to connect that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Replies on a connection that had brought a reply before.
    pub(crate) fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }

    /// Requests that were sent again, because the provider cannot have processed them.
    pub(crate) fn resent(&self) -> u64 {
        self.resent.load(Ordering::Relaxed)
    }

    pub(super) fn connected(&self, succeeded: bool) {
        let counter = if succeeded { &self.opened } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_reused(&self) {
        self.reused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_resent(&self) {
        self.resent.fetch_add(1, Ordering::Relaxed);
    }
}
