//! The whole path of a request: octets of HTTP/1.1 in, and what the provider receives out.
//!
//! The caller has one end of a pair of unix sockets. The code of a connection and all steps of the gateway run as in
//! production. The provider is a TCP listener that answers each request with 200, as [`oracle`] reads requests. Each
//! input has its own provider and its own upstream client, so an input that fails also fails alone.
//!
//! Two properties need no knowledge of the input: the provider receives whole requests that keep the oracle's rules,
//! and the caller receives whole responses. The others compare the input with what arrives:
//!
//! - Method and target of each request stand in the input, in the same order. An input that frames a body exactly has
//!   one request at most, whatever the body is. Ambiguous framing is refused.
//! - [`CANARY`] never arrives. Templates have it where nothing may be forwarded in clear: in the body, and in fields
//!   that the gateway removes.
//!
//! Rejected: a whole gateway with its listeners. A listener parses nothing, and costs each input a port.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use http::header::AUTHORIZATION;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use url::Url;

use super::oracle::{self, Expected};
use crate::app;
use crate::clock::{Clock, Jitter};
use crate::config::Config;
use crate::gateway::access_log::{self, Observers};
use crate::gateway::callers::{Callers, TokenKey};
use crate::gateway::capacity::Quota;
use crate::gateway::exchange::Exchange;
use crate::gateway::request::admit::Admission;
use crate::gateway::request::via::GatewayId;
use crate::gateway::route::{BodyPolicy, Route, Routes};
use crate::gateway::server::connection::serve_alone;
use crate::gateway::server::drain::Drain;
use crate::gateway::stack::{CurrentStack, InFlight, Stack};
use crate::keys::Source;
use crate::secret::{Secret, SecretSource};
use crate::static_credential::StaticCredential;
use crate::upstream::{self, Connector, UpstreamClient};

/// Text of the caller that the provider must never see.
const CANARY: &str = "canary-7f3a9c51d0e8b2466";

const CREDENTIAL: &str = "token-of-the-gateway";

/// The header of each message that the gateway seals with the key of the corpus.
const HEADER: &str = r#"{"alg":"RSA-OAEP-256","enc":"A256CBC-HS512","typ":"JWE","kid":"a"}"#;

/// The fields of a template that are not forwarded.
const NOT_FORWARDED: &str =
    "Cookie: a=CANARY\r\nAuthorization: Bearer CANARY\r\nConnection: x-hop\r\nX-Hop: CANARY\r\n";

/// Long inputs find little that short ones do not, and cost more.
const MAX_INPUT: usize = 16 * 1024;

/// Small enough for an input to exceed it.
const MAX_BODY: usize = 8 * 1024;

/// For each step of the gateway. The caller closes its sending side, so no step waits for octets that never come.
const DEADLINE: Duration = Duration::from_secs(5);

/// For a whole input. A gateway that keeps a connection longer has lost one of its deadlines.
const WHOLE_INPUT: Duration = Duration::from_secs(9);

/// A caller's octets: the provider receives whole requests that keep the rules of the gateway, or nothing.
///
/// The first octet says what the others are:
///
/// | octet | the others |
/// |---|---|
/// | `m` `t` | method or target of a POST with JSON |
/// | `f` `h` | field lines at the start or the end of its head |
/// | `l` `c` | its `Content-Length`, or its body in chunks |
/// | `b` `k` | text in its body, which has an exact length or exact chunks |
/// | `j` | the body of a POST with a JWE |
/// | `g` | field lines of a GET |
/// | any other | all octets of the connection |
///
/// A capital letter means the same. The octets then arrive in small pieces.
pub fn connection(data: &[u8]) {
    forwarded(data);
}

/// Runs one input. Returns the number of requests that the provider has received.
fn forwarded(data: &[u8]) -> usize {
    thread_local! {
        static GATEWAY: TestGateway = TestGateway::start();
    }
    let Some(input) = Input::of(data) else { return 0 };
    let outcome = GATEWAY.with(|gateway| gateway.run(&input));
    input.check(&outcome)
}

