//! The orderly shutdown, in three stages.
//!
//! hyper closes idle connections as soon as a shutdown begins. A request that is under way on such a connection
//! would be lost. The gateway therefore announces the shutdown first: it reports not ready and adds
//! `Connection: close` to each response, but still serves. Then it stops accepting, and requests in flight may
//! finish. At the drain deadline, the remaining requests are refused as `draining`.

use tokio_util::sync::CancellationToken;

/// The stage of the shutdown. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain {
    announced: CancellationToken,
    closed: CancellationToken,
    expired: CancellationToken,
}

impl Drain {
    /// First stage: callers are asked to connect elsewhere, and are still served.
    pub(crate) fn announce(&self) {
        self.announced.cancel();
    }

    /// Second stage: no new connections, and no further requests on open ones.
    pub(crate) fn close(&self) {
        self.announce();
        self.closed.cancel();
    }

    /// Third stage: requests still in flight are refused as `draining`.
    pub(crate) fn expire(&self) {
        self.close();
        self.expired.cancel();
    }

    #[must_use]
    pub(crate) fn is_announced(&self) -> bool {
        self.announced.is_cancelled()
    }

    /// Returns at the second stage.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Returns at the third stage.
    pub(crate) async fn expired(&self) {
        self.expired.cancelled().await;
    }
}
