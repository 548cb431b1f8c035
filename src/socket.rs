//! The sockets that callers connect to: TCP, or a unix socket with a file mode.
//!
//! The hard case is the mode of a unix socket. At no moment may more users connect than the mode allows, but
//! `bind` creates the file with a mode that depends on the umask. The gateway therefore binds the socket in a
//! private directory, sets the mode there, and moves the file into place. A rename is atomic.
//!
//! A socket file stays when its process ends. The gateway replaces a socket without a listener. It leaves alone a
//! socket that is in use, and a file that is not a socket. On shutdown it removes the file only if the file is
//! still its own: a new process may have replaced it.
//!
//! Rejected: setting the umask, because it applies to the whole process. Also rejected: a lock file beside the
//! socket. Without one, if two gateways start at the same moment, the later one wins.

mod stream;

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};

pub(crate) use stream::Stream;

/// The default mode of a unix socket: only the gateway's own user can connect.
pub(crate) const MODE: u32 = 0o600;

/// How many connections can wait to be accepted at a shared port. `TcpListener::bind` has the same number.
const BACKLOG: u32 = 1024;

/// An address that callers connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and port. With port 0, the system chooses a free port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix {
        /// The path of its file.
        path: PathBuf,
        /// The permission bits of its file. Connecting needs the permission to write.
        mode: u32,
    },
}

impl Address {
    /// Returns the TCP address; none for a unix socket.
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
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        path: PathBuf,
        mode: u32,
        /// Removes the file at the end. None if the file belongs to the service manager.
        _file: Option<SocketFile>,
    },
}

/// A socket that the service manager has bound.
#[derive(Debug)]
pub enum InheritedSocket {
    /// At an IP address and port.
    Tcp(std::net::TcpListener),
    /// A unix socket. Its file belongs to the service manager.
    Unix(std::os::unix::net::UnixListener),
}

impl InheritedSocket {
    /// Returns the address of the socket. The mode of a unix socket is that of its file.
    ///
    /// # Errors
    /// If the operating system does not report it.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?)),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
                let mode = fs::metadata(&path)?.mode() & 0o777;
                Ok(Address::Unix { path, mode })
            }
        }
    }
}

impl Socket {
    /// Binds the address. Callers wait in the kernel's queue until they are accepted.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub(crate) async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            Address::Unix { path, mode } => {
                // The socket is bound at another path, so `bind` does not check the length of this one.
                check_length(path)?;
                check_free(path).await?;
                let (listener, file) = SocketFile::bind(path, *mode)?;
                Ok(Self::Unix { listener, path: path.clone(), mode: *mode, _file: Some(file) })
            }
        }
    }

    /// Takes over a socket of the service manager, which keeps it. So callers can connect while this process restarts.
    ///
    /// # Errors
    /// If the socket cannot be used without blocking.
    pub(crate) fn adopt(inherited: InheritedSocket) -> io::Result<Self> {
        let address = inherited.address()?;
        match (inherited, address) {
            (InheritedSocket::Unix(listener), Address::Unix { path, mode }) => {
                listener.set_nonblocking(true)?;
                Ok(Self::Unix { listener: UnixListener::from_std(listener)?, path, mode, _file: None })
            }
            (InheritedSocket::Tcp(listener), Address::Tcp(_)) => {
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpListener::from_std(listener)?))
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Binds a TCP address that other processes of the same user can bind too (`SO_REUSEPORT`). The kernel spreads new
    /// connections over all of them.
    ///
    /// # Errors
    /// If the address cannot be bound, for instance because a process uses it that does not share it.
    pub(crate) fn bind_shared(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        Ok(Self::Tcp(socket.listen(BACKLOG)?))
    }

    /// The address in use. If port 0 is configured, it has the port that the system chose.
    ///
    /// # Errors
    /// If the operating system does not report it.
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?)),
            Self::Unix { path, mode, .. } => Ok(Address::Unix { path: path.clone(), mode: *mode }),
        }
    }

    /// Accepts the next connection. Returns the caller's address too, unless it uses a unix socket.
    ///
    /// # Errors
    /// If this connection cannot be accepted. The next one may succeed.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // It fails if this caller is gone already. The connection works without it.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(Arc::new(stream)), Some(peer)))
            }
            Self::Unix { listener, .. } => Ok((Stream::Unix(Arc::new(listener.accept().await?.0)), None)),
        }
    }
}

/// The file of a unix socket. Removes the file when dropped.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode. They distinguish this file from another one with the same path.
    identity: (u64, u64),
}

impl SocketFile {
    fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, Self)> {
        let directory = PrivateDirectory::beside(path)?;
        // One letter, because the path of a socket can have about a hundred bytes only.
        let temporary = directory.0.join("s");
        check_length(&temporary)?;
        let listener = UnixListener::bind(&temporary)?;
        fs::set_permissions(&temporary, Permissions::from_mode(mode))?;
        let identity = identity(&temporary)?;
        fs::rename(&temporary, path)?;
        Ok((listener, Self { path: path.to_owned(), identity }))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).ok() == Some(self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket file could not be removed");
        }
    }
}

/// A temporary directory that only our user can enter. Removes itself and its content when dropped.
struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    fn beside(path: &Path) -> io::Result<Self> {
        let name = format!(".{:08x}", fastrand::u32(..));
        let directory = path.with_file_name(name);
        DirBuilder::new().mode(0o700).create(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a temporary directory could not be removed");
        }
    }
}

/// Checks that a socket can have this path. The system limits it to about a hundred bytes.
fn check_length(path: &Path) -> io::Result<()> {
    let too_long =
        |_| io::Error::new(io::ErrorKind::InvalidInput, "the path is too long for a unix socket; use a shorter one");
    std::os::unix::net::SocketAddr::from_pathname(path).map(drop).map_err(too_long)
}

/// Checks that a socket may be created at `path`: there is no file, or a socket without a listener.
async fn check_free(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists and is not a socket"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(()),
        // Any other error, such as a missing permission: its process may be alive.
        Ok(_) | Err(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on this socket")),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
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
    async fn a_socket_without_a_listener_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let address = unix(&directory, MODE);
        drop(std::os::unix::net::UnixListener::bind(directory.path().join("gateway.sock")).unwrap());
        let live = Socket::bind(&address).await.unwrap();
        let refused = Socket::bind(&address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        let (accepted, connected) =
            tokio::join!(live.accept(), UnixStream::connect(directory.path().join("gateway.sock")));
        assert!(accepted.is_ok() && connected.is_ok(), "the failed bind did not change the socket in use");
    }

    #[tokio::test]
    async fn a_path_too_long_for_a_socket_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x".repeat(120));
        let refused = Socket::bind(&Address::Unix { path, mode: MODE }).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(names(&directory), [""; 0]);
    }

    #[tokio::test]
    async fn a_file_that_is_not_a_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.sock");
        fs::write(&path, "precious").unwrap();
        let refused = Socket::bind(&unix(&directory, MODE)).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn the_socket_file_of_another_process_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.sock");
        let socket = Socket::bind(&unix(&directory, MODE)).await.unwrap();
        // Kept under another name, so that the new file cannot have the same inode.
        fs::rename(&path, directory.path().join("old")).unwrap();
        let _successor = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }

    #[test]
    fn an_address_is_displayed_as_in_the_configuration() {
        assert_eq!(Address::from(SocketAddr::from(([127, 0, 0, 1], 8080))).to_string(), "127.0.0.1:8080");
        let unix = Address::Unix { path: "/run/gateway.sock".into(), mode: MODE };
        assert_eq!(unix.to_string(), "unix:/run/gateway.sock");
    }
}
