//! An orderly end, in three stages.
//!
//! hyper closes idle connections the moment it is told to stop, which loses a request that is
//! on its way over one of them. So the end is announced first: readiness is withdrawn and each
//! answer says `Connection: close`, while requests are still taken. Then the door is closed and
//! what is in flight may finish. What has not finished by the limit is told so.

use tokio_util::sync::CancellationToken;

/// The stages; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain {
    announced: CancellationToken,
    closed: CancellationToken,
    expired: CancellationToken,
}

impl Drain {
    /// First stage: callers are asked to go elsewhere, and are still served.
    pub(crate) fn announce(&self) {
        self.announced.cancel();
    }

    /// Second stage: no new connection, no further request on an old one.
    pub(crate) fn close(&self) {
        self.announce();
        self.closed.cancel();
    }

    /// Third stage: requests still in flight are answered `draining`.
    pub(crate) fn expire(&self) {
        self.close();
        self.expired.cancel();
    }

    /// Whether the first stage has been reached.
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
