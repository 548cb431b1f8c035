//! Notices a caller that hangs up while its request is in service (HTTP/1).
//!
//! hyper does not read from a connection while it serves a request. If it did, it would take a FIN for the end of the
//! caller. But a caller may close its sending side and still read the response (RFC 9112 section 9.6).
//!
//! A caller that is gone would then keep its permits until the provider answers. The gateway therefore asks the
//! kernel, which reports a FIN and a reset without a read:
//!
//! - After a reset nobody reads the response. The connection ends at once, with its request.
//! - After a FIN the caller may be gone or may wait for the response; TCP does not tell. The request goes on for
//!   `half_close_grace`. A response that has begun is delivered to its end.
//!
//! HTTP/2 needs none of this: hyper always reads from the connection, and callers reset single streams.
//!
//! Rejected: hyper without `half_close`, on a stream that holds the FIN back. hyper reads no further once it has a
//! byte of the next request, so one pipelined byte would hide the reset. Also rejected: a second descriptor for each
//! connection, because descriptors are scarce.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{Interest, Ready};

use crate::socket::Stream;

/// Watches the socket of one connection. Clones watch the same socket.
#[derive(Clone, Debug)]
pub(super) struct Hangup {
    stream: Arc<Stream>,
    grace: Duration,
}

impl Hangup {
    pub(super) fn of(stream: &Stream, grace: Duration) -> Self {
        Self { stream: Arc::new(stream.share()), grace }
    }

    /// Returns once the caller has reset the connection. A unix socket that is closed counts as reset.
    pub(super) async fn reset(&self) {
        let Ok(_) = closed(&self.stream).await else { return };
        // The event that closes the reading side also tells whether the caller can still be written to.
        let Ok(ready) = self.stream.ready(Interest::WRITABLE | Interest::ERROR).await else { return };
        if !ready.is_write_closed() && !ready.is_error() {
            // An error means that the runtime ends.
            let _ = self.stream.ready(Interest::ERROR).await;
        }
    }

    /// Returns once the caller has closed its sending side and the grace has passed.
    pub(super) async fn grace_ended(&self) {
        // An error means that the runtime ends.
        let _ = closed(&self.stream).await;
        tokio::time::sleep(self.grace).await;
    }
}

/// Waits for a FIN or a reset. Bytes that were not read do not matter: of the interests that include the end of the
/// reading side, `PRIORITY` is the one that is not satisfied by ordinary bytes.
#[cfg(any(target_os = "linux", target_os = "android"))]
async fn closed(stream: &Stream) -> io::Result<Ready> {
    stream.ready(Interest::PRIORITY | Interest::ERROR).await
}

/// Other systems are for development. There a caller's end is noticed when the response is written.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
async fn closed(_: &Stream) -> io::Result<Ready> {
    std::future::pending().await
}

#[cfg(test)]
#[cfg(any(target_os = "linux", target_os = "android"))]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;

    use super::*;
    use crate::socket::{Address, Socket};

    /// Watches one end of a TCP connection, from which nobody reads what the caller has sent.
    async fn connection_with_unread_bytes() -> (Hangup, TcpStream) {
        let socket = Socket::bind(&Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))).await.unwrap();
        let caller = TcpStream::connect(socket.address().unwrap().tcp().unwrap());
        let (accepted, caller) = tokio::join!(socket.accept(), caller);
        let ((stream, _), mut caller) = (accepted.unwrap(), caller.unwrap());
        caller.write_all(b"bytes that nobody reads").await.unwrap();
        stream.ready(Interest::READABLE).await.unwrap();
        (Hangup::of(&stream, Duration::ZERO), caller)
    }

    #[tokio::test]
    async fn a_reset_is_noticed_behind_unread_bytes() {
        let (hangup, caller) = connection_with_unread_bytes().await;
        assert!(hangup.reset().now_or_never().is_none());
        caller.set_zero_linger().unwrap();
        drop(caller);
        hangup.reset().await;
    }

    #[tokio::test]
    async fn a_fin_ends_the_grace_and_is_no_reset() {
        let (hangup, mut caller) = connection_with_unread_bytes().await;
        assert!(hangup.grace_ended().now_or_never().is_none());
        caller.shutdown().await.unwrap();
        hangup.grace_ended().await;
        assert!(hangup.reset().now_or_never().is_none());
        caller.set_zero_linger().unwrap();
        drop(caller);
        hangup.reset().await;
    }
}
