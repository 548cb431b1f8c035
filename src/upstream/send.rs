//! Sends a request to the provider, and classifies the errors.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, InvalidUri, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, Uri};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy;
use tokio::time::Instant;
use tower::timeout::error::Elapsed;

use super::body::{InClear, Outgoing, Repeat, Taken};
use super::client::{Connector, DataClient};
use super::connection::{Noted, ProviderPeer, UsedConnection};
use super::resend::{MAX_RESENDS, MAX_STALL, Pauses, RefusedConnections, is_unprocessed};
use super::{Config, ConnectorError, Counters};
use crate::error_chain;
use crate::path_prefix::PathPrefix;

/// The head of a request to the provider.
#[derive(Debug)]
pub(crate) struct Head {
    pub method: Method,
    /// Path and query, without the provider's base path.
    pub target: PathAndQuery,
    pub headers: HeaderMap,
}

/// The provider, as the exchange sees it.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamClient {
    client: DataClient,
    scheme: Scheme,
    authority: Authority,
    base_path: PathPrefix,
    in_clear: Option<InClear>,
    reply: Duration,
    idle: Duration,
    pool_idle: Duration,
    refused: RefusedConnections,
    counters: Arc<Counters>,
}

impl UpstreamClient {
    /// Makes no connection: the first request does.
    ///
    /// # Errors
    /// If the configured URL cannot be used in a request, or is https and there is no trusted root.
    pub(crate) fn new(config: &Config, connector: &Connector, counters: Arc<Counters>) -> Result<Self, ConnectorError> {
        let uri: Uri =
            config.url.as_str().parse().map_err(|cause: InvalidUri| ConnectorError::Url(cause.to_string()))?;
        let client = connector.data_client(&uri, config, Arc::clone(&counters));
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(ConnectorError::Url("has no scheme or no host".into()));
        };
        if scheme == Scheme::HTTPS {
            connector.require_roots()?;
        }
        Ok(Self {
            client,
            scheme,
            authority,
            base_path: PathPrefix::base_path(&config.url),
            in_clear: config.in_clear.then(InClear::allowed),
            reply: config.reply,
            idle: config.idle,
            pool_idle: config.pool_idle,
            refused: RefusedConnections::default(),
            counters,
        })
    }

    /// Returns the permit to send bodies in clear, if the configuration gives it.
    #[must_use]
    pub(crate) fn in_clear(&self) -> Option<InClear> {
        self.in_clear
    }

    /// Returns the limit between two pieces of a reply's body.
    #[must_use]
    pub(crate) fn idle(&self) -> Duration {
        self.idle
    }

    /// Sends a request and returns when the head of the reply has arrived. Scheme and authority come from the
    /// configuration; the target is appended to the configured base path byte for byte. A request that the provider
    /// cannot have processed is sent again within the same deadline: see [`resend`](super::resend).
    ///
    /// `peer` becomes the other end of the connection that was used last, also if no reply arrived.
    ///
    /// # Errors
    /// See [`SendError`]. After [`SendError::ReplyTimeout`] and [`SendError::Broken`] the
    /// provider may have processed the request.
    pub(crate) async fn send(
        &self,
        head: &Head,
        body: Outgoing,
        peer: &mut Option<ProviderPeer>,
    ) -> Result<Response<Incoming>, SendError> {
        let deadline = Instant::now() + self.reply;
        let mut used = None;
        let sending = self.send_until_processed(head, body, deadline, &mut used);
        let error = match tokio::time::timeout_at(deadline, sending).await {
            Ok(Ok((reply, replied))) => {
                *peer = replied;
                return Ok(reply);
            }
            Ok(Err(error)) => error,
            // The provider may have vanished: the next request tries a new connection.
            Err(_) => {
                used.iter().for_each(UsedConnection::retire);
                SendError::ReplyTimeout
            }
        };
        *peer = used.as_ref().and_then(UsedConnection::peer);
        Err(error)
    }

    async fn send_until_processed(
        &self,
        head: &Head,
        mut body: Outgoing,
        deadline: Instant,
        used: &mut Option<UsedConnection>,
    ) -> Result<(Response<Incoming>, Option<ProviderPeer>), SendError> {
        let uri = self.place(&head.target)?;
        let repeat = body.take_repeat();
        let (mut resends, mut pauses) = (0, Pauses::default());
        loop {
            let (taken, has_bytes) = (body.taken(), !body.is_end_stream());
            if !has_bytes && !head.method.is_safe() {
                body.end_separately();
            }
            let mut request = Request::new(body);
            *request.method_mut() = head.method.clone();
            *request.uri_mut() = uri.clone();
            // The client consumes a request. A further attempt needs its headers.
            *request.headers_mut() = head.headers.clone();
            let connection = used.insert(UsedConnection::of(&mut request));
            let can_stall = has_bytes && resends < MAX_RESENDS;
            let error = tokio::select! {
                reply = self.client.request(request) => match reply {
                    Ok(mut reply) => {
                        self.refused.clear();
                        let Noted { peer, is_reused } = connection.note_reply(&mut reply, self.pool_idle);
                        if is_reused {
                            self.counters.note_reused();
                        }
                        return Ok((reply, peer));
                    }
                    Err(error) => error,
                },
                () = stalled(connection, &taken), if can_stall => {
                    tracing::debug!("sending again what the connection did not take");
                    connection.retire();
                    resends += 1;
                    body = again(repeat.as_ref()).ok_or(SendError::ReplyTimeout)?;
                    self.counters.note_resent();
                    continue;
                }
            };
            if !error.is_connect() {
                self.refused.clear();
            }
            let pause = if resends < MAX_RESENDS && is_unprocessed(&error, &head.method, &taken, has_bytes) {
                resends += 1;
                Duration::ZERO
            } else {
                match pauses.next(&error, &self.refused) {
                    Some(pause) if Instant::now() + pause < deadline => pause,
                    _ => return Err(SendError::classify(error)),
                }
            };
            let Some(remade) = again(repeat.as_ref()) else { return Err(SendError::classify(error)) };
            body = remade;
            tracing::debug!(cause = %error_chain::chain(&error), "sending again what the provider did not process");
            tokio::time::sleep(pause).await;
            self.counters.note_resent();
        }
    }

    /// Returns the URL that a request for `target` is sent to, without the query.
    #[must_use]
    pub(crate) fn url_without_query(&self, target: &PathAndQuery) -> Option<Uri> {
        let path = PathAndQuery::try_from(target.path()).ok()?;
        self.place(&path).ok()
    }

    fn place(&self, target: &PathAndQuery) -> Result<Uri, SendError> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(match self.base_path.is_root() {
            true => target.clone(),
            false => PathAndQuery::try_from(self.base_path.join(target.as_str())).map_err(|_| SendError::Target)?,
        });
        Uri::from_parts(parts).map_err(|_| SendError::Target)
    }
}

