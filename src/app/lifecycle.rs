//! The events of a running gateway that a service manager wants to know.

use std::fmt;
use std::sync::Arc;

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

/// A function that gets each event. It must not block.
pub type LifecycleObserver = Arc<dyn Fn(LifecycleEvent<'_>) + Send + Sync>;

/// The observer, if there is one. Clones share it.
#[derive(Clone)]
pub(super) struct Lifecycle(pub(super) Option<LifecycleObserver>);

impl Lifecycle {
    pub(super) fn notify(&self, event: LifecycleEvent<'_>) {
        if let Some(observer) = &self.0 {
            observer(event);
        }
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lifecycle({})", self.0.is_some())
    }
}
