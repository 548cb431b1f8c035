//! The room as its users see it, against token endpoints on loopback and a clock turned by hand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, Request, ResponseTemplate};

use super::{ClientCredentials, Config, Credential, Credentials, RenewalErrorKind};
use crate::clock::{Clock, ClockControl, Jitter};
use crate::secret::{Secret, SecretSource};
use crate::testing::{Server, client};

mod endpoint;
mod fixed;
mod refusal;
mod renewal;

const SECOND: Duration = Duration::from_secs(1);

/// What the endpoint does with a request.
#[derive(Clone)]
enum Answer {
    /// Grants `token-1`, `token-2`... for so many seconds.
    Grants(u64),
    /// The same after a delay.
    Slowly(Duration),
    Is(ResponseTemplate),
}

/// A token endpoint whose answers can be changed while it runs.
struct Endpoint {
    server: Server,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Endpoint {
    /// Gives these answers in turn, and the last one for ever.
    async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let server = Server::start().await;
        let answers = Arc::new(Mutex::new(VecDeque::from_iter(answers)));
        let queue = Arc::clone(&answers);
        let granted = Mutex::new(0);
        let answer = move |_: &Request| {
            let mut queue = queue.lock().unwrap();
            let answer = if queue.len() > 1 { queue.pop_front().unwrap() } else { queue[0].clone() };
            let grant = |seconds: u64| {
                let mut granted = granted.lock().unwrap();
                *granted += 1;
                let token = format!("token-{granted}");
                json!({ "access_token": token, "token_type": "Bearer", "expires_in": seconds })
            };
            match answer {
                Answer::Grants(seconds) => ResponseTemplate::new(200).set_body_json(grant(seconds)),
                Answer::Slowly(delay) => ResponseTemplate::new(200).set_body_json(grant(3600)).set_delay(delay),
                Answer::Is(answer) => answer,
            }
        };
        Mock::given(method("POST")).and(path("/v0/token")).respond_with(answer).mount(&server).await;
        Self { server, answers }
    }

    fn now_answers(&self, answer: Answer) {
        *self.answers.lock().unwrap() = VecDeque::from([answer]);
    }

    async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.unwrap()
    }

    async fn posts(&self) -> usize {
        self.requests().await.len()
    }

    fn config(&self) -> ClientCredentials {
        let url = format!("{}/v0/token", self.server.uri()).parse().unwrap();
        ClientCredentials::new(url, "id".into(), SecretSource::Value(Secret::new("canary-secret".into())))
    }

    /// A holder of this endpoint's tokens, and the hands of its clock.
    fn tokens(&self) -> (Credentials, ClockControl) {
        tokens(Config::ClientCredentials(self.config()))
    }
}

fn tokens(config: Config) -> (Credentials, ClockControl) {
    let (clock, control) = Clock::manual();
    (Credentials::new("provider", config, client(), clock, Jitter::seeded(1)), control)
}

fn last_error(tokens: &Credentials) -> Option<RenewalErrorKind> {
    tokens.snapshot().last_error.map(|error| error.kind)
}

fn status(status: u16) -> Answer {
    Answer::Is(ResponseTemplate::new(status).set_body_json(json!({ "error": "canary-answer" })))
}

/// What the credential puts into `Authorization`.
fn shown(credential: &Credential) -> String {
    let mut headers = HeaderMap::new();
    credential.apply(&mut headers);
    headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

async fn usable(tokens: &Credentials) -> String {
    shown(&tokens.current().await.unwrap())
}

/// Waits, in real time, for something that other tasks bring about.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.expect("the condition was not met in time");
}
