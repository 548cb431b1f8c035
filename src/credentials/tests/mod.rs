//! `Credentials` against token endpoints on loopback, with a clock that the test controls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, Request, ResponseTemplate};

use super::{ClientCredentials, Config, Credential, Credentials, Refuser, RenewalErrorKind};
use crate::clock::{Clock, ClockControl, Jitter};
use crate::secret::{Secret, SecretSource};
use crate::testing::{Server, client};

mod endpoint;
mod fixed;
mod refusal;
mod renewal;
mod report;
mod reread;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone)]
enum EndpointResponse {
    /// Grants `token-1`, `token-2` and so on, each for this many seconds.
    Grants(u64),
    /// The same after a delay.
    Slowly(Duration),
    Is(ResponseTemplate),
}

/// A token endpoint with responses that can be changed while it runs.
struct Endpoint {
    server: Server,
    responses: Arc<Mutex<VecDeque<EndpointResponse>>>,
}

impl Endpoint {
    /// Sends these responses in turn, and then always the last one.
    async fn start(responses: impl IntoIterator<Item = EndpointResponse>) -> Self {
        let server = Server::start().await;
        let responses = Arc::new(Mutex::new(VecDeque::from_iter(responses)));
        let queue = Arc::clone(&responses);
        let granted = Mutex::new(0);
        let response = move |_: &Request| {
            let mut queue = queue.lock().unwrap();
            let response = if queue.len() > 1 { queue.pop_front().unwrap() } else { queue[0].clone() };
            let grant = |seconds: u64| {
                let mut granted = granted.lock().unwrap();
                *granted += 1;
                let token = format!("token-{granted}");
                json!({ "access_token": token, "token_type": "Bearer", "expires_in": seconds })
            };
            match response {
                EndpointResponse::Grants(seconds) => ResponseTemplate::new(200).set_body_json(grant(seconds)),
                EndpointResponse::Slowly(delay) => {
                    ResponseTemplate::new(200).set_body_json(grant(3600)).set_delay(delay)
                }
                EndpointResponse::Is(response) => response,
            }
        };
        Mock::given(method("POST")).and(path("/v0/token")).respond_with(response).mount(&server).await;
        Self { server, responses }
    }

    fn now_responds(&self, response: EndpointResponse) {
        *self.responses.lock().unwrap() = VecDeque::from([response]);
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

    /// Credentials from this endpoint, and the control of their clock.
    fn credentials(&self) -> (Credentials, ClockControl) {
        credentials(Config::ClientCredentials(self.config()))
    }
}

fn credentials(config: Config) -> (Credentials, ClockControl) {
    let (clock, control) = Clock::manual();
    (Credentials::new("provider", config, client(), clock, Jitter::seeded(1), Arc::default()), control)
}

fn last_error(credentials: &Credentials) -> Option<RenewalErrorKind> {
    credentials.snapshot().last_error.map(|error| error.kind)
}

fn status(status: u16) -> EndpointResponse {
    EndpointResponse::Is(ResponseTemplate::new(status).set_body_json(json!({ "error": "canary-response" })))
}

/// The value of `Authorization` that the credential adds.
fn authorization(credential: &Credential) -> String {
    let mut headers = HeaderMap::new();
    credential.apply(&mut headers);
    headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

async fn usable(credentials: &Credentials) -> String {
    authorization(&credentials.current().await.unwrap())
}

/// Waits in real time until a condition is met that other tasks bring about.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.expect("the condition was not met in time");
}
