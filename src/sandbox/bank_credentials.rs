//! The customer's bank credentials: an end user's access to a bank, identified by its `credentials_token`.
//!
//! The real provider needs minutes for the first extraction. Here it is complete at once, so new credentials
//! are never pending. A forced flow waits for an end user, and none exists, so the token of the flow stays in
//! the status.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::world::{Extraction, Products};

/// The bank of the credentials that a link code is exchanged for.
const LINKED_BANK: &str = "sandbox-bank-3";

/// The limit on credentials, for a client that redeems codes in a loop.
const MAX_CREDENTIALS: usize = 100;

/// All credentials of the sandbox's only customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct BankCredentials {
    pub(super) all: Vec<BankCredential>,
}

/// An end user's access to one bank, with everything that was extracted there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BankCredential {
    pub(super) credentials_token: String,
    pub(super) external_id: Option<String>,
    /// The id of the bank.
    pub(super) bank: String,
    pub(super) created_at: Timestamp,
    pub(super) pending: bool,
    pub(super) blocked: bool,
    /// The parts whose extraction has ended.
    pub(super) created: Extraction,
    /// The parts whose extraction has failed.
    pub(super) errored: Extraction,
    pub(super) sca_token: Option<String>,
    pub(super) reset_token: Option<String>,
    pub(super) transaction_token: Option<String>,
    pub(super) products: Products,
}

/// A flow that needs the end user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForcedFlow {
    Sca,
    Reset,
    Transaction,
}

impl ForcedFlow {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "sca" => Some(Self::Sca),
            "reset" => Some(Self::Reset),
            "transaction" => Some(Self::Transaction),
            _ => None,
        }
    }
}

impl BankCredentials {
    pub(super) fn seeded(seed: u64, now: Timestamp) -> Self {
        let credential = |number: usize, bank| {
            let token = format!("sandbox-credentials-{number}");
            BankCredential::new(seed, token, Some(format!("customer-{number}")), bank, now)
        };
        Self { all: vec![credential(1, "sandbox-bank-1"), credential(2, "sandbox-bank-2")] }
    }

    /// Adds credentials and returns their `credentials_token`.
    pub(super) fn add(&mut self, seed: u64, external_id: Option<String>, now: Timestamp) -> String {
        if self.all.len() >= MAX_CREDENTIALS {
            self.all.remove(0);
        }
        let token = format!("sandbox-credentials-{}", Uuid::new_v4().simple());
        let mut credential = BankCredential::new(seed, token.clone(), external_id, LINKED_BANK, now);
        credential.products.shorten_account_history(now);
        self.all.push(credential);
        token
    }

    pub(super) fn status(&self, token: &str) -> Option<Value> {
        let credential = self.all.iter().find(|credential| credential.credentials_token == token)?;
        Some(credential.status())
    }

    pub(super) fn list(&self) -> Value {
        let items: Vec<_> = self
            .all
            .iter()
            .map(|credential| {
                json!({
                    "credentials_token": credential.credentials_token,
                    "external_id": credential.external_id,
                    "bank": credential.bank,
                    "status": credential.status(),
                })
            })
            .collect();
        json!({ "items": items })
    }

    /// Starts a flow. Returns a document with the token of the flow.
    pub(super) fn force(&mut self, token: &str, flow: ForcedFlow) -> Option<Value> {
        let credential = self.all.iter_mut().find(|credential| credential.credentials_token == token)?;
        let (member, flow_token) = match flow {
            ForcedFlow::Sca => ("sca_token", &mut credential.sca_token),
            ForcedFlow::Reset => ("reset_token", &mut credential.reset_token),
            ForcedFlow::Transaction => ("transaction_token", &mut credential.transaction_token),
        };
        let new_token = format!("sandbox-{}", Uuid::new_v4().simple());
        *flow_token = Some(new_token.clone());
        Some(json!({ member: new_token }))
    }

    /// Returns false if there are no such credentials.
    pub(super) fn delete(&mut self, token: &str) -> bool {
        let before = self.all.len();
        self.all.retain(|credential| credential.credentials_token != token);
        self.all.len() < before
    }
}

impl BankCredential {
    /// Credentials whose extraction has succeeded.
    fn new(seed: u64, token: String, external_id: Option<String>, bank: &str, now: Timestamp) -> Self {
        Self {
            products: Products::seeded(seed, &token, external_id.as_deref(), bank, now),
            credentials_token: token,
            external_id,
            bank: bank.to_owned(),
            created_at: now,
            pending: false,
            blocked: false,
            created: Extraction::of(true),
            errored: Extraction::of(false),
            sca_token: None,
            reset_token: None,
            transaction_token: None,
        }
    }

