//! Keys, key sets and a provider for the tests of this module.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, Request, ResponseTemplate};

use super::{Config, FetchErrorKind, Keys, Source};
use crate::clock::{Clock, ClockControl, Jitter};
use crate::jose::EncryptionKey;
use crate::testing::Server;
pub(super) use crate::testing::client;

/// A JWK with an odd 2048-bit modulus made from `seed`. Its factors are unknown: it can be published and chosen, but
/// it cannot open messages.
pub(super) fn jwk(kid: &str, seed: u64) -> Value {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut rng = fastrand::Rng::with_seed(seed);
    // 342 digits of six bits are 256 octets and four unused bits. "g" sets the first bit. The last octet ends with the
    // upper two bits of the last digit: "Q" makes it odd.
    let middle: String = (0..340).map(|_| char::from(ALPHABET[rng.usize(..64)])).collect();
    json!({ "kty": "RSA", "kid": kid, "n": format!("g{middle}Q"), "e": "AQAB" })
}

pub(super) fn key(kid: &str, seed: u64) -> Arc<EncryptionKey> {
    Arc::new(EncryptionKey::from_jwk(&jwk(kid, seed)).unwrap())
}

pub(super) fn document(jwks: &[Value]) -> Vec<u8> {
    json!({ "keys": jwks }).to_string().into_bytes()
}

/// 200 with the keys of these seeds and this `max-age`. The `kid` of each key is its seed.
pub(super) fn publishes(seeds: &[u64], max_age: u64) -> ResponseTemplate {
    let jwks: Vec<Value> = seeds.iter().map(|seed| jwk(&seed.to_string(), *seed)).collect();
    ResponseTemplate::new(200)
        .insert_header("cache-control", format!("max-age={max_age}"))
        .set_body_raw(document(&jwks), "application/json")
}

/// A provider with responses that can be changed while it runs.
pub(super) struct TestProvider {
    server: Server,
    responses: Arc<Mutex<VecDeque<ResponseTemplate>>>,
}

impl TestProvider {
    /// Sends these responses in turn, and then always the last one.
    pub(super) async fn start(responses: impl IntoIterator<Item = ResponseTemplate>) -> Self {
        let server = Server::start().await;
        let responses = Arc::new(Mutex::new(VecDeque::from_iter(responses)));
        let queue = Arc::clone(&responses);
        let response = move |_: &Request| {
            let mut queue = queue.lock().unwrap();
            if queue.len() > 1 { queue.pop_front().unwrap() } else { queue[0].clone() }
        };
        Mock::given(method("GET")).and(path("/.well-known/jwks.json")).respond_with(response).mount(&server).await;
        Self { server, responses }
    }

    pub(super) fn now_responds(&self, response: ResponseTemplate) {
        *self.responses.lock().unwrap() = VecDeque::from([response]);
    }

    pub(super) fn url(&self) -> url::Url {
        format!("{}/.well-known/jwks.json", self.server.uri()).parse().unwrap()
    }

    pub(super) async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.unwrap()
    }

    pub(super) async fn fetches(&self) -> usize {
        self.requests().await.len()
    }

    pub(super) fn config(&self) -> Config {
        Config::new(Source::Url(self.url()))
    }

    /// The keys of this provider, and the control of their clock.
    pub(super) fn keys(&self) -> (Keys, ClockControl) {
        keys(self.config())
    }
}

/// Everything that `write` logs.
pub(super) fn logged(write: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct LogBuffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for LogBuffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let log = LogBuffer::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, write);
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// Fetches once. Leaves the location out of the error.
pub(super) async fn refresh(keys: &Keys) -> Result<(), FetchErrorKind> {
    keys.refresh().await.map_err(|error| error.kind)
}

pub(super) fn last_error(keys: &Keys) -> Option<FetchErrorKind> {
    keys.state().last_error().map(|error| error.kind.clone())
}

pub(super) fn keys(config: Config) -> (Keys, ClockControl) {
    let (clock, control) = Clock::manual();
    (Keys::new("provider", config, client(), clock, Jitter::seeded(1), Arc::default()), control)
}

/// Waits in real time until a condition is met that other tasks bring about.
pub(super) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.expect("the condition was not met in time");
}
