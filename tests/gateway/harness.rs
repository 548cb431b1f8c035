//! A gateway in front of a sandbox, both in this process, on free ports.

use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use http::HeaderMap;
use jwe_gateway::app::Connector;
use jwe_gateway::app::{App, Dependencies, Reloader, Shutdown};
use jwe_gateway::clock::{Clock, ClockControl};
use jwe_gateway::config::Config;
use jwe_gateway::jose::{self, EncryptionKey, Plaintext};
use jwe_gateway::sandbox::{Options, Received, Sandbox};
use jwe_gateway::secret::{Secret, SecretSource};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Long enough for a busy machine. Only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A sandbox and a gateway in front of it.
pub(crate) struct TestGateway {
    pub(crate) sandbox: Sandbox,
    served: Served,
}

/// A gateway that serves until it is dropped.
pub(crate) struct Served {
    /// The address for callers, unless the gateway listens on a unix socket.
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) reloader: Reloader,
    client: reqwest::Client,
    stop: Option<oneshot::Sender<Shutdown>>,
    serving: JoinHandle<()>,
}

impl TestGateway {
    /// A gateway that seals bodies and obtains tokens, with the sandbox as the provider.
    pub(crate) async fn spawn() -> Self {
        Self::spawn_with(|_| {}).await
    }

    /// The same with a changed configuration.
    pub(crate) async fn spawn_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::spawn_in(Options::default(), change).await
    }

    /// The same in front of a sandbox with these options.
    pub(crate) async fn spawn_in(options: Options, change: impl FnOnce(&mut Config)) -> Self {
        Self::spawn_among(Dependencies::default(), options, change).await
    }

    /// The same with the dependencies of the test, such as its clock.
    pub(crate) async fn spawn_among(
        dependencies: Dependencies,
        options: Options,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let sandbox = Sandbox::start(options).await.unwrap();
        let mut config = config(&sandbox);
        change(&mut config);
        Self { served: Served::start_in(config, dependencies).await, sandbox }
    }

    /// A gateway in front of a sandbox that refuses plain JSON, and the clock of the sandbox. Tokens live for 60 days of it.
    pub(crate) async fn spawn_with_clock() -> (Self, ClockControl) {
        let (clock, control) = Clock::manual();
        let token_lifetime = Duration::from_secs(60 * 24 * 3600);
        let options = Options { clock, require_sealed: true, token_lifetime, ..Options::default() };
        (Self::spawn_in(options, |_| {}).await, control)
    }

    /// Sends a JSON body, which the gateway must seal. Returns status and document.
    pub(crate) async fn call(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let reply = self.json(method, target, body.to_string()).send().await.unwrap();
        let status = reply.status().as_u16();
        let received = self.last();
        assert_eq!(received.headers["content-type"], "application/jose", "{method} {target}");
        assert_eq!(received.wire.split(|byte| *byte == b'.').count(), 5, "{method} {target}");
        (status, serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap())
    }

    /// The requests that the provider received. Asserts that each has no header but the expected ones.
    pub(crate) fn received(&self) -> Vec<Received> {
        let received = self.sandbox.received();
        for call in &received {
            assert_only_known_headers(&call.headers);
        }
        received
    }

    /// The last request that the provider received.
    pub(crate) fn last(&self) -> Received {
        self.received().pop().expect("the provider received something")
    }

    /// `body`, sealed by a caller with the provider's first key.
    pub(crate) fn seal(&self, body: &'static str) -> Vec<u8> {
        let jwk = self.sandbox.private_jwks()["keys"][0].clone();
        let public = json!({ "kty": "RSA", "kid": jwk["kid"], "n": jwk["n"], "e": jwk["e"] });
        let key = EncryptionKey::from_jwk(&public).unwrap();
        jose::seal(&Plaintext::json(body.into()).unwrap(), &key).unwrap().into_bytes().unwrap()
    }

    /// Asserts that a valid request still succeeds after a bad one.
    pub(crate) async fn assert_still_serves(&self) {
        let reply = self.json("POST", "/v0/bank/credentials/list", "{}").send().await.unwrap();
        assert_eq!(reply.status(), 200);
        assert_eq!(self.last().plaintext, "{}");
    }
}

impl Deref for TestGateway {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}

impl DerefMut for TestGateway {
    fn deref_mut(&mut self) -> &mut Served {
        &mut self.served
    }
}

