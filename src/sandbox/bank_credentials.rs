//! The customer's bank credentials: an end user's access to a bank, identified by its `credentials_token`.
//!
//! The provider updates credentials once a day by itself. It stops while they are pending or blocked, while a flow
//! waits for the end user, and at a bank that asks for a second factor at each login. No end user exists here: the
//! management interface completes a flow.
//!
//! The real provider needs minutes for the first extraction. Here it is complete at once, so new credentials are
//! pending only if a test makes them so.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::world::{Bank, Extraction, Products};

/// The limit on credentials, for a client that redeems codes in a loop.
const MAX_CREDENTIALS: usize = 100;

/// The time between two updates by the provider.
const UPDATE_INTERVAL: SignedDuration = SignedDuration::from_hours(24);

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
    /// The labels of the letter that produced the credentials.
    #[serde(default)]
    pub(super) labels: Map<String, Value>,
    pub(super) created_at: Timestamp,
    /// When the last extraction ended.
    pub(super) updated_at: Timestamp,
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

/// A flow that waits for the end user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForcedFlow {
    /// A login with a second factor. It updates the data.
    Sca,
    /// New access data for the bank. It unblocks the credentials.
    Reset,
    /// Access to account transactions older than 90 days.
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

    /// The member of a status that shows the token of the flow.
    pub(super) fn member(self) -> &'static str {
        match self {
            Self::Sca => "sca_token",
            Self::Reset => "reset_token",
            Self::Transaction => "transaction_token",
        }
    }
}

/// Why the management interface cannot change credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CredentialError {
    NotFound,
    /// The flow was not forced, or it has ended.
    NoSuchFlow(ForcedFlow),
    /// The change has an unknown member or a value of the wrong type.
    Invalid(String),
}

/// A change of the management interface. Absent members change nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialChange {
    pending: Option<bool>,
    blocked: Option<bool>,
    created: Option<Value>,
    errored: Option<Value>,
}

impl BankCredentials {
    /// Credentials 1 to 3 are healthy, 4 are pending, 5 are blocked, 6 have failed in part.
    pub(super) fn seeded(seed: u64, now: Timestamp) -> Self {
        let credential = |number: usize| {
            let token = format!("sandbox-credentials-{number}");
            let bank = format!("sandbox-bank-{}", (number - 1) % 3 + 1);
            BankCredential::new(seed, token, Some(format!("customer-{number}")), bank, now)
        };
        let mut all: Vec<_> = (1..=6).map(credential).collect();
        all[3].set_pending(true, now);
        all[4].set_blocked(true);
        all[5].errored.product.card = true;
        all[5].errored.transactions.card = true;
        all[5].errored.transactions.investment = true;
        Self { all }
    }

    /// Adds credentials whose extraction has succeeded.
    pub(super) fn add(&mut self, credential: BankCredential) {
        if self.all.len() >= MAX_CREDENTIALS {
            self.all.remove(0);
        }
        self.all.push(credential);
    }

    pub(super) fn status(&self, token: &str) -> Option<Value> {
        let credential = self.all.iter().find(|credential| credential.credentials_token == token)?;
        Some(credential.status())
    }

    pub(super) fn list(&self) -> Value {
        json!({ "items": self.all.iter().map(BankCredential::document).collect::<Vec<_>>() })
    }

    /// Starts a flow. Returns a document with the token of the flow.
    pub(super) fn force(&mut self, token: &str, flow: ForcedFlow) -> Option<Value> {
        let credential = self.find(token).ok()?;
        let flow_token = new_flow_token();
        *credential.flow_token(flow) = Some(flow_token.clone());
        Some(json!({ flow.member(): flow_token }))
    }

    /// Ends a flow as if the end user had completed it. Returns the document of the credentials.
    pub(super) fn complete(&mut self, token: &str, flow: ForcedFlow, now: Timestamp) -> Result<Value, CredentialError> {
        let credential = self.find(token)?;
        if credential.flow_token(flow).take().is_none() {
            return Err(CredentialError::NoSuchFlow(flow));
        }
        match flow {
            ForcedFlow::Sca => {}
            ForcedFlow::Reset => credential.blocked = false,
            ForcedFlow::Transaction => credential.products.extend_account_history(),
        }
        credential.updated_at = now;
        Ok(credential.document())
    }