    fn status(&self) -> Value {
        let date = self.created_at.strftime("%Y-%m-%d").to_string();
        json!({
            "pending": self.pending,
            "blocked": self.blocked,
            "reset_token": self.reset_token,
            "last_transaction_date": date,
            "sca_token": self.sca_token,
            "transaction_token": self.transaction_token,
            "name": self.bank,
            "last_update": date,
            "time": self.created_at.strftime("%H:%M").to_string(),
            "last_update_timestamp": self.created_at.as_second(),
            "created_at_timestamp": self.created_at.as_second(),
            "errored": self.errored,
            "created": self.created,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::api_response::bad_request;
    use crate::sandbox::testing::TestSandbox;
    use http::Method;

    const STATUS: &str = "/v0/bank/credentials/status";

    fn first() -> Value {
        json!({ "credentials_token": "sandbox-credentials-1" })
    }

    #[tokio::test]
    async fn the_status_of_known_credentials_has_every_documented_member() {
        let sandbox = TestSandbox::start().await;
        let status = sandbox.post(STATUS, &first()).await.ok();
        for flag in ["pending", "blocked"] {
            assert_eq!(status[flag], false);
        }
        for token in ["reset_token", "sca_token", "transaction_token"] {
            assert_eq!(status.get(token), Some(&Value::Null));
        }
        assert_eq!(status["name"], "sandbox-bank-1");
        for text in ["last_transaction_date", "last_update"] {
            assert_eq!(status[text].as_str().unwrap().len(), "YYYY-MM-DD".len());
        }
        assert_eq!(status["time"].as_str().unwrap().len(), "HH:MM".len());
        for number in ["last_update_timestamp", "created_at_timestamp"] {
            assert!(status[number].as_i64().unwrap() > 0);
        }
        assert_eq!(status["created"]["product"]["holders"], true);
        assert_eq!(status["errored"]["transactions"]["liability"], false);
    }

    #[tokio::test]
    async fn a_forced_flow_returns_its_token_and_shows_it_in_the_status() {
        let sandbox = TestSandbox::start().await;
        for flow in ["sca", "reset", "transaction"] {
            let mut body = first();
            body["force"] = json!(flow);
            let response = sandbox.call(Method::PUT, STATUS, &body).await.ok();
            let member = format!("{flow}_token");
            assert_eq!(response.as_object().unwrap().len(), 1);
            assert!(response[&member].is_string());
            let status = sandbox.post(STATUS, &first()).await.ok();
            assert_eq!(status[&member], response[&member]);
        }
        let mut body = first();
        body["force"] = json!("sudo");
        assert_eq!(sandbox.call(Method::PUT, STATUS, &body).await.status, 400);
    }

    #[tokio::test]
    async fn credentials_are_listed_with_their_status() {
        let sandbox = TestSandbox::start().await;
        for reply in [
            sandbox.post("/v0/bank/credentials/list", &json!({})).await,
            // The documentation names no request body.
            crate::sandbox::testing::send(sandbox.request(Method::POST, "/v0/bank/credentials/list")).await,
        ] {
            let items = reply.ok()["items"].take();
            assert_eq!(items.as_array().unwrap().len(), 2);
            assert_eq!(items[1]["credentials_token"], "sandbox-credentials-2");
            assert_eq!(items[1]["external_id"], "customer-2");
            assert_eq!(items[1]["bank"], "sandbox-bank-2");
            assert_eq!(items[1]["status"]["name"], "sandbox-bank-2");
        }
    }

    #[tokio::test]
    async fn deleted_credentials_are_refused_like_unknown_ones() {
        let sandbox = TestSandbox::start().await;
        let path = "/v0/bank/credentials";
        let delete = async || sandbox.call(Method::DELETE, path, &first()).await;
        let document = json!({ "message": "Successfully deleted" });
        assert_eq!(delete().await.ok(), document);
        let gone = bad_request("You are not allowed to access to this credentials").body;
        let account = "/v0/bank/credentials/account";
        for reply in [delete().await, sandbox.post(STATUS, &first()).await, sandbox.post(account, &first()).await] {
            assert_eq!(reply.status, 400);
            assert_eq!(reply.json(), gone);
        }
        let list = sandbox.post("/v0/bank/credentials/list", &json!({})).await.ok();
        assert_eq!(list["items"].as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_body_without_credentials_token_is_refused() {
        let sandbox = TestSandbox::start().await;
        for body in [json!({}), json!({ "credentials_token": 1 }), json!([]), json!(null)] {
            let reply = sandbox.post(STATUS, &body).await;
            assert_eq!(reply.status, 400, "{body}");
            assert!(reply.json()["error"].is_string());
        }
    }

    #[tokio::test]
    async fn the_banks_are_listed_in_the_documented_format() {
        let sandbox = TestSandbox::start().await;
        let banks = sandbox.get("/v0/bank/available").await.ok();
        assert_eq!(banks.as_array().unwrap().len(), 3);
        assert_eq!(
            banks[1],
            json!({
                "id": "sandbox-bank-2",
                "name": "Second Sandbox Bank",
                "cif": "X00000002",
                "alwaysManualRefresh": true,
            })
        );
    }

    #[test]
    fn the_number_of_credentials_is_limited() {
        let now = Timestamp::UNIX_EPOCH;
        let mut credentials = BankCredentials::seeded(1, now);
        for _ in 0..MAX_CREDENTIALS {
            credentials.add(1, None, now);
        }
        assert_eq!(credentials.all.len(), MAX_CREDENTIALS);
        assert_eq!(credentials.status("sandbox-credentials-1"), None);
    }
}