impl Served {
    /// Starts a gateway in this process.
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_in(config, Dependencies::default()).await
    }

    /// The same with the dependencies of the test.
    pub(crate) async fn start_in(config: Config, dependencies: Dependencies) -> Self {
        let app = App::build(config, dependencies).await.unwrap();
        let address = app.address().unwrap().tcp().unwrap_or_else(|| SocketAddr::from(([0; 4], 0)));
        let admin = app.admin_address().unwrap().tcp().unwrap_or_else(|| SocketAddr::from(([0; 4], 0)));
        let reloader = app.reloader();
        let (stop, receiver) = oneshot::channel();
        let serving = tokio::spawn(async move {
            app.run(async { receiver.await.unwrap_or(Shutdown::Immediate) }).await.unwrap();
        });
        let client = Connector::new(None).unwrap().control_client().unwrap();
        Self { address, admin, reloader, client, stop: Some(stop), serving }
    }

    /// A request to the gateway.
    pub(crate) fn request(&self, method: &str, target: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("http://{}{target}", self.address))
    }

    /// A request with a JSON body.
    pub(crate) fn json(&self, method: &str, target: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.request(method, target).header("content-type", "application/json").body(body)
    }

    /// Writes `request` byte for byte, and reads until the response is complete or the gateway closes.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> RawAnswer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The gateway may close before it has read the whole request.
        let _ = stream.write_all(request.as_ref()).await;
        RawAnswer::read(&mut stream).await
    }

    /// Requests a path of the admin listener. Returns status and body.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let reply = self.client.get(format!("http://{}{path}", self.admin)).send().await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    }

    /// Waits until the gateway has a key and a token.
    pub(crate) async fn ready(&self) {
        eventually("ready", async || self.admin("/readyz").await.0 == 200).await;
    }

    /// Asks the gateway to stop.
    pub(crate) fn stop(&mut self, how: Shutdown) {
        self.stop.take().unwrap().send(how).unwrap();
    }

    /// Waits for the gateway's end.
    pub(crate) async fn ended(&mut self) {
        tokio::time::timeout(PATIENCE, &mut self.serving).await.unwrap().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Asserts that the gateway itself sent this response. Returns its body.
pub(crate) async fn assert_refused(reply: reqwest::Response, status: u16, code: &str) -> Value {
    assert_eq!(reply.status(), status, "{code}");
    let headers = reply.headers().clone();
    let body: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
    assert_is_ours(&headers, &body, status, code);
    body
}

/// The same for a response that was read byte by byte.
pub(crate) fn assert_refused_raw(answer: &RawAnswer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{code}: {answer:?}");
    let body = serde_json::from_str(&answer.body).unwrap();
    assert_is_ours(&answer.headers, &body, status, code);
}

fn assert_is_ours(headers: &HeaderMap, body: &Value, status: u16, code: &str) {
    assert_eq!(body["code"], code);
    assert_eq!(body["status"], status);
    assert_eq!(headers["content-type"], "application/problem+json");
    let proxy_status = headers["proxy-status"].to_str().unwrap();
    assert!(proxy_status.starts_with("jwe-gateway; error="), "{proxy_status}");
    assert!(proxy_status.ends_with(&format!("details=\"{code}\"")), "{proxy_status}");
    assert_eq!(body["request_id"], headers["x-request-id"].to_str().unwrap());
}

/// A configuration for `sandbox`, with free ports.
pub(crate) fn config(sandbox: &Sandbox) -> Config {
    let secret = SecretSource::Value(Secret::new(sandbox.client_secret().to_owned()));
    let url = sandbox.url().parse().unwrap();
    let mut config = Config::for_one("sandbox", url, sandbox.client_id().to_owned(), secret);
    config.gateway.deadlines.drain_delay = Duration::ZERO;
    config
}

/// Polls `condition` until it holds. Fails the test after [`PATIENCE`].
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let polling = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A response as it was received.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// Whether the gateway closed the connection after the response.
    pub(crate) closed: bool,
}

impl RawAnswer {
    /// Reads one response. Status 0 means that the gateway closed without a response.
    pub(crate) async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let reading = Self::read_whole(stream, &mut bytes);
        let closed = tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("a response, or the end of the connection")
            .unwrap_or(true);
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let headers = lines.filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.parse::<http::HeaderName>().ok()?, value.parse().ok()?))
        });
        Self { status: status.unwrap_or(0), headers: headers.collect(), body: body.to_owned(), closed }
    }

    async fn read_whole(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        loop {
            if let Some(end) = end_of_response(bytes)
                && bytes.len() >= end
            {
                let closing = String::from_utf8_lossy(bytes).to_ascii_lowercase().contains("connection: close");
                return if closing { stream.read(&mut piece).await.map(|more| more == 0) } else { Ok(false) };
            }
            match stream.read(&mut piece).await? {
                0 => return Ok(true),
                more => bytes.extend_from_slice(&piece[..more]),
            }
        }
    }
}

/// The end of the response, if it has a `Content-Length`.
fn end_of_response(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    length.map(|length| head + length)
}

fn assert_only_known_headers(headers: &HeaderMap) {
    const KNOWN: [&str; 12] = [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "traceparent",
        "tracestate",
        "user-agent",
        "via",
        "x-request-id",
    ];
    for name in headers.keys() {
        assert!(KNOWN.contains(&name.as_str()) || name.as_str().starts_with("x-test-"), "unexpected header {name}");
    }
    assert_eq!(headers.get_all("authorization").iter().count(), 1, "one Authorization: the gateway's");
    assert!(headers["authorization"].to_str().unwrap().starts_with("Bearer "));
}
