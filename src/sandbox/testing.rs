//! A sandbox and an HTTP client for the unit tests of this module.

use std::pin::pin;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::management::described::assert_described;
use super::{Options, Sandbox};
use crate::clock::{Clock, ClockControl};
use crate::jose::{EncryptionKey, Plaintext, seal};

const TICK: Duration = Duration::from_millis(1);

/// A running sandbox, and a client with a valid token.
pub(super) struct TestSandbox {
    pub(super) handle: Sandbox,
    pub(super) http: reqwest::Client,
    pub(super) control: ClockControl,
    token: String,
}

/// A response, read completely.
#[derive(Debug)]
pub(super) struct TestResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl TestResponse {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The JSON document of a response that must have status 200.
    pub(super) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl TestSandbox {
    pub(super) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// Starts with a manual clock in place of the one in `options`.
    pub(super) async fn start_with(options: Options) -> Self {
        let (clock, control) = Clock::manual();
        let handle = Sandbox::start(Options { clock, ..options }).await.unwrap();
        let mut sandbox = Self { handle, http: client(), control, token: String::new() };
        sandbox.renew_token().await;
        sandbox
    }

    pub(super) async fn renew_token(&mut self) {
        let reply = self.request_token(&self.credentials()).await.ok();
        self.token = reply["access_token"].as_str().unwrap().to_owned();
    }

    /// The body of a valid token request.
    pub(super) fn credentials(&self) -> Value {
        json!({
            "client_id": self.handle.client_id(),
            "client_secret": self.handle.client_secret(),
            "grant_type": "client_credentials",
        })
    }

    pub(super) async fn request_token(&self, body: &Value) -> TestResponse {
        let request = self.http.post(self.handle.url() + "/v0/token");
        let request = request.header(CONTENT_TYPE, "application/json");
        send(request.body(body.to_string())).await
    }

    /// An API request with a valid token, without a body.
    pub(super) fn request(&self, method: Method, target: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.handle.url() + target).header(AUTHORIZATION, format!("Bearer {}", self.token))
    }

    pub(super) async fn get(&self, target: &str) -> TestResponse {
        send(self.request(Method::GET, target)).await
    }

    /// Calls the API with a plain JSON body.
    pub(super) async fn call(&self, method: Method, target: &str, body: &Value) -> TestResponse {
        let request = self.request(method, target);
        let request = request.header(CONTENT_TYPE, "application/json");
        send(request.body(body.to_string())).await
    }

    pub(super) async fn post(&self, target: &str, body: &Value) -> TestResponse {
        self.call(Method::POST, target, body).await
    }

    /// Calls the API with a body that is already sealed.
    pub(super) async fn post_jose(&self, target: &str, message: Vec<u8>) -> TestResponse {
        let request = self.request(Method::POST, target);
        let request = request.header(CONTENT_TYPE, "application/jose");
        send(request.body(message)).await
    }

    pub(super) async fn jwks(&self) -> TestResponse {
        send(self.http.get(self.jwks_url())).await
    }

    pub(super) fn jwks_url(&self) -> String {
        self.handle.url() + "/.well-known/jwks.json"
    }

    /// Seals `body` with the first key of the published set.
    pub(super) async fn seal(&self, body: &[u8]) -> Vec<u8> {
        let set = self.jwks().await.ok();
        let key = EncryptionKey::from_jwk(&set["keys"][0]).unwrap();
        let plaintext = Plaintext::json(body.to_vec().into()).unwrap();
        seal(&plaintext, &key).unwrap().into_bytes().unwrap()
    }

    /// Waits for `response` and advances the clock by `step` every [`TICK`]. Also returns how far the clock
    /// was advanced.
    pub(super) async fn advance_clock_until<T>(
        &self,
        step: Duration,
        response: impl Future<Output = T>,
    ) -> (T, Duration) {
        let mut response = pin!(response);
        let mut advanced = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                response = &mut response => return (response, advanced),
                // System time: the sandbox begins to wait on the manual clock only when the request arrives.
                () = tokio::time::sleep(TICK) => {
                    self.control.advance(step);
                    advanced += step;
                }
            }
        }
    }

    pub(super) async fn arm_by_http(&self, armed: &Value) -> TestResponse {
        self.manage_with(Method::POST, "/faults", armed).await
    }

    pub(super) async fn manage(&self, method: Method, target: &str) -> TestResponse {
        self.manage_body(method, target, String::new()).await
    }

    /// Calls the management interface with a JSON body.
    pub(super) async fn manage_with(&self, method: Method, target: &str, body: &Value) -> TestResponse {
        self.manage_body(method, target, body.to_string()).await
    }

    /// Asserts that the OpenAPI document of the interface describes the response.
    async fn manage_body(&self, method: Method, target: &str, body: String) -> TestResponse {
        let request = self.http.request(method.clone(), self.handle.management_url() + target);
        let response = send(request.body(body)).await;
        assert_described(&method, target, &response);
        response
    }
}

pub(super) async fn send(request: reqwest::RequestBuilder) -> TestResponse {
    let response = request.send().await.unwrap();
    TestResponse {
        status: response.status(),
        headers: response.headers().clone(),
        body: response.bytes().await.unwrap().to_vec(),
    }
}

#[expect(clippy::disallowed_methods, reason = "the sandbox must be tested without the gateway's client")]
fn client() -> reqwest::Client {
    // Fails if another test has installed the provider before.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}
