//! Sockets: accepting, and one HTTP/1.1 conversation.
//!
//! hyper watches the clock over a request head only when it is given a timer, and ends the
//! conversation of a client that half-closes unless told otherwise; both are set here. An
//! answer that fails with [`io::ErrorKind::ConnectionReset`] leaves as a TCP reset instead of an
//! orderly close, because the two look different to a client and both happen.

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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::scripted_body::ScriptedBody;

/// How long a request head may take, and how long a kept connection may idle: longer than
/// clients keep theirs (a few seconds is usual), so that we rarely close one as it is reused.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);

/// Above the thousand at once that a load test opens: beyond it a connection waits in the listen
/// queue until an idle one is closed, which looks like a provider that hangs.
const MAX_CONNECTIONS: usize = 4096;

/// After a failed `accept` (as a rule: no file descriptor left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `listener` in a task of its own until that is aborted, which also ends its
/// connections. `running` is held as long.
pub(super) fn spawn<A, F>(listener: TcpListener, running: Arc<watch::Sender<()>>, response: A) -> AbortHandle
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
                        connections.spawn(serve_connection(stream, response.clone()));
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

async fn serve_connection<A, F>(stream: TcpStream, response: A)
where
    A: Fn(Request<Incoming>) -> F + Unpin,
    F: Future<Output = io::Result<Response<ScriptedBody>>>,
{
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service_fn(response));
    let Err(error) = (&mut connection).await else {
        return;
    };
    tracing::debug!(%error, "sandbox: a connection ended early");
    if is_reset(&error) {
        let stream = connection.into_parts().io.into_inner();
        if let Err(error) = stream.set_zero_linger() {
            tracing::warn!(%error, "sandbox: a reset leaves as an orderly close");
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
        tracing::error!(%error, "sandbox: a connection's task failed");
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

    /// Sends `request` and reads until the other side closes.
    async fn exchange(sandbox: &TestSandbox, request: &str) -> String {
        let mut stream = connect(sandbox).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    #[tokio::test]
    async fn a_connection_serves_many_requests_and_closes_when_asked() {
        let sandbox = TestSandbox::start().await;
        let get = "GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n";
        let three = format!("{get}\r\n{get}\r\n{get}Connection: close\r\n\r\n");
        let response = exchange(&sandbox, &three).await;
        assert_eq!(response.matches("HTTP/1.1 200 OK").count(), 3);
        assert_eq!(sandbox.handle.jwks_fetches(), 3);
    }

    #[tokio::test]
    async fn a_client_that_half_closes_gets_its_answer() {
        let sandbox = TestSandbox::start().await;
        let mut stream = connect(&sandbox).await;
        stream.write_all(b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200 OK"));
    }

    #[tokio::test]
    async fn a_declared_length_over_the_limit_is_refused_unread_and_the_connection_closed() {
        let sandbox = TestSandbox::start().await;
        let request = "POST /v0/x HTTP/1.1\r\nHost: x\r\nContent-Length: 67108865\r\n\r\n";
        let response = exchange(&sandbox, request).await.to_lowercase();
        assert!(response.starts_with("http/1.1 413"), "{response}");
        assert!(response.contains("connection: close"));
        assert_eq!(sandbox.handle.received()[0].status, 413);
    }

    #[tokio::test]
    async fn nonsense_is_answered_or_cut_and_the_next_request_succeeds() {
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
    async fn a_call_cut_off_in_its_body_is_recorded_as_incomplete() {
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
        // Closed or reset, but not left hanging.
        let _end = idle.read_to_end(&mut rest).await;
    }
}
