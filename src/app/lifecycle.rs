//! The events of a running gateway that a service manager wants to know.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::reload::{ReloadError, ReloadReport};

/// What happens to a running gateway.
#[derive(Clone, Copy, Debug)]
pub enum LifecycleEvent<'a> {
    /// A reload begins.
    Reloading,
    /// A reload has ended.
    Reloaded(&'a Result<ReloadReport, ReloadError>),
    /// An orderly shutdown begins.
    Stopping,
}

/// A function that gets each event, one at a time, and none after [`LifecycleEvent::Stopping`]. It must not block.
pub type LifecycleObserver = Arc<dyn Fn(LifecycleEvent<'_>) + Send + Sync>;

/// The observer, if there is one. Clones share it.
#[derive(Clone)]
pub(super) struct Lifecycle(Option<Arc<Inner>>);

struct Inner {
    observer: LifecycleObserver,
    /// Locked during a call, so that no event of a reload follows the one of the shutdown.
    is_stopping: Mutex<bool>,
}

impl Lifecycle {
    pub(super) fn new(observer: Option<LifecycleObserver>) -> Self {
        Self(observer.map(|observer| Arc::new(Inner { observer, is_stopping: Mutex::default() })))
    }

    pub(super) fn notify(&self, event: LifecycleEvent<'_>) {
        let Some(Inner { observer, is_stopping }) = self.0.as_deref() else { return };
        // The value is whole even if the lock is poisoned: it is set before the observer is called.
        let mut is_stopping = is_stopping.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_stopping {
            *is_stopping = matches!(event, LifecycleEvent::Stopping);
            observer(event);
        }
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lifecycle({})", self.0.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_event_follows_the_one_of_the_shutdown() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let observer: LifecycleObserver = {
            let seen = Arc::clone(&seen);
            Arc::new(move |event| seen.lock().unwrap().push(format!("{event:?}")))
        };
        let lifecycle = Lifecycle::new(Some(observer));
        lifecycle.notify(LifecycleEvent::Reloading);
        lifecycle.notify(LifecycleEvent::Stopping);
        lifecycle.notify(LifecycleEvent::Reloaded(&Err(ReloadError::Stopping)));
        lifecycle.notify(LifecycleEvent::Stopping);
        assert_eq!(*seen.lock().unwrap(), ["Reloading", "Stopping"]);
    }
}
