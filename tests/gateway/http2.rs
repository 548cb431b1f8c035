//! HTTP/2 on the listener: differences to HTTP/1, and limits for callers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderValue, Request, Response, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jwe_gateway::app::Shutdown;
use jwe_gateway::config::Encryption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use crate::certificates::Authority;
use crate::harness::{PATIENCE, TestGateway, eventually};

type Body = BoxBody<Bytes, std::convert::Infallible>;

/// An HTTP/2 connection to a gateway.
struct Caller {
    requests: SendRequest<Body>,
    authority: String,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Caller {
    async fn connect(authority: &Authority, gateway: &TestGateway) -> Self {
        let stream = connect(authority, gateway).await;
        let (requests, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(16 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        Self { requests, authority: gateway.address.to_string(), connection: tokio::spawn(connection) }
    }

    fn request(&self, path: &str) -> Request<Body> {
        let mut request = Request::new(Full::from("{}").boxed());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = format!("https://{}{path}", self.authority).parse().unwrap();
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        request
    }

    async fn send(&self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        tokio::time::timeout(PATIENCE, self.requests.clone().send_request(request)).await.expect("a response")
    }

    async fn status_of(&self, request: Request<Body>) -> u16 {
        self.send(request).await.unwrap().status().as_u16()
    }

    /// Waits for the gateway to end the connection.
    async fn ended(self) {
        let Self { connection, requests, .. } = self;
        // The caller still holds `requests`, so only the gateway can end the connection.
        tokio::time::timeout(PATIENCE, connection).await.expect("the gateway ends the connection").unwrap().unwrap();
        assert!(requests.is_closed());
    }
}

/// A TLS connection to the gateway on which HTTP/2 can be spoken.
pub(crate) async fn connect(authority: &Authority, gateway: &TestGateway) -> TlsStream<TcpStream> {
    let config = authority.caller(&[&rustls::version::TLS13], &[b"h2"], None);
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let name = ServerName::from(gateway.address.ip());
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    stream
}

/// A provider's API. The response to `/endless` never ends, `/held` is answered once it is released, other paths
/// at once.
struct Provider {
    url: url::Url,
    held: watch::Receiver<usize>,
    release: watch::Sender<bool>,
    disconnected: watch::Receiver<usize>,
    serving: JoinHandle<()>,
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (count_held, held) = watch::channel(0);
        let (count_disconnected, disconnected) = watch::channel(0);
        let (release, released) = watch::channel(false);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (held, disconnected) = (count_held.clone(), count_disconnected.clone());
                let released = released.clone();
                tokio::spawn(respond(stream, held, disconnected, released));
            }
        });
        Self { url, held, release, disconnected, serving }
    }

    async fn gateway(&self, authority: &Authority, stall: Duration) -> TestGateway {
        TestGateway::spawn_with(|config| {
            authority.serve(config);
            config.upstreams[0].upstream.url = self.url.clone();
            config.gateway.deadlines.stall = stall;
        })
        .await
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn respond(
    mut stream: TcpStream,
    held: watch::Sender<usize>,
    disconnected: watch::Sender<usize>,
    mut released: watch::Receiver<bool>,
) {
    let mut bytes = Vec::new();
    // The head is enough: the body has a few hundred bytes and fits into the socket's buffer.
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    if bytes.windows(8).any(|window| window == b"/endless") {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n";
        stream.write_all(head).await.unwrap();
        while stream.write_all(&[b'x'; 16 * 1024]).await.is_ok() {}
        return disconnected.send_modify(|count| *count += 1);
    }
    if bytes.windows(5).any(|window| window == b"/held") {
        held.send_modify(|count| *count += 1);
        released.wait_for(|released| *released).await.unwrap();
    }
    let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    // The gateway may have disconnected; the test checks that where it matters.
    let _ = stream.write_all(reply).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

#[tokio::test]
async fn host_and_scheme_must_agree_with_the_listener() {
    let authority = Authority::new();
    let gateway = TestGateway::spawn_with(|config| authority.serve(config)).await;
    let caller = Caller::connect(&authority, &gateway).await;
    let with_host = |host: &str| {
        let mut request = caller.request("/v0/bank/credentials/list");
        request.headers_mut().insert("host", HeaderValue::from_str(host).unwrap());
        request
    };
    assert_eq!(caller.status_of(with_host(&caller.authority)).await, 200);
    assert_eq!(caller.status_of(with_host("elsewhere.test")).await, 400);
    let mut http_scheme = caller.request("/v0/bank/credentials/list");
    *http_scheme.uri_mut() = format!("http://{}/v0/bank/credentials/list", caller.authority).parse().unwrap();
    assert_eq!(caller.status_of(http_scheme).await, 400);
    assert_eq!(caller.status_of(caller.request("/v0/../v0/token")).await, 400);
    assert_eq!(caller.status_of(caller.request("/v0/token")).await, 403);
    assert_eq!(gateway.received().len(), 1);
    assert_eq!(gateway.last().headers.get("host").unwrap(), gateway.sandbox.url().trim_start_matches("http://"));
}

#[tokio::test]
async fn a_response_to_head_has_no_body() {
    let authority = Authority::new();
    let gateway = TestGateway::spawn_with(|config| {
        authority.serve(config);
        config.upstreams[0].encryption = Encryption::RequireSealed;
    })
    .await;
    let caller = Caller::connect(&authority, &gateway).await;
    let head = |path: &str| {
        let mut request = caller.request(path).map(|_| http_body_util::Empty::new().boxed());
        *request.method_mut() = http::Method::HEAD;
        request.headers_mut().remove("content-type");
        request
    };
    for (path, status) in [("/.well-known/jwks.json", 200), ("/v0/token", 403), ("/v0/bank/available", 404)] {
        let response = caller.send(head(path)).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let announced: u64 = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
        assert!(announced > 2, "{path}");
        assert!(response.body().is_end_stream(), "{path}: the head must end the stream");
        assert_eq!(response.collect().await.unwrap().to_bytes(), "", "{path}");
    }
    assert_eq!(caller.status_of(caller.request("/v0/token")).await, 403, "the connection still works");
}

#[tokio::test]
async fn http2_without_tls_is_refused() {
    let gateway = TestGateway::spawn().await;
    let response = gateway.raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(response.closed && matches!(response.status, 0 | 400), "{response:?}");
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn a_request_in_flight_is_finished_when_the_gateway_stops() {
    let (authority, provider) = (Authority::new(), Provider::start().await);
    let mut gateway = provider.gateway(&authority, PATIENCE).await;
    let caller = Caller::connect(&authority, &gateway).await;
    let (response, ()) = tokio::join!(caller.send(caller.request("/held")), async {
        eventually("the provider has the request", async || *provider.held.borrow() == 1).await;
        gateway.stop(Shutdown::AfterDelay);
        eventually("the gateway stops accepting", async || TcpStream::connect(gateway.address).await.is_err()).await;
        provider.release.send_replace(true);
    });
    let response = response.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    assert!(!response.headers().contains_key("connection"));
    assert_eq!(response.collect().await.unwrap().to_bytes(), "{}");
    gateway.ended().await;
    caller.ended().await;
}

#[tokio::test]
async fn a_response_that_is_not_read_is_reset_and_other_streams_continue() {
    let (authority, provider) = (Authority::new(), Provider::start().await);
    let gateway = provider.gateway(&authority, Duration::from_millis(200)).await;
    let caller = Caller::connect(&authority, &gateway).await;
    let unread = caller.send(caller.request("/endless")).await.unwrap();
    assert_eq!(unread.status(), 200);
    eventually("the gateway closes its connection to the provider", async || *provider.disconnected.borrow() == 1)
        .await;
    assert_eq!(caller.status_of(caller.request("/")).await, 200);
    assert!(unread.collect().await.is_err(), "an incomplete response is an error for the caller");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_refused_at_its_deadline() {
    let authority = Authority::new();
    let gateway = TestGateway::spawn_with(|config| {
        authority.serve(config);
        config.gateway.deadlines.body = Duration::from_millis(200);
    })
    .await;
    let caller = Caller::connect(&authority, &gateway).await;
    let (head, body) = caller.request("/v0/bank/credentials/list").into_parts();
    drop(body);
    let begun = futures_util::stream::iter([Ok(Frame::data(Bytes::from("{")))]);
    let never = StreamBody::new(begun.chain(futures_util::stream::pending()));
    assert_eq!(caller.status_of(Request::from_parts(head, BodyExt::boxed(never))).await, 408);
    assert_eq!(caller.status_of(caller.request("/v0/bank/credentials/list")).await, 200);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let authority = Authority::new();
    let gateway = TestGateway::spawn_with(|config| {
        authority.serve(config);
        config.gateway.deadlines.head = Duration::from_secs(1);
    })
    .await;
    let caller = Caller::connect(&authority, &gateway).await;
    assert_eq!(caller.status_of(caller.request("/v0/bank/credentials/list")).await, 200);
    caller.ended().await;
}

#[tokio::test]
async fn an_idle_connection_whose_caller_ignores_goaway_is_closed_at_the_head_deadline() {
    let authority = Authority::new();
    let head = Duration::from_secs(1);
    let gateway = TestGateway::spawn_with(|config| {
        authority.serve(config);
        config.gateway.deadlines.head = head;
        config.gateway.deadlines.stall = 10 * PATIENCE;
    })
    .await;
    // The second caller never speaks HTTP/2.
    for first_bytes in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], b""] {
        let begun = tokio::time::Instant::now();
        let mut stream = connect(&authority, &gateway).await;
        stream.write_all(first_bytes).await.unwrap();
        let mut received = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut received)).await;
        assert!(ended.is_ok(), "the gateway did not end the connection");
        assert!(begun.elapsed() >= head, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn one_connection_with_a_hundred_unread_responses_keeps_a_third_of_them() {
    let (authority, provider) = (Authority::new(), Provider::start().await);
    // A tenth of it is much shorter than the patience of the test, and the whole is much longer.
    let gateway = provider.gateway(&authority, 2 * PATIENCE).await;
    let caller = Caller::connect(&authority, &gateway).await;
    let requests = (0..100).map(|_| caller.send(caller.request("/endless")));
    let unread = futures_util::future::join_all(requests).await;
    assert!(unread.iter().all(|response| response.as_ref().is_ok_and(|response| response.status() == 200)));
    eventually("the gateway closes connections to the provider", async || *provider.disconnected.borrow() == 68).await;
    assert_eq!(caller.status_of(caller.request("/")).await, 200, "the connection still works");
    assert_eq!(*provider.disconnected.borrow(), 68, "the other responses have the whole time");
}

#[tokio::test]
async fn at_the_limit_of_connections_a_response_brings_goaway_and_other_requests_continue() {
    let (authority, provider) = (Authority::new(), Provider::start().await);
    let gateway = TestGateway::spawn_with(|config| {
        authority.serve(config);
        config.upstreams[0].upstream.url = provider.url.clone();
        config.gateway.listen.max_connections = 1;
    })
    .await;
    let caller = Caller::connect(&authority, &gateway).await;
    let mut endless = caller.send(caller.request("/endless")).await.unwrap();
    let first = async {
        eventually("the gateway sends GOAWAY", async || {
            // An error means that the GOAWAY has arrived.
            let _ = caller.send(caller.request("/")).await;
            caller.requests.is_closed()
        })
        .await;
        let mut received = 0;
        while received < 256 * 1024 {
            received += endless.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        drop(endless);
    };
    let second = async {
        let second = Caller::connect(&authority, &gateway).await;
        second.status_of(second.request("/")).await
    };
    let ((), status) = tokio::join!(first, second);
    assert_eq!(status, 200, "the second caller gets the connection of the first one");
}