/// What a caller sends.
struct Input {
    octets: Vec<u8>,
    piece: usize,
    /// The length of the body, if the input is exactly one request with that body.
    exact_body: Option<usize>,
    has_canary_in_clear: bool,
}

/// What arrived on both sides.
struct Outcome {
    /// The provider's `Host`.
    host: String,
    /// The octets of each connection to the provider, in the order of the connections.
    to_provider: Vec<Vec<u8>>,
    to_caller: Vec<u8>,
}

impl Input {
    fn of(data: &[u8]) -> Option<Self> {
        let (kind, text) = data.split_first()?;
        if text.len() > MAX_INPUT {
            return None;
        }
        let has_canary_in_clear = contains(text, CANARY.as_bytes());
        let json = [format!("{{\"iban\":\"{CANARY}\",\"x\":").as_bytes(), text, b"}"].concat();
        let post = |line: [&[u8]; 2], first: &[u8], content: &str, last: &[u8], body: &[u8]| {
            let [method, target] = line;
            let fields = NOT_FORWARDED.replace("CANARY", CANARY);
            let content = format!("Host: gateway.test\r\nContent-Type: application/{content}\r\n");
            let (content, fields) = (content.as_bytes(), fields.as_bytes());
            [method, b" ", target, b" HTTP/1.1\r\n", first, content, fields, last, b"\r\n", body].concat()
        };
        let length = |body: &[u8]| format!("Content-Length: {}\r\n", body.len()).into_bytes();
        let line = |text: &[u8]| if text.is_empty() { Vec::new() } else { [text, b"\r\n"].concat() };
        let usual: [&[u8]; 2] = [b"POST", b"/v0/x?y=1"];
        let body = format!("{{\"iban\":\"{CANARY}\"}}").into_bytes();
        let octets = match kind.to_ascii_lowercase() {
            b'm' => post([text, usual[1]], b"", "json", &length(&body), &body),
            b't' => post([usual[0], text], b"", "json", &length(&body), &body),
            b'f' => post(usual, &line(text), "json", &length(&body), &body),
            b'h' => post(usual, b"", "json", &[length(&body), line(text)].concat(), &body),
            b'l' => post(usual, b"", "json", &[b"Content-Length: ", text, b"\r\n"].concat(), &body),
            b'c' => post(usual, b"", "json", b"Transfer-Encoding: chunked\r\n", text),
            b'b' => post(usual, b"", "json", &length(&json), &json),
            b'k' => post(usual, b"", "json", b"Transfer-Encoding: chunked\r\n", &in_chunks(&json)),
            b'j' => post(usual, b"", "jose", &length(text), text),
            b'g' => [b"GET /v0/x?y=1 HTTP/1.1\r\nHost: gateway.test\r\n", &line(text)[..], b"\r\n"].concat(),
            _ => text.to_vec(),
        };
        let exact_body = matches!(kind.to_ascii_lowercase(), b'b' | b'k').then_some(json.len());
        // Few pieces, because hyper parses a head again whenever more of it arrives.
        let piece = if kind.is_ascii_uppercase() { (octets.len() / 64).max(7) } else { usize::MAX };
        Some(Self { octets, piece, exact_body, has_canary_in_clear })
    }

