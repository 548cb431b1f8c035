//! One connection attempt at a time to a provider that speaks HTTP/2.
//!
//! hyper-util starts a connection for every request that finds none in its pool. One HTTP/2 connection is enough for
//! all of them, but hyper-util knows only after the TLS handshake that the provider speaks HTTP/2. When a provider ends
//! its connection under load (`GOAWAY`), each request would begin a handshake of its own. Handshakes are the most
//! expensive step of a connection, so the next connection would come late.
//!
//! A request therefore waits for its turn to connect. If another one has connected in the meantime, it does not connect:
//! the pool has handed it the new connection, or [`resend`](super::resend) asks the pool again.
//!
//! A provider that speaks HTTP/1.1 needs a connection for each request in progress, and so there are no turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper_util::client::legacy::connect::Connection;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tower::BoxError;

use super::connection::ProviderStream;

/// The longest wait for a turn. Then the attempt before is slow or hangs, and another one may do better.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The turns of one upstream. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<State>);

#[derive(Debug)]
struct State {
    /// Whether the last connection spoke HTTP/2, or the next one is likely to.
    http2: AtomicBool,
    /// The number of HTTP/2 connections so far.
    made: AtomicU64,
    turn: Arc<Mutex<()>>,
}

/// The turn of a connection attempt, until it is dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Turns {
    /// `https`: whether TLS can negotiate HTTP/2.
    pub(super) fn new(https: bool) -> Self {
        Self(Arc::new(State { http2: https.into(), made: AtomicU64::default(), turn: Arc::default() }))
    }

    /// Connects when it is this attempt's turn. The stream keeps the turn until the provider's first bytes have
    /// arrived: then hyper-util has put the connection into its pool.
    ///
    /// # Errors
    /// [`ConnectFailed`] if `connecting` fails, [`Superseded`] if another attempt has connected.
    pub(super) async fn connect(
        &self,
        connecting: impl Future<Output = Result<ProviderStream, BoxError>>,
    ) -> Result<ProviderStream, BoxError> {
        let State { http2, made, turn } = &*self.0;
        let mut own = None;
        if http2.load(Ordering::Acquire) {
            let before = made.load(Ordering::Acquire);
            own = tokio::time::timeout(MAX_WAIT, Arc::clone(turn).lock_owned()).await.ok();
            if own.is_some() && made.load(Ordering::Acquire) != before {
                return Err(Superseded.into());
            }
            if !http2.load(Ordering::Acquire) {
                own = None;
            }
        }
        let stream = connecting.await.map_err(ConnectFailed)?;
        let negotiated = stream.connected().is_negotiated_h2();
        http2.store(negotiated, Ordering::Release);
        if !negotiated {
            return Ok(stream);
        }
        made.fetch_add(1, Ordering::AcqRel);
        Ok(stream.with_turn(own))
    }
}

/// There is no connection. Errors to connect without it are those of hyper-util's pool, or [`Superseded`].
#[derive(Debug, thiserror::Error)]
#[error("no connection")]
pub(super) struct ConnectFailed(#[source] BoxError);

/// Another attempt has connected in the meantime.
#[derive(Debug, thiserror::Error)]
#[error("another attempt to connect succeeded")]
struct Superseded;
