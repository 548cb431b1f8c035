//! What the changing requests of the admin listener do.

use std::pin::Pin;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::Notify;

use super::reload::{ReloadError, ReloadReport, Reloader};
use crate::admin::{Actions, Reloaded};

/// A request to stop. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<Notify>);

impl Stop {
    pub(super) async fn requested(&self) {
        self.0.notified().await;
    }
}

pub(super) struct Verbs {
    pub(super) reloader: Reloader,
    pub(super) stop: Stop,
}

impl Actions for Verbs {
    fn reload(&self) -> Pin<Box<dyn Future<Output = Reloaded> + Send>> {
        let reloader = self.reloader.clone();
        Box::pin(async move {
            match reloader.reload().await {
                Ok(ReloadReport { changed, unchanged, needs_restart, failed }) => Reloaded::Done(json!({
                    "reloaded": true,
                    "changed": changed,
                    "unchanged": unchanged,
                    "needs_restart": needs_restart,
                    "failed": failed,
                })),
                Err(ReloadError::Stopping) => Reloaded::Stopping,
                Err(ReloadError::Faulty(faults)) => Reloaded::Faulty(faults),
            }
        })
    }

    fn shut_down(&self) {
        // `notify_one` is remembered if no task waits yet.
        self.stop.0.notify_one();
    }
}
