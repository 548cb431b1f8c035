//! When the gateway keeps, replaces and repeats connections to the provider.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jwe_gateway::config::{Config, Encryption};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::harness::{PATIENCE, TestGateway, assert_refused, eventually};
use crate::http2_provider::{Provider, Script};

const LIST: &str = "/v0/bank/available";

/// An HTTP/1.1 API that answers each request with the same bytes and keeps its connections.
struct Http1Provider {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// The number of connections that the gateway closed.
    closed: watch::Receiver<usize>,
    serving: JoinHandle<()>,
}

impl Http1Provider {
    async fn start(reply: &'static [u8]) -> Self {
        Self::serve(TcpListener::bind(("127.0.0.1", 0)).await.unwrap(), reply)
    }

    fn serve(listener: TcpListener, reply: &'static [u8]) -> Self {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count_closed, closed) = watch::channel(0);
        let serving = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let (connections, closed) = (Arc::clone(&connections), count_closed.clone());
                    tokio::spawn(async move {
                        let mut bytes = Vec::new();
                        let mut answered = 0;
                        while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                            while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                                bytes.drain(..end + 4);
                                // A connection without a request lost the race against another one.
                                connections.fetch_add(usize::from(answered == 0), Ordering::SeqCst);
                                answered += 1;
                                stream.write_all(reply).await.unwrap();
                            }
                        }
                        closed.send_modify(|closed| *closed += 1);
                    });
                }
            }
        });
        Self { address, connections, closed, serving }
    }

    async fn gateway(&self, change: impl FnOnce(&mut Config)) -> TestGateway {
        gateway_to(self.address, change).await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Http1Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn gateway_to(address: SocketAddr, change: impl FnOnce(&mut Config)) -> TestGateway {
    let gateway = TestGateway::spawn_with(|config| {
        config.upstreams[0].upstream.url = format!("http://{address}").parse().unwrap();
        change(config);
    })
    .await;
    gateway.ready().await;
    gateway
}

async fn status(gateway: &TestGateway) -> u16 {
    gateway.request("GET", LIST).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_pool_idle() {
    let mut provider = Http1Provider::start(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let gateway = provider.gateway(|config| config.upstreams[0].upstream.pool_idle = Duration::from_millis(100)).await;
    assert_eq!(status(&gateway).await, 200);
    let closed = provider.closed.wait_for(|closed| *closed == 1);
    tokio::time::timeout(Duration::from_secs(10), closed).await.expect("closed by then").unwrap();
}

#[tokio::test]
async fn a_connection_is_left_before_the_provider_closes_it_for_being_idle() {
    for (reply, pause, connections) in [
        (&b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60\r\nContent-Length: 0\r\n\r\n"[..], 0, 1),
        // A second of this is for the way of the request: nothing is left.
        (b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n", 0, 2),
        (b"HTTP/1.1 200 OK\r\nKeep-Alive: max=9, timeout=2\r\nContent-Length: 0\r\n\r\n", 0, 1),
        // Nothing shows that a connection is not used any more, so the test waits.
        (b"HTTP/1.1 200 OK\r\nKeep-Alive: max=9, timeout=2\r\nContent-Length: 0\r\n\r\n", 1_300, 2),
    ] {
        let provider = Http1Provider::start(reply).await;
        let long = Duration::from_secs(50);
        let gateway = provider.gateway(|config| config.upstreams[0].upstream.pool_idle = long).await;
        assert_eq!(status(&gateway).await, 200);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        assert_eq!(status(&gateway).await, 200);
        assert_eq!(provider.connections(), connections, "{}, {pause} ms", String::from_utf8_lossy(reply));
    }
}

#[tokio::test]
async fn a_provider_that_restarts_loses_no_request() {
    // The port is taken, and connections are refused until the socket listens.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let gateway = gateway_to(socket.local_addr().unwrap(), |_| {}).await;
    let restart = async {
        // The duration of the restart.
        tokio::time::sleep(Duration::from_millis(400)).await;
        Http1Provider::serve(socket.listen(64).unwrap(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    };
    let (status, provider) = tokio::join!(status(&gateway), restart);
    assert_eq!((status, provider.connections()), (200, 1));
}

#[tokio::test]
async fn a_provider_that_stays_down_delays_only_its_first_requests() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let gateway = gateway_to(socket.local_addr().unwrap(), |_| {}).await;
    let took = async || {
        let begun = Instant::now();
        let reply = gateway.request("GET", LIST).send().await.unwrap();
        assert_refused(reply, 502, "upstream_unreachable").await;
        begun.elapsed()
    };
    let wait = Duration::from_secs(2);
    assert!(took().await >= wait, "the provider may come back");
    assert!(took().await < wait);
}

#[tokio::test]
async fn the_wait_for_a_provider_that_restarts_ends_with_the_deadline() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let short = Duration::from_millis(300);
    let gateway = gateway_to(socket.local_addr().unwrap(), |config| config.upstreams[0].upstream.reply = short).await;
    assert_refused(gateway.request("GET", LIST).send().await.unwrap(), 502, "upstream_unreachable").await;
}

#[tokio::test]
async fn an_old_connection_is_replaced_under_traffic() {
    let provider = Http1Provider::start(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let old = Duration::from_millis(20);
    let gateway = provider.gateway(|config| config.upstreams[0].upstream.connection_max_age = old).await;
    eventually("another connection", async || status(&gateway).await == 200 && provider.connections() > 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_http2_connection_is_replaced_without_losing_its_requests() {
    let provider = Provider::start(&[Script::Answer], Duration::from_millis(20)).await;
    let gateway = http2_gateway(&provider, |config| {
        config.upstreams[0].upstream.connection_max_age = Duration::from_millis(100);
    })
    .await;
    let gateway = Arc::new(gateway);
    let mut callers = JoinSet::new();
    for caller in 0..10 {
        let gateway = Arc::clone(&gateway);
        callers.spawn(async move {
            for request in 0..30 {
                let id = (caller * 30 + request).to_string();
                assert_eq!(gateway.json("POST", LIST, id).send().await.unwrap().status(), 200);
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    let processed = provider.processed();
    assert_eq!(processed.len(), 300);
    assert!(processed.values().all(|&times| times == 1));
    assert!(provider.connections() > 2, "{}", provider.connections());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_arrive_together_share_one_http2_handshake() {
    let provider = Provider::start(&[Script::Answer], Duration::from_millis(20)).await;
    let gateway = Arc::new(http2_gateway(&provider, |_| {}).await);
    let mut callers = JoinSet::new();
    for id in 0..30 {
        let gateway = Arc::clone(&gateway);
        callers.spawn(async move {
            assert_eq!(gateway.json("POST", LIST, id.to_string()).send().await.unwrap().status(), 200);
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    assert_eq!(provider.processed().len(), 30);
    // On a slow machine a request does not wait for its turn for more than a second.
    assert!(provider.handshakes() < 10, "{}", provider.handshakes());
}

#[tokio::test]
async fn a_connection_on_which_a_reply_timed_out_is_not_used_again() {
    let provider = Provider::start(&[Script::Silent, Script::Answer], Duration::ZERO).await;
    let gateway =
        http2_gateway(&provider, |config| config.upstreams[0].upstream.reply = Duration::from_millis(500)).await;
    assert_refused(gateway.json("POST", LIST, "1").send().await.unwrap(), 504, "upstream_timeout").await;
    assert_eq!(gateway.json("POST", LIST, "2").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_http2_connection_without_an_answer_to_a_ping_is_given_up() {
    let provider = Provider::start(&[Script::Silent, Script::Answer], Duration::ZERO).await;
    let gateway =
        http2_gateway(&provider, |config| config.upstreams[0].upstream.ping = Duration::from_millis(200)).await;
    let silent = gateway.json("POST", LIST, "1").send();
    let reply = tokio::time::timeout(PATIENCE, silent).await.expect("an end before the deadline of the reply");
    assert_refused(reply.unwrap(), 502, "upstream_protocol").await;
    assert_eq!(gateway.json("POST", LIST, "2").send().await.unwrap().status(), 200);
}

async fn http2_gateway(provider: &Provider, change: impl FnOnce(&mut Config)) -> TestGateway {
    let gateway = TestGateway::spawn_with(|config| {
        provider.serve(config);
        config.upstreams[0].encryption = Encryption::Off;
        change(config);
    })
    .await;
    gateway.ready().await;
    gateway
}
