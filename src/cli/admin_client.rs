//! A client of the admin listener, for the commands `reload`, `health`, `wait` and `shutdown`.
//!
//! One connection for each request, over TCP or a unix socket. Each request has a time limit, so a command always ends.
//! The address is the one that the gateway binds: `0.0.0.0` in it means this machine, so that one variable can serve both
//! in a container.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::failure::Failure;
use crate::admin;
use crate::config::Environment;
use crate::error_chain::chain;
use crate::secret::SecretSource;
use crate::socket;

/// The limit for an answer that is read. The gateway's own ones are much smaller.
const MAX_ANSWER: usize = 1024 * 1024;

#[derive(clap::Args)]
pub(super) struct AdminArguments {
    /// The admin listener: IP:PORT or unix:PATH [default: 127.0.0.1:8081] [env: JWE_GATEWAY_ADMIN]
    #[arg(long, value_name = "ADDRESS", value_parser = parse)]
    admin: Option<Address>,
}

/// The arguments of a command that changes something.
#[derive(clap::Args)]
pub(super) struct VerbArguments {
    #[command(flatten)]
    admin: AdminArguments,
    /// The file with the token: token_file under [admin] of the gateway
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// An answer of the admin listener.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    #[error("no gateway answers at {address}: {cause}; is it running, and is this its [admin] address?")]
    Unreachable { address: String, cause: String },
    #[error("{address} does not answer as the admin listener of a gateway: {cause}")]
    Broken { address: String, cause: String },
    #[error("no answer from {address} within {} s", .limit.as_secs())]
    Timeout { address: String, limit: Duration },
}

pub(super) struct AdminClient {
    address: Address,
    token: Option<HeaderValue>,
}

impl AdminArguments {
    /// A client for requests that change nothing.
    pub(super) fn client(self) -> Result<AdminClient, Failure> {
        let variable = || Environment::of_process().admin_address().map(|text| parse(&text)).transpose();
        let address = match self.admin {
            Some(address) => address,
            None => variable()
                .map_err(|error| Failure::config(format!("JWE_GATEWAY_ADMIN: {error}")))?
                .unwrap_or(Address::Tcp(admin::ADDRESS)),
        };
        Ok(AdminClient { address, token: None })
    }
}

impl VerbArguments {
    /// A client with the token.
    pub(super) async fn client(self) -> Result<AdminClient, Failure> {
        let client = self.admin.client()?;
        let Some(file) = self.token_file else { return Ok(client) };
        let token = SecretSource::File(file).read_line_async().await.map_err(Failure::config)?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|_| Failure::config("the token contains characters that a header cannot carry"))?;
        value.set_sensitive(true);
        Ok(AdminClient { token: Some(value), ..client })
    }
}

impl AdminClient {
    /// A client of the admin listener with this configured address, for requests that change nothing.
    pub(super) fn of(address: &socket::Address) -> Self {
        let address = match address {
            socket::Address::Tcp(address) => Address::Tcp(reachable(*address)),
            socket::Address::Unix { path, .. } => Address::Unix(path.clone()),
        };
        Self { address, token: None }
    }

    /// Whether a gateway answers within `limit`.
    pub(super) async fn finds_gateway(&self, limit: Duration) -> bool {
        let answer = self.send(Method::GET, "/livez", limit).await;
        answer.is_ok_and(|answer| answer.status == StatusCode::OK && answer.body == "alive\n")
    }

    /// Sends a request that changes something.
    ///
    /// # Errors
    /// Without an answer [`Failure::unavailable`]: a supervisor can tell a gateway that is not there from one that refuses.
    pub(super) async fn post(&self, path: &str, limit: Duration) -> Result<Answer, Failure> {
        self.send(Method::POST, path, limit).await.map_err(Failure::unavailable)
    }

    /// Sends a request. Connecting, sending and the whole answer take at most `limit`.
    pub(super) async fn send(&self, method: Method, path: &str, limit: Duration) -> Result<Answer, AdminError> {
        let address = || self.address.to_string();
        let unreachable = |cause: io::Error| AdminError::Unreachable { address: address(), cause: cause.to_string() };
        let sending = async {
            match &self.address {
                Address::Tcp(tcp) => {
                    self.exchange(TcpStream::connect(tcp).await.map_err(unreachable)?, method, path).await
                }
                Address::Unix(path_of_socket) => {
                    let stream = UnixStream::connect(path_of_socket).await.map_err(unreachable)?;
                    self.exchange(stream, method, path).await
                }
            }
        };
        let timeout = |_| AdminError::Timeout { address: address(), limit };
        tokio::time::timeout(limit, sending).await.map_err(timeout)?
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        method: Method,
        path: &str,
    ) -> Result<Answer, AdminError> {
        let broken = |cause: String| AdminError::Broken { address: self.address.to_string(), cause };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(chain(&error)))?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|error: http::uri::InvalidUri| broken(error.to_string()))?;
        // The listener accepts this name at every address.
        request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| broken(chain(&error)))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| broken(error.to_string()))?.to_bytes();
            Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
        };
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            // The last bytes may have arrived together with the end of the connection.
            _ = connection => answer.await,
        }
    }
}

impl fmt::Display for AdminClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Answer {
    /// The text of a refusal, as one line.
    pub(super) fn refusal(&self) -> String {
        format!("{}: {}", self.status.as_u16(), self.body.trim_end().escape_debug())
    }
}

fn parse(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Address::Unix(path.into()));
    }
    let address: SocketAddr = text.parse().map_err(|_| format!("{text:?} is neither IP:PORT nor unix:PATH"))?;
    Ok(Address::Tcp(reachable(address)))
}

/// An address of this machine in place of the one that means all of them.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_the_configuration_and_all_addresses_mean_this_machine() {
        let parsed = |text| parse(text).map(|address| address.to_string());
        for (text, address) in [
            ("10.0.0.1:8081", "10.0.0.1:8081"),
            ("0.0.0.0:8081", "127.0.0.1:8081"),
            ("[::]:8081", "[::1]:8081"),
            ("unix:/run/admin.sock", "unix:/run/admin.sock"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(address));
        }
        assert!(parsed("localhost:8081").unwrap_err().contains("neither IP:PORT nor unix:PATH"));
    }
}
