//! A client of Flinks that has every credential.

use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

use super::TOKEN_PATH;
use super::routes::{self, Credential};
use crate::sandbox::Options;
use crate::sandbox::testing::{TestResponse, TestSandbox, send};

pub(super) const LOGIN_1: &str = "00000000-0000-4000-8000-000000000001";
pub(super) const LOGIN_2: &str = "00000000-0000-4000-8000-000000000002";
pub(super) const LOGIN_3: &str = "00000000-0000-4000-8000-000000000003";

pub(super) struct FlinksTest {
    pub(super) sandbox: TestSandbox,
    token: String,
}

impl FlinksTest {
    pub(super) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(super) async fn start_with(options: Options) -> Self {
        let sandbox = TestSandbox::start_with(options).await;
        let mut flinks = Self { sandbox, token: String::new() };
        let document = flinks.request_token(|_| {}).await.ok();
        document["access_token"].as_str().unwrap().clone_into(&mut flinks.token);
        flinks
    }

    /// Requests a token with a valid request that `change` may spoil.
    pub(super) async fn request_token(&self, change: impl FnOnce(&mut Value)) -> TestResponse {
        let keys = self.sandbox.handle.flinks();
        let mut request = json!({
            "grant_type": "client_credentials",
            "client_id": keys.client_id,
            "client_secret": keys.client_secret.expose(),
            "scope": "client:admin",
        });
        change(&mut request);
        self.send(Method::POST, TOKEN_PATH, None, Some(&request)).await
    }

    pub(super) async fn get(&self, target: &str) -> TestResponse {
        self.call(Method::GET, target, None).await
    }

    pub(super) async fn post(&self, target: &str, body: &Value) -> TestResponse {
        self.call(Method::POST, target, Some(body)).await
    }

    /// Returns the request id for a login.
    pub(super) async fn authorize(&self, login: &str, is_cached: bool) -> String {
        let request = json!({ "LoginId": login, "MostRecentCached": is_cached });
        let authorized = self.post("/v3/customer/BankingServices/Authorize", &request).await.ok();
        authorized["RequestId"].as_str().unwrap().to_owned()
    }

    /// Calls with the credential that the operation requires.
    pub(super) async fn call(&self, method: Method, target: &str, body: Option<&Value>) -> TestResponse {
        let path = target.split('?').next().unwrap();
        let credential = routes::find(&method, path).map(|route| self.header(route.credential));
        self.send(method, target, credential, body).await
    }

    /// The name and value of the header with this credential.
    pub(super) fn header(&self, credential: Credential) -> (&'static str, String) {
        let keys = self.sandbox.handle.flinks();
        match credential {
            Credential::AccessToken => (AUTHORIZATION.as_str(), format!("Bearer {}", self.token)),
            Credential::FixedKey => (AUTHORIZATION.as_str(), format!("Bearer {}", keys.bearer.expose())),
            Credential::AuthKey | Credential::AuthKeyOrFixedKey => {
                ("flinks-auth-key", keys.auth_key.expose().to_owned())
            }
            Credential::ApiKey => ("x-api-key", keys.api_key.expose().to_owned()),
        }
    }

    pub(super) async fn send(
        &self,
        method: Method,
        target: &str,
        header: Option<(&str, String)>,
        body: Option<&Value>,
    ) -> TestResponse {
        let mut request = self.sandbox.http.request(method, format!("{}{target}", self.sandbox.handle.url()));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        send(request).await
    }
}