/// Returns when the connection has left the request in its queue for [`MAX_STALL`]. The body is then revoked, so this
/// attempt can no longer send it.
async fn stalled(connection: &UsedConnection, taken: &Taken) {
    connection.held_for(MAX_STALL).await;
    if !taken.revoke() {
        std::future::pending().await
    }
}

/// The body of the next attempt. `None` if it cannot be sealed.
fn again(repeat: Option<&Repeat>) -> Option<Outgoing> {
    repeat?.body().ok()
}

/// Why no reply arrived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// No connection: refused, no route, unknown name. Nothing was sent.
    #[error("no connection to the provider")]
    Unreachable(#[source] legacy::Error),
    /// The TLS handshake failed: an untrusted certificate, no common version. Nothing was sent.
    #[error("the TLS handshake with the provider failed")]
    Tls(#[source] legacy::Error),
    /// No connection within the deadline. Nothing was sent.
    #[error("the provider did not accept a connection in time")]
    ConnectTimeout(#[source] legacy::Error),
    /// The connection broke before the reply's head was complete, or the reply is not HTTP. The
    /// provider may have processed the request.
    #[error("the connection broke before the reply, or the reply is not HTTP")]
    Broken(#[source] legacy::Error),
    /// No reply within the deadline. The provider may have processed the request.
    #[error("the provider did not reply in time")]
    ReplyTimeout,
    /// The target is too long for a URI after the base path is prepended. Nothing was sent.
    #[error("the target is too long after the provider's base path")]
    Target,
}

impl SendError {
    /// Whether it is certain that no byte of the request was sent.
    #[must_use]
    pub(crate) fn nothing_was_sent(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Tls(_) | Self::ConnectTimeout(_) | Self::Target => true,
            Self::Broken(_) | Self::ReplyTimeout => false,
        }
    }

    fn classify(error: legacy::Error) -> Self {
        if !error.is_connect() {
            return Self::Broken(error);
        }
        if in_chain::<Elapsed>(&error).is_some() {
            return Self::ConnectTimeout(error);
        }
        match in_chain::<io::Error>(&error) {
            Some(io) if io.kind() == io::ErrorKind::TimedOut => Self::ConnectTimeout(error),
            Some(io) if is_tls(io) => Self::Tls(error),
            _ => Self::Unreachable(error),
        }
    }
}

/// hyper-rustls wraps rustls' errors in an `io::Error`.
fn is_tls(io: &io::Error) -> bool {
    io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// Finds the first error of this type among `error` and its causes.
pub(super) fn in_chain<'e, T: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e T> {
    error.downcast_ref().or_else(|| in_chain(error.source()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(base: &str, target: &str) -> String {
        let tls = Connector::new(None).unwrap();
        let upstream = UpstreamClient::new(&Config::new(base.parse().unwrap()), &tls, Arc::default()).unwrap();
        upstream.place(&target.parse().unwrap()).unwrap().to_string()
    }

    #[tokio::test]
    async fn path_and_query_are_appended_to_the_base_path_byte_for_byte() {
        assert_eq!(placed("https://api.test", "/v0/x?a=%2F&b=+c"), "https://api.test/v0/x?a=%2F&b=+c");
        assert_eq!(placed("https://api.test/base/", "/v0/x"), "https://api.test/base/v0/x");
        assert_eq!(placed("http://127.0.0.1:8443", "/"), "http://127.0.0.1:8443/");
    }
}
