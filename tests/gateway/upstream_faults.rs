//! Faults of the provider's API, and what the caller gets.

use std::net::SocketAddr;
use std::time::Duration;

use jwe_gateway::sandbox::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::harness::{RawAnswer, TestGateway, assert_refused};

const LIST: &str = "/v0/bank/credentials/list";

/// An API that answers every request with the same bytes. Keys and tokens come from the sandbox.
pub(crate) struct ScriptedApi {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl ScriptedApi {
    pub(crate) async fn start(reply: &'static [u8], then_close: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                read_request(&mut stream).await;
                stream.write_all(reply).await.unwrap();
                if !then_close {
                    open.push(stream);
                }
            }
        });
        Self { address, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn gateway(&self, reply: Duration, idle: Duration) -> TestGateway {
        let url = self.url().parse().unwrap();
        TestGateway::spawn_in(Options::default(), |config| {
            let upstream = &mut config.upstreams[0].upstream;
            upstream.url = url;
            upstream.reply = reply;
            upstream.idle = idle;
        })
        .await
    }
}

impl Drop for ScriptedApi {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Reads a request with a `Content-Length` to its end.
async fn read_request(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return;
        }
    }
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_provider_that_does_not_listen_is_unreachable_and_nothing_was_sent() {
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let gateway = TestGateway::spawn_with(|config| {
        config.upstreams[0].upstream.url = format!("http://{free}").parse().unwrap();
    })
    .await;
    let problem =
        assert_refused(gateway.json("POST", LIST, "{}").send().await.unwrap(), 502, "upstream_unreachable").await;
    assert!(problem["detail"].as_str().unwrap().ends_with("nothing was sent"));
    assert!(!problem.to_string().contains(&free.port().to_string()), "the response contains no address");
}

#[tokio::test]
async fn a_reply_that_is_not_http_is_a_protocol_fault() {
    for garbage in [
        &b"what do you want?\r\n\r\n"[..],
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let provider = ScriptedApi::start(garbage, true).await;
        let gateway = provider.gateway(LONG, LONG).await;
        let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
        assert_refused(reply, 502, "upstream_protocol").await;
    }
}

#[tokio::test]
async fn a_provider_that_does_not_reply_is_a_timeout_and_may_have_processed_the_request() {
    let provider = ScriptedApi::start(b"", false).await;
    let gateway = provider.gateway(SHORT, LONG).await;
    let problem = assert_refused(gateway.json("POST", LIST, "{}").send().await.unwrap(), 504, "upstream_timeout").await;
    assert!(problem["detail"].as_str().unwrap().contains("may have processed"));
}

#[tokio::test]
async fn a_reply_that_ends_early_breaks_the_callers_connection() {
    for broken in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let provider = ScriptedApi::start(broken, true).await;
        let gateway = provider.gateway(LONG, LONG).await;
        let reply = gateway.request("GET", "/v0/bank/available").send().await.unwrap();
        assert_eq!(reply.status(), 200);
        assert!(reply.bytes().await.is_err(), "the caller sees that the response is incomplete");
    }
}

#[tokio::test]
async fn a_reply_that_stops_for_longer_than_idle_breaks_the_callers_connection() {
    let provider = ScriptedApi::start(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", false).await;
    let gateway = provider.gateway(LONG, SHORT).await;
    let reply = gateway.request("GET", "/v0/bank/available").send().await.unwrap();
    assert!(reply.bytes().await.is_err());
}

#[tokio::test]
async fn a_chunked_reply_ignores_its_content_length() {
    for length in ["2", "50"] {
        let reply = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nwhole!\r\n0\r\n\r\n"
        );
        let provider = ScriptedApi::start(reply.leak().as_bytes(), true).await;
        let gateway = provider.gateway(LONG, LONG).await;
        let reply = gateway.request("GET", "/v0/bank/available").send().await.unwrap();
        assert_eq!(reply.bytes().await.unwrap(), "whole!", "with a Content-Length of {length}");
    }
}

