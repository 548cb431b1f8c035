//! Keys, clients and providers for the tests of this room.

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

/// A JWK with an odd 2048-bit modulus drawn from `seed`. Nobody knows its factors: it can be
/// published and chosen, not opened with.
pub(super) fn jwk(kid: &str, seed: u64) -> Value {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut rng = fastrand::Rng::with_seed(seed);
    // 342 digits of six bits are 256 octets and four bits of nothing. "g" sets the first bit, and
    // the last octet ends in the upper two bits of the last digit: "Q" makes it odd.
    let middle: String = (0..340).map(|_| char::from(ALPHABET[rng.usize(..64)])).collect();
    json!({ "kty": "RSA", "kid": kid, "n": format!("g{middle}Q"), "e": "AQAB" })
}

pub(super) fn key(kid: &str, seed: u64) -> Arc<EncryptionKey> {
    Arc::new(EncryptionKey::from_jwk(&jwk(kid, seed)).unwrap())
}

pub(super) fn document(jwks: &[Value]) -> Vec<u8> {
    json!({ "keys": jwks }).to_string().into_bytes()
}

/// 200 with the keys of these seeds, each with its seed for a `kid`, and this much `max-age`.
pub(super) fn publishes(seeds: &[u64], max_age: u64) -> ResponseTemplate {
    let jwks: Vec<Value> = seeds.iter().map(|seed| jwk(&seed.to_string(), *seed)).collect();
    ResponseTemplate::new(200)
        .insert_header("cache-control", format!("max-age={max_age}"))
        .set_body_raw(document(&jwks), "application/json")
}

/// A provider whose answers can be changed while it runs.
pub(super) struct Route {
    server: Server,
    answers: Arc<Mutex<VecDeque<ResponseTemplate>>>,
}

impl Route {
    /// Gives these answers in turn, and the last one for ever.
    pub(super) async fn start(answers: impl IntoIterator<Item = ResponseTemplate>) -> Self {
        let server = Server::start().await;
        let answers = Arc::new(Mutex::new(VecDeque::from_iter(answers)));
        let queue = Arc::clone(&answers);
        let answer = move |_: &Request| {
            let mut queue = queue.lock().unwrap();
            if queue.len() > 1 { queue.pop_front().unwrap() } else { queue[0].clone() }
        };
        Mock::given(method("GET")).and(path("/.well-known/jwks.json")).respond_with(answer).mount(&server).await;
        Self { server, answers }
    }

    pub(super) fn now_answers(&self, answer: ResponseTemplate) {
        *self.answers.lock().unwrap() = VecDeque::from([answer]);
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

    /// A holder of this provider's keys, and the hands of its clock.
    pub(super) fn keys(&self) -> (Keys, ClockControl) {
        keys(self.config())
    }
}

/// Everything that `write` logs.
pub(super) fn logged(write: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let log = Log::default();
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
    (Keys::new("provider", config, client(), clock, Jitter::seeded(1)), control)
}

/// Waits, in real time, for something that other tasks bring about.
pub(super) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.expect("the condition was not met in time");
}
