//! Which failed attempts are repeated: only those that the provider cannot have processed.
//!
//! Four kinds of failures prove it.
//!
//! - **The provider refused the stream** (RFC 9113 sections 6.8 and 8.7): it reset the stream with
//!   `REFUSED_STREAM`, or sent `GOAWAY` with a last stream id below the stream's. nginx does so after 1,000
//!   requests on a connection. [`is_unprocessed`] says why the error cannot mean a stream that was processed.
//! - **No byte of the body was sent.** The HTTP client never asked the body for a piece (see [`Taken`]). This includes
//!   a connection that does not ask within [`MAX_STALL`]: all of its streams are in use, or it is going away.
//! - **The pool had no connection for the request.** hyper-util fails a request that waits for a connection of
//!   another request if that connection ends at once.
//! - **The provider refused the connection.** An egress that restarts does so for a moment. The request waits
//!   for the provider in steps of [`RECONNECT_PAUSE`], but at most until [`RESTART`] after the first refusal.
//!   A provider that stays down therefore delays only the requests of its first seconds.
//!
//! Everything else may have been processed: a connection that broke, a timeout, and a stream that was open when
//! the connection ended. In HTTP/1.1 this includes the close of a connection on which the request was written.
//! hyper-util itself repeats a request that it had not begun to write when the pooled connection closed
//! (`retry_canceled_requests`, on by default).

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use hyper_util::client::legacy;
use tokio::time::Instant;

use super::body::Taken;
use super::send::in_chain;
use super::turn::ConnectFailed;

/// How often a request that the provider refused to process is sent again. The second refusal can happen if
/// the new connection ends at once, as in a rolling restart. A third refusal means that the provider refuses on purpose.
pub(super) const MAX_RESENDS: u32 = 2;

/// How long a connection may leave a request in its queue. hyper can leave it there for ever if a `GOAWAY` arrives at the
/// wrong moment (hyper 1.12.0, h2 0.4.20, seen under load).
pub(super) const MAX_STALL: Duration = Duration::from_secs(2);

/// The pause before the next attempt to connect after a refusal.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// How long after the first refused connection requests still wait for the provider to come back. A process
/// that is restarted on the same machine listens again within a second or two.
const RESTART: Duration = Duration::from_secs(2);

/// Returns whether the provider cannot have processed the request of which `error` is the result.
///
/// `taken` belongs to the body of the attempt; `has_bytes` says whether that body had any.
///
/// Checked in h2 0.4.20, hyper 1.12.0 and hyper-util 0.1.21:
///
/// - `h2::Error::is_remote` is true for a received `RST_STREAM` or `GOAWAY` only (`error.rs`). A connection
///   that breaks is an I/O error or an error of h2's own (`Initiator::Library`).
/// - A reset carries the reason that the provider sent (`State::recv_reset`). `REFUSED_STREAM` states that
///   nothing was processed.
/// - `Inner::recv_go_away` (`proto/streams/streams.rs`) puts the `GOAWAY` into the streams with an id *above*
///   the last one. Streams up to the last one go on, and fail with another error if the connection ends.
///   `recv_go_away` in `send.rs` forbids a later `GOAWAY` to raise the last id.
/// - The hard case: h2 also keeps the `GOAWAY` as an error of the connection, and `SendRequest::poll_ready`
///   returns it (`ensure_no_conn_error`). hyper's `ClientTask::poll` (`proto/h2/client.rs`) calls `poll_ready`
///   right after `send_request` has opened the stream. If a `GOAWAY` arrives between the two calls, hyper
///   reports it for a stream that may be *below* the last id. A graceful `GOAWAY` with id 2^31-1 does that.
///   The error looks the same. But hyper hands the body to the stream only after this `poll_ready`
///   (`poll_pipe`, which polls the body at once). So if the body was taken, the error is the stream's own. If
///   it was not taken, no byte of it was sent, which is proof enough for a body that has bytes. A body without
///   bytes proves it if it ends separately ([`Outgoing::end_separately`](super::Outgoing::end_separately));
///   `send` asks for that, except for safe methods, where sending twice has no effect.
/// - The error of every stream becomes the `GOAWAY` if the *reading* of a frame returns it
///   (`handle_poll2_result`). Only `recv_push_promise` could do that, for a push on a refused stream. Push
///   is disabled here (hyper, `enable_push(false)`), so a provider that does that breaks the protocol twice.
/// - hyper returns `Canceled` for requests only that it never began (`client/dispatch.rs`: the `Envelope`
///   was not opened; `proto/h1/dispatch.rs`: it was still in the queue). hyper-util repeats these itself,
///   except on the first request of a connection.
pub(super) fn is_unprocessed(error: &legacy::Error, method: &Method, taken: &Taken, has_bytes: bool) -> bool {
    if error.is_connect() {
        return false;
    }
    if (has_bytes && taken.revoke()) || in_chain::<hyper::Error>(error).is_some_and(hyper::Error::is_canceled) {
        return true;
    }
    match in_chain::<h2::Error>(error) {
        Some(refused) if refused.is_remote() && refused.is_reset() => {
            refused.reason() == Some(h2::Reason::REFUSED_STREAM)
        }
        Some(refused) if refused.is_remote() && refused.is_go_away() => taken.get() || method.is_safe(),
        _ => false,
    }
}

