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
pub(super) const MAX_CREDENTIALS: usize = 100;

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

    /// Changes `pending`, `blocked`, and the named flags of `created` and `errored`. A flag that already has its value
    /// changes nothing, not even the flags and the token that follow from it. Returns the document of the credentials.
    pub(super) fn set(&mut self, token: &str, change: &Value, now: Timestamp) -> Result<Value, CredentialError> {
        let invalid = |error: serde_json::Error| CredentialError::Invalid(error.to_string());
        let change = CredentialChange::deserialize(change).map_err(invalid)?;
        let credential = self.find(token)?;
        let mut changed = credential.clone();
        if let Some(pending) = change.pending
            && pending != changed.pending
        {
            changed.set_pending(pending, now);
        }
        if let Some(blocked) = change.blocked
            && blocked != changed.blocked
        {
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
mod tests;
