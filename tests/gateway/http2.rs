//! HTTP/2 on the listener: what is different, and what a caller must not be able to do by it.

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

use crate::certificates::Authority;
use crate::harness::{PATIENCE, TestGateway, eventually};

type Body = BoxBody<Bytes, std::convert::Infallible>;

/// A connection of HTTP/2 to a gateway.
struct Caller {
    requests: SendRequest<Body>,
    authority: String,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Caller {
    async fn connect(authority: &Authority, gateway: &TestGateway) -> Self {
        let config = authority.caller(&[&rustls::version::TLS13], &[b"h2"], None);
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let name = ServerName::from(gateway.address.ip());
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
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
        tokio::time::timeout(PATIENCE, self.requests.clone().send_request(request)).await.expect("an answer")
    }

    async fn status_of(&self, request: Request<Body>) -> u16 {
        self.send(request).await.unwrap().status().as_u16()
    }

    /// Waits for the gateway to end the connection.
    async fn ended(self) {
        let Self { connection, requests, .. } = self;
        // While the requests could go on, so does the connection: it is the gateway that ends it.
        tokio::time::timeout(PATIENCE, connection).await.expect("an end").unwrap().unwrap();
        assert!(requests.is_closed());
    }
}

/// A provider's API: `/endless` is answered without end, `/held` when it is released, anything
/// else at once.
struct Route {
    url: url::Url,
    held: watch::Receiver<usize>,
    release: watch::Sender<bool>,
    broken: watch::Receiver<usize>,
    serving: JoinHandle<()>,
}

impl Route {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (count_held, held) = watch::channel(0);
        let (count_broken, broken) = watch::channel(0);
        let (release, released) = watch::channel(false);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (held, broken, released) = (count_held.clone(), count_broken.clone(), released.clone());
                tokio::spawn(answer(stream, held, broken, released));
            }
        });
        Self { url, held, release, broken, serving }
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

impl Drop for Route {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    mut stream: TcpStream,
    held: watch::Sender<usize>,
    broken: watch::Sender<usize>,
    mut released: watch::Receiver<bool>,
) {
    let mut bytes = Vec::new();
    // The sealed body is one chunk of a few hundred bytes; of each request the first piece will do.
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    if bytes.windows(8).any(|window| window == b"/endless") {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n";
        stream.write_all(head).await.unwrap();
        while stream.write_all(&[b'x'; 16 * 1024]).await.is_ok() {}
        return broken.send_modify(|count| *count += 1);
    }
    if bytes.windows(5).any(|window| window == b"/held") {
        held.send_modify(|count| *count += 1);
        released.wait_for(|released| *released).await.unwrap();
    }
    let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    // The gateway that has left is the test's business.
    let _ = stream.write_all(reply).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

#[tokio::test]
async fn a_request_says_where_it_goes_once() {
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
    let mut in_clear = caller.request("/v0/bank/credentials/list");
    *in_clear.uri_mut() = format!("http://{}/v0/bank/credentials/list", caller.authority).parse().unwrap();
    assert_eq!(caller.status_of(in_clear).await, 400);
    assert_eq!(caller.status_of(caller.request("/v0/../v0/token")).await, 400);
    assert_eq!(caller.status_of(caller.request("/v0/token")).await, 403);
    assert_eq!(gateway.received().len(), 1);
    assert_eq!(gateway.last().headers.get("host").unwrap(), gateway.sandbox.url().trim_start_matches("http://"));
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_whoever_makes_it() {
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
        let answer = caller.send(head(path)).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let announced: u64 = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        assert!(announced > 2, "{path}");
        assert!(answer.body().is_end_stream(), "{path}: the head ends the stream");
        assert_eq!(answer.collect().await.unwrap().to_bytes(), "", "{path}");
    }
    assert_eq!(caller.status_of(caller.request("/v0/token")).await, 403, "the connection is whole");
}

#[tokio::test]
async fn there_is_no_http2_without_tls() {
    let gateway = TestGateway::spawn().await;
    let answer = gateway.raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(answer.closed && matches!(answer.status, 0 | 400), "{answer:?}");
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn a_request_in_flight_is_finished_when_the_gateway_stops() {
    let (authority, provider) = (Authority::new(), Route::start().await);
    let mut gateway = provider.gateway(&authority, PATIENCE).await;
    let caller = Caller::connect(&authority, &gateway).await;
    let (answer, ()) = tokio::join!(caller.send(caller.request("/held")), async {
        eventually("the request is at the provider", async || *provider.held.borrow() == 1).await;
        gateway.stop(Shutdown::AfterDelay);
        eventually("the door is closed", async || TcpStream::connect(gateway.address).await.is_err()).await;
        provider.release.send_replace(true);
    });
    let answer = answer.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    assert!(!answer.headers().contains_key("connection"));
    assert_eq!(answer.collect().await.unwrap().to_bytes(), "{}");
    gateway.ended().await;
    caller.ended().await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up_and_its_neighbours_go_on() {
    let (authority, provider) = (Authority::new(), Route::start().await);
    let gateway = provider.gateway(&authority, Duration::from_millis(200)).await;
    let caller = Caller::connect(&authority, &gateway).await;
    let unread = caller.send(caller.request("/endless")).await.unwrap();
    assert_eq!(unread.status(), 200);
    eventually("the provider's connection is let go", async || *provider.broken.borrow() == 1).await;
    assert_eq!(caller.status_of(caller.request("/")).await, 200);
    assert!(unread.collect().await.is_err(), "half an answer does not pass for a whole one");
}

#[tokio::test]
async fn a_body_that_does_not_come_ends_by_its_deadline() {
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
async fn a_connection_on_which_nothing_is_asked_is_closed() {
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
