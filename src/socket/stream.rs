//! The byte stream of a connection: TCP or a unix socket.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};

/// The byte stream of a connection. The socket can be shared, so that another task sees its state.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(Arc<TcpStream>),
    Unix(Arc<UnixStream>),
}

/// Calls `$method` on the socket of either kind.
macro_rules! either {
    ($stream:expr, $method:ident ( $($argument:expr),* )) => {
        match $stream {
            Stream::Tcp(stream) => stream.$method($($argument),*),
            Stream::Unix(stream) => stream.$method($($argument),*),
        }
    };
}

impl Stream {
    /// The first byte that the caller sends. The byte stays in the stream. None if the caller closes without a
    /// byte, and for a unix socket, which cannot peek.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) async fn peek(&self) -> io::Result<Option<u8>> {
        match self {
            Self::Tcp(stream) => {
                let mut first = [0];
                Ok((stream.peek(&mut first).await? == 1).then_some(first[0]))
            }
            Self::Unix(_) => Ok(None),
        }
    }

    /// The same socket. Only one of the two may read, and only one may write.
    pub(crate) fn share(&self) -> Self {
        match self {
            Self::Tcp(stream) => Self::Tcp(Arc::clone(stream)),
            Self::Unix(stream) => Self::Unix(Arc::clone(stream)),
        }
    }

    /// Waits until the socket is in one of these states.
    ///
    /// # Errors
    /// If the runtime ends.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(interest).await,
            Self::Unix(stream) => stream.ready(interest).await,
        }
    }

    /// Reads what has arrived. A read that does not fill the buffer has usually read everything, so the socket then
    /// counts as not readable. Without this, each request would cost one more read, which finds nothing. Exceptions are
    /// urgent data in TCP and descriptors in a unix socket. No HTTP caller sends them, and the head deadline ends such a
    /// connection.
    ///
    /// The hard case is a byte that arrives after the read and before the socket is marked. `try_io` takes the state
    /// of the socket before it calls its closure, and leaves the state alone if an event has changed it since.
    fn try_read(&self, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        let capacity = buffer.remaining();
        let mut read = Err(io::ErrorKind::WouldBlock.into());
        // The result says whether the socket was marked.
        let _ = either!(
            self,
            try_io(Interest::READABLE, || {
                read = either!(self, try_read_buf(buffer));
                match read {
                    Ok(length) if 0 < length && length < capacity => Err(io::ErrorKind::WouldBlock.into()),
                    _ => Ok(()),
                }
            })
        );
        read
    }

    /// Repeats `write` until it does not block.
    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&Self) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(either!(self, poll_write_ready(cx)))?;
            match write(self) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(either!(&*self, poll_read_ready(cx)))?;
            match self.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| either!(stream, try_write(bytes)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| either!(stream, try_write_vectored(slices)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: sockets have no buffer of their own in this process.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = match &*self {
            Self::Tcp(stream) => rustix::net::shutdown(stream, Shutdown::Write),
            Self::Unix(stream) => rustix::net::shutdown(stream, Shutdown::Write),
        };
        Poll::Ready(match shut {
            // The caller has already reset the connection.
            Ok(()) | Err(Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }
}