    /// Changes `pending`, `blocked`, and the named flags of `created` and `errored`. Returns the document of the
    /// credentials.
    pub(super) fn set(&mut self, token: &str, change: &Value, now: Timestamp) -> Result<Value, CredentialError> {
        let invalid = |error: serde_json::Error| CredentialError::Invalid(error.to_string());
        let change = CredentialChange::deserialize(change).map_err(invalid)?;
        let credential = self.find(token)?;
        let mut changed = credential.clone();
        if let Some(pending) = change.pending {
            changed.set_pending(pending, now);
        }
        if let Some(blocked) = change.blocked {
            changed.set_blocked(blocked);
        }
        if let Some(created) = &change.created {
            changed.created = changed.created.merged(created).map_err(invalid)?;
        }
        if let Some(errored) = &change.errored {
            changed.errored = changed.errored.merged(errored).map_err(invalid)?;
        }
        *credential = changed;
        Ok(credential.document())
    }

    /// Makes the daily updates that are due at `now`.
    pub(super) fn take_due_updates(&mut self, banks: &[Bank], now: Timestamp) {
        let is_manual = |id: &str| banks.iter().any(|bank| bank.id == id && bank.always_manual_refresh);
        for credential in &mut self.all {
            let days = now.duration_since(credential.updated_at).as_hours() / 24;
            let Ok(days) = i32::try_from(days) else { continue };
            if days > 0
                && credential.is_updated_automatically()
                && !is_manual(&credential.bank)
                && let Ok(updated_at) = credential.updated_at.checked_add(UPDATE_INTERVAL * days)
            {
                credential.updated_at = updated_at;
            }
        }
    }

    /// Returns false if there are no such credentials.
    pub(super) fn delete(&mut self, token: &str) -> bool {
        let before = self.all.len();
        self.all.retain(|credential| credential.credentials_token != token);
        self.all.len() < before
    }

    fn find(&mut self, token: &str) -> Result<&mut BankCredential, CredentialError> {
        let mut all = self.all.iter_mut();
        all.find(|credential| credential.credentials_token == token).ok_or(CredentialError::NotFound)
    }
}

impl BankCredential {
    /// Credentials whose extraction has succeeded. Their account transactions go back 24 months.
    pub(super) fn new(seed: u64, token: String, external_id: Option<String>, bank: String, now: Timestamp) -> Self {
        Self {
            products: Products::seeded(seed, &token, external_id.as_deref(), &bank, now),
            credentials_token: token,
            external_id,
            bank,
            labels: Map::new(),
            created_at: now,
            updated_at: now,
            pending: false,
            blocked: false,
            created: Extraction::of(true),
            errored: Extraction::of(false),
            sca_token: None,
            reset_token: None,
            transaction_token: None,
        }
    }

    fn set_pending(&mut self, pending: bool, now: Timestamp) {
        self.pending = pending;
        self.created = Extraction::of(!pending);
        if !pending {
            self.updated_at = now;
        }
    }

    fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
        self.reset_token = blocked.then(|| format!("sandbox-reset-{}", self.credentials_token));
    }

    fn is_updated_automatically(&self) -> bool {
        let waits = self.sca_token.is_some() || self.reset_token.is_some() || self.transaction_token.is_some();
        !waits && !self.pending && !self.blocked
    }

    fn flow_token(&mut self, flow: ForcedFlow) -> &mut Option<String> {
        match flow {
            ForcedFlow::Sca => &mut self.sca_token,
            ForcedFlow::Reset => &mut self.reset_token,
            ForcedFlow::Transaction => &mut self.transaction_token,
        }
    }

    /// An entry of the list.
    fn document(&self) -> Value {
        json!({
            "credentials_token": self.credentials_token,
            "external_id": self.external_id,
            "bank": self.bank,
            "status": self.status(),
        })
    }

    fn status(&self) -> Value {
        let last_update = self.updated_at.strftime("%Y-%m-%d").to_string();
        let retrieved = if self.pending { None } else { self.products.last_transaction_date() };
        json!({
            "pending": self.pending,
            "blocked": self.blocked,
            "reset_token": self.reset_token,
            // The documentation knows no null here.
            "last_transaction_date": retrieved.map_or_else(|| last_update.clone(), |date| date.to_string()),
            "sca_token": self.sca_token,
            "transaction_token": self.transaction_token,
            "name": self.bank,
            "last_update": last_update,
            "time": self.updated_at.strftime("%H:%M").to_string(),
            "last_update_timestamp": self.updated_at.as_second(),
            "created_at_timestamp": self.created_at.as_second(),
            "errored": self.errored,
            "created": self.created,
        })
    }
}