/// The pauses of one request before it is sent again.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    pool: u32,
    refused_since: Option<Instant>,
}

impl Pauses {
    /// Returns the pause before the next attempt, if nothing was sent and another attempt may help.
    pub(super) fn next(&mut self, error: &legacy::Error, refused: &RefusedConnections) -> Option<Duration> {
        if !error.is_connect() {
            return None;
        }
        if in_chain::<ConnectFailed>(error).is_none() {
            return self.pool();
        }
        // A listener that closes resets the connections that it has not accepted yet.
        let is_refused = in_chain::<io::Error>(error)
            .is_some_and(|io| matches!(io.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset));
        if is_refused { self.refused(refused.note()) } else { None }
    }

    /// The pool had no connection: another request was about to connect, and either it has done so by now, or its
    /// connection has ended. The pauses grow, so that connections that end at once do not keep the request busy.
    fn pool(&mut self) -> Option<Duration> {
        const FIRST: Duration = Duration::from_millis(10);
        const MAX: u32 = 20;
        self.pool += 1;
        (self.pool <= MAX).then(|| FIRST * self.pool)
    }

    /// `since`: when the provider began to refuse connections. Requests that it accepts on older connections do not
    /// restart the wait of this request.
    fn refused(&mut self, since: Instant) -> Option<Duration> {
        let first = self.refused_since.get_or_insert(since);
        (first.elapsed() < RESTART).then_some(RECONNECT_PAUSE)
    }
}

/// Remembers since when the provider has refused connections. All clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct RefusedConnections(Arc<Mutex<Option<Outage>>>);

#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Instant,
    last: Instant,
}

impl RefusedConnections {
    /// The provider accepted a connection.
    pub(super) fn clear(&self) {
        *self.lock() = None;
    }

    /// Records a refused connection. Returns when the refusals began. Refusals of long ago belong to another outage.
    fn note(&self) -> Instant {
        let now = Instant::now();
        let mut outage = self.lock();
        let current = outage.filter(|outage| now.duration_since(outage.last) < RESTART);
        let since = current.map_or(now, |outage| outage.since);
        *outage = Some(Outage { since, last: now });
        since
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Outage>> {
        // A poisoned lock only means that another thread panicked: the value is complete.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_two_seconds_after_the_first_refused_connection() {
        let (refused, mut pauses) = (RefusedConnections::default(), Pauses::default());
        let mut waited = Duration::ZERO;
        while let Some(pause) = pauses.refused(refused.note()) {
            tokio::time::advance(pause).await;
            waited += pause;
            // Another request succeeded on an older connection.
            refused.clear();
        }
        assert_eq!(waited, RESTART);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_stays_down_delays_no_later_request_and_a_new_outage_does() {
        let refused = RefusedConnections::default();
        for _ in 0..30 {
            refused.note();
            tokio::time::advance(TENTH).await;
        }
        assert_eq!(Pauses::default().refused(refused.note()), None);
        tokio::time::advance(RESTART).await;
        assert_eq!(Pauses::default().refused(refused.note()), Some(RECONNECT_PAUSE));
    }

    #[test]
    fn the_pool_is_asked_again_a_limited_number_of_times() {
        let mut pauses = Pauses::default();
        let all: Vec<_> = std::iter::from_fn(|| pauses.pool()).collect();
        assert_eq!((all.len(), all[0], all[19]), (20, TENTH / 10, TENTH * 2));
    }
}