#[tokio::test]
async fn a_reply_in_another_transfer_coding_is_a_protocol_fault() {
    let provider =
        ScriptedApi::start(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nConnection: close\r\n\r\nnot for us", true)
            .await;
    let gateway = provider.gateway(LONG, LONG).await;
    let reply = gateway.request("GET", "/v0/bank/available").send().await.unwrap();
    assert_refused(reply, 502, "upstream_protocol").await;
}

#[tokio::test]
async fn a_tls_handshake_without_an_answer_is_a_timeout_and_nothing_was_sent() {
    // It accepts connections and never answers the TLS handshake.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap()).parse().unwrap();
    let gateway = TestGateway::spawn_with(|config| {
        config.upstreams[0].upstream.url = url;
        config.upstreams[0].upstream.connect = SHORT;
    })
    .await;
    let problem = assert_refused(gateway.json("POST", LIST, "{}").send().await.unwrap(), 504, "upstream_timeout").await;
    assert!(problem["detail"].as_str().unwrap().ends_with("nothing was sent"), "{problem}");
}

#[tokio::test]
async fn a_redirect_is_relayed_and_never_followed() {
    let provider = ScriptedApi::start(
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://elsewhere.test/\r\nContent-Length: 0\r\n\r\n",
        true,
    )
    .await;
    let gateway = provider.gateway(LONG, LONG).await;
    let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
    assert_eq!(reply.status(), 307);
    assert_eq!(reply.headers()["location"], "http://elsewhere.test/");
}

#[tokio::test]
async fn informational_replies_are_dropped_and_the_final_reply_is_relayed() {
    let provider = ScriptedApi::start(
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        true,
    )
    .await;
    let gateway = provider.gateway(LONG, LONG).await;
    let answer = gateway.raw("GET /v0/bank/available HTTP/1.1\r\nHost: g\r\n\r\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    assert!(!answer.headers.contains_key("link"));
}

#[tokio::test]
async fn hop_by_hop_headers_and_cookies_of_the_reply_are_removed() {
    let provider = ScriptedApi::start(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop\r\nConnection: X-Hop-Two\r\nX-Hop: 1\r\nX-Hop-Two: 1\r\n\
          Keep-Alive: timeout=5\r\nSet-Cookie: session=ours\r\nX-Kept: 1\r\nContent-Encoding: gzip\r\n\r\n{}",
        true,
    )
    .await;
    let gateway = provider.gateway(LONG, LONG).await;
    let answer = gateway.raw("GET /v0/bank/available HTTP/1.1\r\nHost: g\r\n\r\n").await;
    for removed in ["x-hop", "x-hop-two", "keep-alive", "set-cookie"] {
        assert!(!answer.headers.contains_key(removed), "{removed}");
    }
    assert_eq!(answer.headers["x-kept"], "1");
    assert_eq!(answer.headers["content-encoding"], "gzip", "an encoded body is relayed as it is");
}

#[tokio::test]
async fn replies_without_a_body_are_relayed_without_a_body() {
    for (reply, status) in
        [(&b"HTTP/1.1 204 No Content\r\n\r\n"[..], 204), (b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", 304)]
    {
        let provider = ScriptedApi::start(reply, false).await;
        let gateway = provider.gateway(LONG, LONG).await;
        let mut caller = TcpStream::connect(gateway.address).await.unwrap();
        let request = b"GET /v0/bank/available HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n";
        caller.write_all(request).await.unwrap();
        let answer = RawAnswer::read(&mut caller).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, ""));
        assert!(!answer.headers.contains_key("transfer-encoding"));
    }
}

#[tokio::test]
async fn a_reply_to_head_keeps_its_content_length() {
    let provider = ScriptedApi::start(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", true).await;
    let gateway = provider.gateway(LONG, LONG).await;
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    caller.write_all(b"HEAD /v0/bank/available HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).await.unwrap();
    assert!(answer.to_ascii_lowercase().contains("content-length: 1234\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"));
}

#[tokio::test]
async fn an_error_of_the_provider_is_relayed_and_the_request_is_not_repeated() {
    let provider = ScriptedApi::start(
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nRetry-After: 9\r\n\r\nbusy",
        true,
    )
    .await;
    let gateway = provider.gateway(LONG, LONG).await;
    let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
    assert_eq!(reply.headers()["proxy-status"], "jwe-gateway; received-status=503");
    assert_eq!(reply.headers()["retry-after"], "9");
    assert_eq!(reply.bytes().await.unwrap(), "busy");
}

#[tokio::test]
async fn a_provider_cannot_answer_in_the_name_of_the_gateway() {
    let api = ScriptedApi::start(
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nJwe-Gateway-Key: reason=unknown, current=(\"x\")\r\n\
          Proxy-Status: cdn.test; received-status=403, jwe-gateway; error=http_request_denied\r\n\
          Proxy-Status: jwe-gateway; error=http_request_denied; details=\"caller_forbidden\"\r\n\r\n{}",
        false,
    )
    .await;
    let gateway = api.gateway(LONG, LONG).await;
    let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
    assert_eq!(reply.status(), 403);
    assert!(!reply.headers().contains_key("jwe-gateway-key"));
    let lines: Vec<_> = reply.headers().get_all("proxy-status").iter().map(|line| line.to_str().unwrap()).collect();
    assert_eq!(lines, ["cdn.test; received-status=403", "jwe-gateway; received-status=403"]);
}
