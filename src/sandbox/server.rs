//! Accepts connections and serves HTTP/1.1 on them, with TLS if the listener has it.
//!
//! hyper limits the time for a request head only if it has a timer, and by default closes the connection of a
//! client that half-closes. Both are set here. A response that fails with [`io::ErrorKind::ConnectionReset`]
//! ends the connection with a TCP reset instead of an orderly close: clients see a difference, and both occur
//! in practice.

use std::error::Error;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::scripted_body::ScriptedBody;

/// The time limit for a request head, and for the idle time of a kept-alive connection. Clients usually close
/// idle connections after a few seconds, so the sandbox rarely closes one that the client is about to use.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);

/// More than the thousand connections of a load test. Further connections wait in the listen queue until
/// another connection closes, and look to the client like a provider that does not respond.
const MAX_CONNECTIONS: usize = 4096;

/// The pause after a failed `accept`, usually because no file descriptor is left. Without it the loop would
/// spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `listener` in a new task. Aborting the task also ends its connections and drops `running`.
pub(super) fn spawn<A, F>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    running: Arc<watch::Sender<()>>,
    respond: A,
) -> AbortHandle
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Unpin + 'static,
    F: Future<Output = io::Result<Response<ScriptedBody>>> + Send + 'static,
{
    let accepting = tokio::spawn(async move {
        let _running = running;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(ended) = connections.join_next() => report_panic(ended),
                accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(accept_tls(stream, tls.clone(), respond.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "sandbox: cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    });
    accepting.abort_handle()
}

async fn accept_tls<A, F>(stream: TcpStream, tls: Option<TlsAcceptor>, respond: A)
where
    A: Fn(Request<Incoming>) -> F + Unpin,
    F: Future<Output = io::Result<Response<ScriptedBody>>>,
{
    let Some(tls) = tls else {
        return serve_connection(stream, |stream| stream, respond).await;
    };
    match tokio::time::timeout(HEAD_DEADLINE, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve_connection(stream, |stream| stream.get_ref().0, respond).await,
        Ok(Err(error)) => tracing::debug!(%error, "sandbox: a TLS handshake failed"),
        Err(_elapsed) => tracing::debug!("sandbox: a TLS handshake took too long"),
    }
}

/// Serves one connection. `tcp` returns the socket below `stream`.
async fn serve_connection<S, A, F>(stream: S, tcp: fn(&S) -> &TcpStream, respond: A)
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Request<Incoming>) -> F + Unpin,
    F: Future<Output = io::Result<Response<ScriptedBody>>>,
{
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service_fn(respond));
    let Err(error) = (&mut connection).await else {
        return;
    };
    tracing::debug!(%error, "sandbox: a connection ended with an error");
    if is_reset(&error) {
        let stream = connection.into_parts().io.into_inner();
        if let Err(error) = tcp(&stream).set_zero_linger() {
            tracing::warn!(%error, "sandbox: cannot send a TCP reset; the connection is closed normally");
        }
    }
}

fn is_reset(error: &hyper::Error) -> bool {
    error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionReset)
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "sandbox: the task of a connection panicked");
    }
}

#[cfg(test)]
mod tests {
    use crate::sandbox::testing::TestSandbox;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn connect(sandbox: &TestSandbox) -> TcpStream {
        let address = sandbox.handle.url().replace("http://", "");
        TcpStream::connect(address).await.unwrap()
    }

    /// Sends `request` and reads until the server closes the connection.
    async fn exchange(sandbox: &TestSandbox, request: &str) -> String {
        let mut stream = connect(sandbox).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    #[tokio::test]
    async fn a_connection_serves_several_requests_and_closes_on_request() {
        let sandbox = TestSandbox::start().await;
        let get = "GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n";
        let three = format!("{get}\r\n{get}\r\n{get}Connection: close\r\n\r\n");
        let response = exchange(&sandbox, &three).await;
        assert_eq!(response.matches("HTTP/1.1 200 OK").count(), 3);
        assert_eq!(sandbox.handle.jwks_fetches(), 3);
    }

    #[tokio::test]
    async fn a_client_that_half_closes_gets_its_response() {
        let sandbox = TestSandbox::start().await;
        let mut stream = connect(&sandbox).await;
        stream.write_all(b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200 OK"));
    }

    #[tokio::test]
    async fn a_declared_length_over_the_limit_is_refused_unread_and_the_connection_is_closed() {
        let sandbox = TestSandbox::start().await;
        let request = "POST /v0/x HTTP/1.1\r\nHost: x\r\nContent-Length: 67108865\r\n\r\n";
        let response = exchange(&sandbox, request).await.to_lowercase();
        assert!(response.starts_with("http/1.1 413"), "{response}");
        assert!(response.contains("connection: close"));
        assert_eq!(sandbox.handle.received()[0].status, 413);
    }

    #[tokio::test]
    async fn an_invalid_request_is_refused_or_disconnected_and_the_next_request_succeeds() {
        let sandbox = TestSandbox::start().await;
        let host = "Host: x\r\n";
        for request in [
            "\r\n\r\n\r\n\r\n".to_owned() + "nonsense\r\n\r\n",
            "GET / HTTP/9.9\r\n\r\n".to_owned(),
            format!("CONNECT example.com:443 HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
            format!("OPTIONS * HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
            format!("GET http://other/v0/x HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
            format!("POST /v0/x HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
            format!("POST /v0/token HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\n"),
        ] {
            let response = exchange(&sandbox, &request).await;
            assert!(!response.starts_with("HTTP/1.1 2"), "{request}: {response}");
        }
        assert_eq!(sandbox.get("/v0/bank/available").await.status, 200);
    }

    #[tokio::test]
    async fn a_call_with_an_incomplete_body_is_recorded_with_status_400() {
        let sandbox = TestSandbox::start().await;
        let mut stream = connect(&sandbox).await;
        let request = "POST /v0/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{";
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        let received = sandbox.handle.received();
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].status, 400);
        assert!(received[0].wire.is_empty());
    }

    #[tokio::test]
    async fn dropping_the_sandbox_ends_its_listeners_and_its_connections() {
        let sandbox = TestSandbox::start().await;
        let mut idle = connect(&sandbox).await;
        idle.write_all(b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut byte = [0];
        idle.read_exact(&mut byte).await.unwrap();
        let mut running = sandbox.handle.running.clone();
        drop(sandbox);
        let ended = async { while running.changed().await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap();
        let mut rest = Vec::new();
        // The connection is closed or reset, but does not stay open.
        let _end = idle.read_to_end(&mut rest).await;
    }
}
