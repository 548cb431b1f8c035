//! Permits for something that has a limit, such as requests in flight. A scrape can ask how many are in use.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Permits of which a limited number can be held at the same time. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Permits {
    semaphore: Arc<Semaphore>,
    limit: usize,
}

/// How much of a limit is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub used: usize,
    pub limit: usize,
}

impl Permits {
    /// At most `limit` permits, or as many as a semaphore can have.
    #[must_use]
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { semaphore: Arc::new(Semaphore::new(limit)), limit }
    }

    /// One permit, if one is free.
    pub(crate) fn try_borrow(&self) -> Option<SemaphorePermit<'_>> {
        self.semaphore.try_acquire().ok()
    }

    /// The same, without a borrow.
    pub(crate) fn try_acquire(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.semaphore).try_acquire_owned().ok()
    }

    /// `count` permits at once, if they are free.
    pub(crate) fn try_acquire_many(&self, count: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.semaphore).try_acquire_many_owned(count).ok()
    }

    #[must_use]
    pub(crate) fn usage(&self) -> Usage {
        Usage { used: self.limit.saturating_sub(self.semaphore.available_permits()), limit: self.limit }
    }
}

impl Usage {
    /// The used part of the limit, from 0 to 1. A limit of 0 is used up.
    #[must_use]
    pub(crate) fn ratio(self) -> f64 {
        if self.limit == 0 { 1.0 } else { self.used as f64 / self.limit as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_counts_the_permits_that_are_held() {
        let permits = Permits::new(4);
        let held = (permits.try_borrow().unwrap(), permits.try_acquire_many(2).unwrap());
        assert_eq!(permits.usage(), Usage { used: 3, limit: 4 });
        assert!(permits.try_acquire_many(2).is_none());
        drop(held);
        let usage = permits.usage();
        assert_eq!((usage.used, usage.ratio()), (0, 0.0));
        assert_eq!(Permits::new(usize::MAX).usage(), Usage { used: 0, limit: Semaphore::MAX_PERMITS });
    }
}