    /// Checks what arrived. Returns the number of requests.
    fn check(&self, outcome: &Outcome) -> usize {
        let authorization = format!("Bearer {CREDENTIAL}");
        let may_be_sealed_by_caller = contains(&self.octets.to_ascii_lowercase(), b"jose");
        let expected = Expected {
            host: &outcome.host,
            authorization: &authorization,
            header: (!may_be_sealed_by_caller).then_some(HEADER),
            secret: (!self.has_canary_in_clear).then_some(CANARY),
        };
        let mut requests = 0;
        let mut not_yet_seen = &self.octets[..];
        for octets in outcome.to_provider.iter().filter(|octets| !octets.is_empty()) {
            let fail = |refused: &str| -> ! { panic!("{refused}: {}", octets.escape_ascii()) };
            let (request, rest) = match oracle::request(octets) {
                Ok(Some(read)) => read,
                Ok(None) => fail("the request is incomplete"),
                Err(refused) => fail(refused),
            };
            let ciphertext = request.check(&expected).unwrap_or_else(|refused| fail(refused));
            if !rest.is_empty() {
                fail("octets follow the request");
            }
            not_yet_seen = behind_line(not_yet_seen, request.method, request.target)
                .unwrap_or_else(|| fail("the input does not have the request line"));
            // PKCS #7 adds 1 to 16 octets.
            if self.exact_body.is_some_and(|body| ciphertext != body / 16 * 16 + 16) {
                fail("the sealed body has another length");
            }
            requests += 1;
        }
        let most = self.exact_body.map(|_| 1).or_else(|| oracle::most_requests(&self.octets));
        assert!(most.is_none_or(|most| requests <= most), "{requests} requests were forwarded, not {most:?}");

        let to_head = contains(&self.octets, b"HEAD ");
        let responses = oracle::responses(&outcome.to_caller, to_head)
            .unwrap_or_else(|refused| panic!("{refused}: {}", outcome.to_caller.escape_ascii()));
        assert!(requests <= responses.len(), "{requests} requests have {} responses", responses.len());
        let closes_early = responses.iter().rev().skip(1).any(|closes| *closes);
        assert!(!closes_early, "a response follows Connection: close: {}", outcome.to_caller.escape_ascii());
        requests
    }
}

/// The octets behind the first line that has this method and target. The gateway does not forward a fragment.
fn behind_line<'a>(octets: &'a [u8], method: &[u8], target: &[u8]) -> Option<&'a [u8]> {
    let line = [method, b" ", target].concat();
    let ends = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'#'));
    let at = (0..octets.len()).find(|at| octets[*at..].starts_with(&line) && ends(octets.get(at + line.len())))?;
    Some(&octets[at + line.len()..])
}

