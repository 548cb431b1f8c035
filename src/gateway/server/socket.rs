//! Where callers connect: TCP, or a unix socket whose mode says who may.
//!
//! A unix socket must at no moment let in more than its mode does, and binding makes it with what
//! the umask leaves. So it is bound in a directory that is ours alone, gets its mode there, and is
//! then moved into place; a rename is atomic.
//!
//! A socket file outlives its process. One that nobody listens on is replaced, one that is in use
//! is not, and what is no socket is never touched. At the end the file is removed if it is still
//! the one we made: a successor may have put its own there.
//!
//! Rejected: setting the umask, which is the whole process's, and a lock file beside the socket.
//! Without one, of two gateways that start at the same moment the later wins.

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// The mode of a unix socket unless set: only our own user connects.
pub(crate) const MODE: u32 = 0o600;

/// Where callers connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix {
        /// Its file.
        path: PathBuf,
        /// The permission bits of the file: connecting takes the right to write.
        mode: u32,
    },
}

impl Address {
    /// The address on the network, if it is one.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix { .. } => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// `127.0.0.1:8080`, or `unix:/run/gateway.sock`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound socket.
#[derive(Debug)]
pub(crate) enum Socket {
    /// On the network.
    Tcp(TcpListener),
    /// In the file system.
    Unix(UnixListener, SocketFile),
}

impl Socket {
    /// Binds; callers queue in the kernel until they are accepted.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            Address::Unix { path, mode } => {
                // Bound elsewhere and moved there, a name too long to connect to would go unnoticed.
                check_length(path)?;
                check_free(path).await?;
                let (listener, file) = SocketFile::bind(path, *mode)?;
                Ok(Self::Unix(listener, file))
            }
        }
    }

    /// The address in use; with port 0 configured, the port the system chose.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?)),
            Self::Unix(_, file) => Ok(Address::Unix { path: file.path.clone(), mode: file.mode }),
        }
    }

    /// The next caller.
    ///
    /// # Errors
    /// What the system says; the next one may be accepted all the same.
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

/// The file of a unix socket; removed with it.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    mode: u32,
    /// Device and inode: what tells our file from another of the same name.
    identity: (u64, u64),
}

impl SocketFile {
    fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, Self)> {
        let workshop = Workshop::beside(path)?;
        // As short as can be: the whole path of a socket has about a hundred bytes.
        let made = workshop.0.join("s");
        check_length(&made)?;
        let listener = UnixListener::bind(&made)?;
        fs::set_permissions(&made, Permissions::from_mode(mode))?;
        let identity = identity(&made)?;
        fs::rename(&made, path)?;
        Ok((listener, Self { path: path.to_owned(), mode, identity }))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).ok() == Some(self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket's file could not be removed");
        }
    }
}

/// A directory that nobody else can look into; removed with what a failure left in it.
struct Workshop(PathBuf);

impl Workshop {
    fn beside(path: &Path) -> io::Result<Self> {
        let name = format!(".{:08x}", fastrand::u32(..));
        let directory = path.with_file_name(name);
        DirBuilder::new().mode(0o700).create(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a temporary directory could not be removed");
        }
    }
}

/// A socket's whole path has about a hundred bytes, here and in the directory in which it is made.
fn check_length(path: &Path) -> io::Result<()> {
    let too_long =
        |_| io::Error::new(io::ErrorKind::InvalidInput, "the path is too long for a socket, by a few bytes or more");
    std::os::unix::net::SocketAddr::from_pathname(path).map(drop).map_err(too_long)
}

/// That a socket may be put at `path`: nothing is there, or a socket on which nobody listens.
async fn check_free(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(()),
        // Also one that we may not ask: whoever made it may be alive.
        Ok(_) | Err(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// A caller's connection, as bytes.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over the network.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
}

impl Stream {
    /// The first byte the caller sends, left where it is. None for a unix socket, whose bytes can
    /// only be taken, and for a caller that sends nothing.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) async fn peek(&self) -> io::Result<Option<u8>> {
        match self {
            Self::Tcp(stream) => {
                let mut first = [0];
                Ok((stream.peek(&mut first).await? == 1).then_some(first[0]))
            }
            Self::Unix(_) => Ok(None),
        }
    }
}

/// `$method` of whichever stream it is.
macro_rules! either {
    ($stream:expr, $method:ident ( $($argument:expr),* )) => {
        match $stream {
            Stream::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(&mut *self, poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut *self, poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(directory: &tempfile::TempDir, mode: u32) -> Address {
        Address::Unix { path: directory.path().join("gateway.sock"), mode }
    }

    fn names(directory: &tempfile::TempDir) -> Vec<String> {
        let entries = fs::read_dir(directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_unix_socket_has_its_mode_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let address = unix(&directory, 0o660);
        let socket = Socket::bind(&address).await.unwrap();
        assert_eq!(socket.address().unwrap(), address);
        assert_eq!(names(&directory), ["gateway.sock"]);
        let mode = fs::metadata(directory.path().join("gateway.sock")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o660);
        drop(socket);
        assert_eq!(names(&directory), [""; 0]);
    }

    #[tokio::test]
    async fn a_socket_that_nobody_listens_on_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let address = unix(&directory, MODE);
        drop(std::os::unix::net::UnixListener::bind(directory.path().join("gateway.sock")).unwrap());
        let live = Socket::bind(&address).await.unwrap();
        let refused = Socket::bind(&address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        let (accepted, asked) = tokio::join!(live.accept(), UnixStream::connect(directory.path().join("gateway.sock")));
        assert!(accepted.is_ok() && asked.is_ok(), "the refused one left it as it was");
    }

    #[tokio::test]
    async fn a_path_that_nobody_could_connect_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x".repeat(120));
        let refused = Socket::bind(&Address::Unix { path, mode: MODE }).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(names(&directory), [""; 0]);
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.sock");
        fs::write(&path, "precious").unwrap();
        let refused = Socket::bind(&unix(&directory, MODE)).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn the_file_of_a_successor_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.sock");
        let socket = Socket::bind(&unix(&directory, MODE)).await.unwrap();
        // Kept under another name, so that its inode is not given to the next.
        fs::rename(&path, directory.path().join("old")).unwrap();
        let _successor = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }

    #[test]
    fn an_address_is_shown_as_it_is_written() {
        assert_eq!(Address::from(SocketAddr::from(([127, 0, 0, 1], 8080))).to_string(), "127.0.0.1:8080");
        let unix = Address::Unix { path: "/run/gateway.sock".into(), mode: MODE };
        assert_eq!(unix.to_string(), "unix:/run/gateway.sock");
    }
}