fn new_flow_token() -> String {
    format!("sandbox-{}", Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Options;
    use crate::sandbox::api_response::bad_request;
    use crate::sandbox::testing::TestSandbox;
    use http::Method;
    use std::time::Duration;

    const STATUS: &str = "/v0/bank/credentials/status";
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn named(number: u32) -> Value {
        json!({ "credentials_token": format!("sandbox-credentials-{number}") })
    }

    async fn status(sandbox: &TestSandbox, number: u32) -> Value {
        sandbox.post(STATUS, &named(number)).await.ok()
    }

    async fn force(sandbox: &TestSandbox, number: u32, flow: &str) -> Value {
        let mut body = named(number);
        body["force"] = json!(flow);
        sandbox.call(Method::PUT, STATUS, &body).await.ok()
    }

    #[tokio::test]
    async fn the_status_of_known_credentials_has_every_documented_member() {
        let sandbox = TestSandbox::start().await;
        let status = status(&sandbox, 1).await;
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
            let response = force(&sandbox, 1, flow).await;
            let member = format!("{flow}_token");
            assert_eq!(response.as_object().unwrap().len(), 1);
            assert!(response[&member].is_string());
            assert_eq!(status(&sandbox, 1).await[&member], response[&member]);
        }
        let mut body = named(1);
        for wrong in [json!("sudo"), json!(1), json!(null)] {
            body["force"] = wrong;
            let reply = sandbox.call(Method::PUT, STATUS, &body).await;
            let error = bad_request("force must be sca, reset or transaction").body;
            assert_eq!((reply.status.as_u16(), reply.json()), (400, error));
        }
    }

    #[tokio::test]
    async fn a_forced_flow_stops_the_daily_update_until_it_is_completed() {
        let options = Options { token_lifetime: 30 * DAY, ..Options::default() };
        let sandbox = TestSandbox::start_with(options).await;
        let updated = async |number| status(&sandbox, number).await["last_update_timestamp"].as_i64().unwrap();
        let start = updated(1).await;
        sandbox.control.advance(DAY);
        let day = i64::try_from(DAY.as_secs()).unwrap();
        assert_eq!(updated(1).await, start + day);
        // Bank 2 asks for a second factor at each login.
        assert_eq!(updated(2).await, start);

        force(&sandbox, 1, "sca").await;
        sandbox.control.advance(2 * DAY);
        assert_eq!(updated(1).await, start + day);
        let sca = ForcedFlow::Sca;
        sandbox.handle.complete_flow("sandbox-credentials-1", sca).unwrap();
        assert_eq!(updated(1).await, start + 3 * day);
        assert_eq!(status(&sandbox, 1).await["sca_token"], Value::Null);
        let error = sandbox.handle.complete_flow("sandbox-credentials-1", sca).unwrap_err();
        assert!(error.contains("sca"), "{error}");
    }

    #[tokio::test]
    async fn the_seeded_credentials_are_healthy_pending_blocked_or_failed_in_part() {
        let sandbox = TestSandbox::start().await;
        for healthy in 1..=3 {
            let status = status(&sandbox, healthy).await;
            assert_eq!((&status["pending"], &status["blocked"]), (&json!(false), &json!(false)));
            assert_eq!(status["created"], json!(Extraction::of(true)));
            assert_eq!(status["errored"], json!(Extraction::of(false)));
        }
        let pending = status(&sandbox, 4).await;
        assert_eq!((&pending["pending"], &pending["created"]), (&json!(true), &json!(Extraction::of(false))));
        let blocked = status(&sandbox, 5).await;
        assert!(blocked["blocked"] == true && blocked["reset_token"].is_string());
        let errored = status(&sandbox, 6).await;
        assert_eq!(errored["created"], json!(Extraction::of(true)));
        assert_eq!(errored["errored"]["product"]["card"], true);
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
            // The seventh belongs to the connected letter.
            assert_eq!(items.as_array().unwrap().len(), 7);
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
        let delete = async || sandbox.call(Method::DELETE, path, &named(1)).await;
        let document = json!({ "message": "Successfully deleted" });
        assert_eq!(delete().await.ok(), document);
        let gone = bad_request("You are not allowed to access to this credentials").body;
        let account = "/v0/bank/credentials/account";
        for reply in [delete().await, sandbox.post(STATUS, &named(1)).await, sandbox.post(account, &named(1)).await] {
            assert_eq!(reply.status, 400);
            assert_eq!(reply.json(), gone);
        }
        let list = sandbox.post("/v0/bank/credentials/list", &json!({})).await.ok();
        assert_eq!(list["items"].as_array().unwrap().len(), 6);
    }

    #[tokio::test]
    async fn a_body_without_credentials_token_is_refused() {
        let sandbox = TestSandbox::start().await;
        for body in [json!({}), json!({ "credentials_token": null }), json!([]), json!(null)] {
            let reply = sandbox.post(STATUS, &body).await;
            let error = json!({ "error": "credentials_token is required" });
            assert_eq!((reply.status.as_u16(), reply.json()), (400, error), "{body}");
        }
        for wrong in [json!(1), json!(["sandbox-credentials-1"]), json!({})] {
            let reply = sandbox.post(STATUS, &json!({ "credentials_token": wrong })).await;
            let error = json!({ "error": "credentials_token must be a string" });
            assert_eq!((reply.status.as_u16(), reply.json()), (400, error));
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
    fn a_change_of_flags_is_merged_and_a_wrong_one_changes_nothing() {
        let now = Timestamp::UNIX_EPOCH;
        let mut credentials = BankCredentials::seeded(1, now);
        let mut set = |change: Value| credentials.set("sandbox-credentials-1", &change, now);
        let status = set(json!({ "pending": true })).unwrap()["status"].take();
        assert_eq!(status["created"], json!(Extraction::of(false)));
        let status = set(json!({ "pending": false, "errored": { "product": { "card": true } } })).unwrap();
        assert_eq!(status["status"]["errored"]["product"]["card"], true);
        assert_eq!(status["status"]["errored"]["product"]["account"], false);
        assert_eq!(status["status"]["created"], json!(Extraction::of(true)));
        let status = set(json!({ "blocked": true })).unwrap()["status"].take();
        assert!(status["reset_token"].is_string());
        for (wrong, named) in [
            (json!({ "blocked": false, "errored": { "product": { "cards": true } } }), "cards"),
            (json!({ "blocked": false, "created": { "product": { "card": 1 } } }), "boolean"),
            (json!({ "blocked": false, "closed": true }), "closed"),
            (json!({ "blocked": "yes" }), "boolean"),
            (json!({ "blocked": false, "errored": 7 }), "struct"),
        ] {
            let Err(CredentialError::Invalid(error)) = set(wrong) else { panic!() };
            assert!(error.contains(named), "{error}");
        }
        assert_eq!(set(json!({})).unwrap()["status"], status);
        assert_eq!(credentials.set("made-up", &json!({}), now), Err(CredentialError::NotFound));
    }

    #[test]
    fn the_number_of_credentials_is_limited() {
        let now = Timestamp::UNIX_EPOCH;
        let mut credentials = BankCredentials::seeded(1, now);
        let one = credentials.all[0].clone();
        for number in 0..MAX_CREDENTIALS {
            credentials.add(BankCredential { credentials_token: format!("credentials-{number}"), ..one.clone() });
        }
        assert_eq!(credentials.all.len(), MAX_CREDENTIALS);
        assert_eq!(credentials.status("sandbox-credentials-1"), None);
    }
}