fn in_chunks(body: &[u8]) -> Vec<u8> {
    let chunks = body.chunks(100).map(|chunk| [format!("{:X}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    chunks.chain([b"0\r\n\r\n".to_vec()]).collect::<Vec<_>>().concat()
}

fn contains(octets: &[u8], text: &[u8]) -> bool {
    octets.windows(text.len()).any(|window| window == text)
}

/// A gateway with one upstream, with a key and a credential at hand: an input causes no fetch.
struct TestGateway {
    runtime: Runtime,
    connector: Connector,
    route: Route,
    callers: Callers,
    clock: Clock,
}

impl TestGateway {
    fn start() -> Self {
        let fail = |error: &dyn std::fmt::Display| -> ! { panic!("the gateway cannot be built: {error}") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| fail(&error));
        let url = Url::parse("http://127.0.0.1").unwrap_or_else(|error| fail(&error));
        let secret = |text: &str| SecretSource::Value(Secret::new(text.to_owned()));
        let mut config = Config::for_one("provider", url, String::new(), secret(CREDENTIAL)).upstreams.remove(0);
        config.credentials = crate::credentials::Config::Static(StaticCredential {
            header: AUTHORIZATION,
            prefix: "Bearer ".to_owned(),
            secret: secret(CREDENTIAL),
        });
        config.keys.source = Source::File(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/jwk_set/one_key"));
        // The clock stands still, so the key does not become old.
        let (clock, _) = Clock::manual();
        let quota = Quota { max_body: MAX_BODY, buffered: 64 * MAX_BODY, in_flight: 16 };
        let connector = Connector::new(None).unwrap_or_else(|error| fail(&error));
        let route = app::route_alone(&config, quota, &clock, &Jitter::seeded(1));
        let route = route.unwrap_or_else(|error| fail(&error));
        let token_key = TokenKey::random().unwrap_or_else(|error| fail(&error));
        let callers = Callers::new(Vec::new(), token_key, clock.clone(), None).unwrap_or_else(|error| fail(&error));
        runtime.block_on(async {
            // A fuzzer's process would end at the first write to a closed connection.
            if let Err(error) = signal(SignalKind::pipe()) {
                fail(&error);
            }
            let BodyPolicy::Seal(keys) = &route.body_policy else { panic!("the upstream does not seal") };
            keys.refresh().await.unwrap_or_else(|error| fail(&error));
            if let Err(error) = route.credentials.current().await {
                fail(&error);
            }
        });
        Self { runtime, connector, route, callers, clock }
    }

    fn run(&self, input: &Input) -> Outcome {
        self.runtime.block_on(async {
            let outcome = tokio::time::timeout(WHOLE_INPUT, self.serve(input)).await;
            outcome.unwrap_or_else(|_| panic!("the connection did not end: {}", input.octets.escape_ascii()))
        })
    }

    async fn serve(&self, input: &Input) -> Outcome {
        let provider = Provider::start().await;
        let host = provider.host.clone();
        let (caller, stream) = UnixStream::pair().unwrap_or_else(|error| panic!("{error}"));
        let (_, to_caller) =
            tokio::join!(self.serve_connection(stream, &provider.host), send(caller, &input.octets, input.piece));
        Outcome { host, to_provider: provider.received().await, to_caller }
    }

    /// Serves one connection, with a new client to the provider at `host`.
    async fn serve_connection(&self, stream: UnixStream, host: &str) {
        let url = Url::parse(&format!("http://{host}")).unwrap_or_else(|error| panic!("{error}"));
        let config = upstream::Config { reply: DEADLINE, ..upstream::Config::new(url) };
        let upstream = UpstreamClient::new(&config, &self.connector).unwrap_or_else(|error| panic!("{error}"));
        let routes = Routes::new(vec![Route { upstream, ..self.route.clone() }]);
        let exchange = Exchange::new(
            Admission::new(self.callers.clone(), routes, DEADLINE, GatewayId::random()),
            self.clock.clone(),
        );
        let observers = Observers::new(access_log::Config::default(), Vec::new());
        let stack =
            Stack::new(exchange, (InFlight::default(), 16), DEADLINE, observers, Drain::default(), self.clock.clone());
        serve_alone(stream, CurrentStack::new(stack), DEADLINE).await;
    }
}

/// Sends `octets`, closes the sending side, and returns what the gateway sends.
async fn send(mut caller: UnixStream, octets: &[u8], piece: usize) -> Vec<u8> {
    let (mut reading, mut writing) = caller.split();
    let write = async {
        for piece in octets.chunks(piece) {
            // The gateway may close the connection before it has read everything.
            if writing.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        let _ = writing.shutdown().await;
    };
    let mut received = Vec::new();
    // An error follows the response if the gateway closes the connection before it has read everything.
    let _ = tokio::join!(write, reading.read_to_end(&mut received));
    received
}

/// Records the octets of each connection.
struct Provider {
    host: String,
    stop: oneshot::Sender<()>,
    connections: JoinHandle<Vec<JoinHandle<Vec<u8>>>>,
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap_or_else(|error| panic!("{error}"));
        let host = listener.local_addr().unwrap_or_else(|error| panic!("{error}")).to_string();
        let (stop, mut stopped) = oneshot::channel();
        let connections = tokio::spawn(async move {
            let mut connections = Vec::new();
            loop {
                tokio::select! {
                    biased;
                    Ok((stream, _)) = listener.accept() => connections.push(tokio::spawn(answer(stream))),
                    _ = &mut stopped => return connections,
                }
            }
        });
        Self { host, stop, connections }
    }

    /// The octets of each connection. Waits for the gateway to close them.
    async fn received(self) -> Vec<Vec<u8>> {
        drop(self.stop);
        let mut received = Vec::new();
        for connection in self.connections.await.unwrap_or_else(|error| panic!("{error}")) {
            received.push(connection.await.unwrap_or_else(|error| panic!("{error}")));
        }
        received
    }
}

/// Answers one request. Reads on to the end of the connection, because nothing may follow.
async fn answer(mut stream: TcpStream) -> Vec<u8> {
    // A fuzzer opens many connections. They must not stay in TIME_WAIT.
    let _ = stream.set_zero_linger();
    let mut octets = Vec::new();
    let mut is_answered = false;
    while stream.read_buf(&mut octets).await.is_ok_and(|length| length > 0) {
        match oracle::request(&octets) {
            Ok(Some(_)) if !is_answered => {
                is_answered = true;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_requests_reach_the_provider() {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            assert_eq!(forwarded(format!("m{method}").as_bytes()), 1, "{method}");
            assert_eq!(forwarded(format!("M{method}").as_bytes()), 1, "{method} in pieces");
            let without_body = format!("{method} /v0/x HTTP/1.1\r\nHost: g\r\n\r\n");
            assert_eq!(forwarded(format!("r{without_body}").as_bytes()), 1, "{method} without a body");
            assert_eq!(forwarded(format!("r{}", without_body.repeat(3)).as_bytes()), 3, "{method}, three pipelined");
        }
        for valid in ["t/", "fX-Test: 1", "h", "hX-Test: 1\r\nExpect: 100-continue", "l35", "c2;x=y\r\n{}\r\n0\r\n\r\n"]
        {
            assert_eq!(forwarded(valid.as_bytes()), 1, "{valid}");
        }
        for valid in ["b[1]", "B\"GET / HTTP/1.1\"", "k0", "K{\"a\":\"\\r\\n\\r\\n\"}", "g", "gConnection: close"] {
            assert_eq!(forwarded(valid.as_bytes()), 1, "{valid}");
        }
        let message =
            std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/compact_jwe/sealed_by_npm_jose"));
        assert_eq!(forwarded(&[b"j", &message.unwrap()[..]].concat()), 1);
    }

    #[test]
    fn refused_requests_do_not_reach_the_provider() {
        for refused in [
            "",
            "mOPTIONS",
            "t*",
            "thttp://g/",
            "fHost: g",
            "hContent-Type: text/plain",
            "hTransfer-Encoding: chunked",
            "l+35",
            "l3",
            "l35, 35",
            "c2\r\n{}\r\n",
            "c2\n{}\n0\n\n",
            "b",
            "b{",
            "k}",
            "j",
            "ja.b.c.d.e",
            "gHost: g",
            "rGET / HTTP/1.1\r\n\r\n",
            "rGET / HTTP/2\r\nHost: g\r\n\r\n",
            "rGET /\r\n",
            "rPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            assert_eq!(forwarded(refused.as_bytes()), 0, "{refused}");
        }
    }

    /// A request of the gateway to `h`, and the response to its caller.
    fn outcome(request: &str) -> Outcome {
        let to_caller = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec();
        Outcome { host: "h".to_owned(), to_provider: vec![request.as_bytes().to_vec()], to_caller }
    }

    #[test]
    fn a_fault_in_what_arrives_is_seen() {
        let sent = "GET /v0/x?y=1 HTTP/1.1\r\nhost: h\r\nvia: 1.1 jwe-gateway\r\nx-request-id: 1\r\n\
                    authorization: Bearer token-of-the-gateway\r\n\r\n";
        let input = Input::of(b"g").unwrap();
        assert_eq!(input.check(&outcome(sent)), 1);
        let is_seen = |input: &Input, outcome: &Outcome| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| input.check(outcome))).is_err()
        };
        for (from, to) in [
            ("/v0/x", "/v0/y"),
            ("GET", "PUT"),
            ("host: h", "host: g"),
            ("x-request-id: 1", "x-request-id: 1\r\ncookie: 1"),
            ("\r\n\r\n", "\r\n\r\nGET"),
            ("\r\n\r\n", "\r\n"),
        ] {
            assert!(is_seen(&input, &outcome(&sent.replacen(from, to, 1))), "{from:?} as {to:?}");
        }
        let mut twice = outcome(sent);
        twice.to_provider.push(sent.as_bytes().to_vec());
        assert!(is_seen(&input, &twice), "the input has one request");
        let mut unanswered = outcome(sent);
        unanswered.to_caller.clear();
        assert!(is_seen(&input, &unanswered));
        let mut open = outcome(sent);
        open.to_caller = b"HTTP/1.1 400 \r\nconnection: close\r\ncontent-length: 0\r\n\r\n".repeat(2);
        assert!(is_seen(&input, &open), "a response follows Connection: close");
        assert!(is_seen(&Input::of(b"b1").unwrap(), &outcome(&sent.replacen("GET", "POST", 1))), "the body is lost");
    }
}
