//! The kinds of requests that a drill sends, by their number.
//!
//! The sandbox refuses the wrong requests by itself, after it has opened them. Rejected: an armed fault. It
//! would refuse a message that the sandbox cannot open with the same text.

use super::scenario::Scenario;

/// What a request asks for. It decides the provider's response to the opened message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// Reads the status of credentials that the sandbox has from the start. The call changes nothing.
    Valid,
    /// Reads the status of credentials that do not exist. The 400 has the format of `/v0/`.
    WrongCredentials,
    /// Creates a letter with two wrong fields. The 400 has the format of `/letters/`.
    WrongLetter,
}

impl RequestKind {
    /// The paths of all kinds.
    pub(super) const PATHS: [&str; 2] = ["/v0/bank/credentials/status", "/letters/v1/create-signed"];

    /// Half of the requests of `noisy-400` are wrong, and the two formats of a 400 alternate.
    pub(super) fn of(scenario: Scenario, number: u64) -> Self {
        match (scenario, number % 4) {
            (Scenario::Noisy400, 1) => Self::WrongCredentials,
            (Scenario::Noisy400, 3) => Self::WrongLetter,
            _ => Self::Valid,
        }
    }

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Valid | Self::WrongCredentials => Self::PATHS[0],
            Self::WrongLetter => Self::PATHS[1],
        }
    }

    /// The body of one request. The number in it identifies the request on both sides.
    pub(super) fn body(self, run: &str, number: u64) -> String {
        let members = match self {
            Self::Valid => r#""credentials_token":"sandbox-credentials-1""#,
            Self::WrongCredentials => r#""credentials_token":"no-such-credentials""#,
            Self::WrongLetter => r#""connector_id":"","data":"not a PDF""#,
        };
        format!(r#"{{{members},"drill":"{run}","number":{number}}}"#)
    }

    /// The status of the provider's response to an opened request.
    pub(super) fn expected_status(self) -> u16 {
        match self {
            Self::Valid => 200,
            Self::WrongCredentials | Self::WrongLetter => 400,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{Options, Sandbox};
    use clap::ValueEnum;
    use http::header::{AUTHORIZATION, CONTENT_TYPE};
    use serde_json::{Value, json};

    #[test]
    fn half_of_the_requests_are_wrong_in_noisy_400_and_none_in_the_other_scenarios() {
        for scenario in Scenario::value_variants() {
            let kinds: Vec<_> = (0..100).map(|number| RequestKind::of(*scenario, number)).collect();
            let count = |kind| kinds.iter().filter(|other| **other == kind).count();
            let counts = [RequestKind::Valid, RequestKind::WrongCredentials, RequestKind::WrongLetter].map(count);
            let expected = if *scenario == Scenario::Noisy400 { [50, 25, 25] } else { [100, 0, 0] };
            assert_eq!(counts, expected, "{scenario}");
        }
    }

    #[tokio::test]
    async fn the_sandbox_responds_to_each_kind_with_the_documented_body() {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let client = crate::upstream::Connector::new(None).unwrap().control_client().unwrap();
        let post = async |path: &str, token: Option<&str>, body: String| {
            let request = client.post(sandbox.url() + path).header(CONTENT_TYPE, "application/json");
            let token = token.map(|token| (AUTHORIZATION, format!("Bearer {token}")));
            let request = token.into_iter().fold(request, |request, (name, value)| request.header(name, value));
            let reply = request.body(body).send().await.unwrap();
            let status = reply.status().as_u16();
            (status, serde_json::from_slice::<Value>(&reply.bytes().await.unwrap()).unwrap())
        };
        let credentials = json!({
            "client_id": sandbox.client_id(),
            "client_secret": sandbox.client_secret(),
            "grant_type": "client_credentials",
        });
        let (_, issued) = post("/v0/token", None, credentials.to_string()).await;
        let call = async |kind: RequestKind| {
            let (status, body) = post(kind.path(), issued["access_token"].as_str(), kind.body("run", 1)).await;
            assert_eq!(status, kind.expected_status(), "{body}");
            body
        };
        assert_eq!(call(RequestKind::Valid).await["name"], "sandbox-bank-1");
        let text = "You are not allowed to access to this credentials";
        assert_eq!(call(RequestKind::WrongCredentials).await, json!({ "error": text }));
        let error = call(RequestKind::WrongLetter).await["error"].take();
        assert_eq!(error["code"], "VALIDATION_ERROR");
        assert_eq!(error["details"][0], json!({ "field": "connector_id", "error_type": "InvalidValue" }));
    }
}
