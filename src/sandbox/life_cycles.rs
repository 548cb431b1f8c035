//! How letters, credentials and link codes change in the course of time, and together.
//!
//! A step that is due is taken when the next call looks at the data, dated with the time at which it was due. A letter
//! and the credentials that it produced change under one lock, so no call sees one without the other.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::Sandbox;
use super::bank_credentials::{BankCredential, CredentialError, ForcedFlow, MAX_CREDENTIALS};
use super::letters::{ConnectionChange, LetterError, LetterStatus};
use super::links::{LinkCode, LinkCodeRequest};
use super::state::{SandboxState, lock};
use super::world::ApiState;

/// The bank of new credentials, unless a link code or the connector of a letter names another one.
const DEFAULT_BANK: &str = "sandbox-bank-3";

/// Why the management interface could not make a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChangeError {
    NotFound(String),
    /// The data is in a state that does not allow the change.
    Conflict(String),
    /// The request is wrong.
    Invalid(String),
}

impl ChangeError {
    fn message(self) -> String {
        match self {
            Self::NotFound(message) | Self::Conflict(message) | Self::Invalid(message) => message,
        }
    }
}

impl ApiState {
    /// Takes the steps of letters and makes the updates of credentials that are due at `now`.
    pub(super) fn catch_up(&mut self, now: Timestamp) {
        let changes = self.letters.take_due_steps(now);
        self.connect(changes);
        self.credentials.take_due_updates(&self.banks, now);
    }

    /// Adds or removes the credentials of letters.
    pub(super) fn connect(&mut self, changes: impl IntoIterator<Item = ConnectionChange>) {
        for change in changes {
            match change {
                ConnectionChange::Opened { connection_id, connector_id, labels, at } => {
                    let bank = self.bank_or_default(&connector_id);
                    let mut credential = BankCredential::new(self.seed, connection_id, None, bank, at);
                    credential.products.shorten_account_history(at);
                    self.add_credentials(BankCredential { labels, ..credential }, at);
                }
                ConnectionChange::Closed { connection_id } => {
                    self.credentials.delete(&connection_id);
                }
            }
        }
    }

    /// Deletes credentials, and discontinues their letter. Returns false if there are no such credentials.
    pub(super) fn delete_credentials(&mut self, token: &str, now: Timestamp) -> bool {
        let deleted = self.credentials.delete(token);
        if deleted {
            self.letters.connection_deleted(token, now);
        }
        deleted
    }

    /// Exchanges a code for new credentials. Returns their token and the code, or `None` if the code is unknown or was
    /// used before.
    pub(super) fn redeem(&mut self, code: &str, now: Timestamp) -> Option<(String, LinkCode)> {
        let used = self.links.redeem(code)?;
        let alias = used.extra.get("alias").cloned();
        let bank = self.bank_or_default(used.bank.as_deref().unwrap_or(DEFAULT_BANK));
        let token = format!("sandbox-credentials-{}", uuid::Uuid::new_v4().simple());
        let mut credential = BankCredential::new(self.seed, token.clone(), alias, bank, now);
        credential.products.shorten_account_history(now);
        self.add_credentials(credential, now);
        Some((token, used))
    }

    /// Adds credentials, or replaces those with the same token. If there are too many, the oldest are deleted as a client
    /// would delete them.
    fn add_credentials(&mut self, added: BankCredential, now: Timestamp) {
        self.credentials.delete(&added.credentials_token);
        let is_full = self.credentials.all.len() >= MAX_CREDENTIALS;
        let oldest = self.credentials.all.first().filter(|_| is_full).map(|oldest| oldest.credentials_token.clone());
        if let Some(oldest) = oldest {
            self.delete_credentials(&oldest, now);
        }
        self.credentials.all.push(added);
    }

    fn bank_or_default(&self, id: &str) -> String {
        let known = |id: &&str| self.banks.iter().any(|bank| bank.id == **id);
        let first = self.banks.first().map(|bank| bank.id.as_str());
        [id, DEFAULT_BANK].into_iter().find(known).or(first).unwrap_or(DEFAULT_BANK).to_owned()
    }
}

/// The operations of the management interface. Each returns the changed document.
impl SandboxState {
    /// The data as of now, with every step taken that is due.
    pub(super) fn with_api<T>(&self, act: impl FnOnce(&mut ApiState, Timestamp) -> T) -> T {
        let mut api = lock(&self.api);
        // Read under the lock: a time from before a reset would make the restored data older than it is.
        let now = self.timestamp();
        api.catch_up(now);
        act(&mut api, now)
    }

    pub(super) fn advance_letter(&self, id: &str) -> Result<Value, ChangeError> {
        self.with_api(|api, now| {
            let (letter, change) = api.letters.advance(id, now).map_err(|error| letter_error(id, error))?;
            api.connect(change);
            Ok(letter)
        })
    }

    pub(super) fn set_letter(
        &self,
        id: &str,
        status: LetterStatus,
        observations: Option<Option<String>>,
    ) -> Result<Value, ChangeError> {
        self.with_api(|api, now| {
            let changed = api.letters.set(id, status, observations, now);
            let (letter, change) = changed.map_err(|error| letter_error(id, error))?;
            api.connect(change);
            Ok(letter)
        })
    }

    pub(super) fn set_credentials(&self, token: &str, change: &Value) -> Result<Value, ChangeError> {
        let changed = self.with_api(|api, now| api.credentials.set(token, change, now));
        changed.map_err(|error| credential_error(token, error))
    }

    pub(super) fn complete_flow(&self, token: &str, flow: ForcedFlow) -> Result<Value, ChangeError> {
        let completed = self.with_api(|api, now| api.credentials.complete(token, flow, now));
        completed.map_err(|error| credential_error(token, error))
    }

    pub(super) fn add_link_code(&self, request: LinkCodeRequest) -> Result<Value, ChangeError> {
        if request.code.as_deref() == Some("") {
            return Err(ChangeError::Invalid("code is empty; without the member the code is random".to_owned()));
        }
        self.with_api(|api, _| {
            if let Some(bank) = &request.bank
                && !api.banks.iter().any(|known| known.id == *bank)
            {
                let banks: Vec<_> = api.banks.iter().map(|bank| bank.id.as_str()).collect();
                let message = format!("there is no bank {bank}; the banks are {}", banks.join(", "));
                return Err(ChangeError::Invalid(message));
            }
            api.links.add(request).map_err(ChangeError::Conflict)
        })
    }
}

fn letter_error(id: &str, error: LetterError) -> ChangeError {
    match error {
        LetterError::NotFound => ChangeError::NotFound(format!("there is no letter with the id {id}")),
        LetterError::NoNextStep(status) => ChangeError::Conflict(format!(
            "letter {id} is {status:?} and takes no further step; PUT /letters/{id} puts it into any status"
        )),
    }
}

fn credential_error(token: &str, error: CredentialError) -> ChangeError {
    match error {
        CredentialError::NotFound => ChangeError::NotFound(format!("there are no credentials with the token {token}")),
        CredentialError::NoSuchFlow(flow) => {
            let member = flow.member();
            ChangeError::Conflict(format!(
                "{member} of {token} is null, so there is no flow to complete; a client starts one with PUT \
                 /v0/bank/credentials/status"
            ))
        }
        CredentialError::Invalid(message) => ChangeError::Invalid(message),
    }
}

impl Sandbox {
    /// Takes the next step of a letter at once, for example from `Signed` to `SentToCustodian`: see
    /// [`LetterStatus::next`]. Returns the letter.
    ///
    /// # Errors
    /// A sentence, if there is no such letter or it takes no further step.
    pub fn advance_letter(&self, id: &str) -> Result<Value, String> {
        self.state.advance_letter(id).map_err(ChangeError::message)
    }

    /// Puts a letter into any status. Credentials exist afterwards only if that is [`LetterStatus::Connected`].
    /// `observations` replaces those of the letter, unless it is `None`. Returns the letter.
    ///
    /// # Errors
    /// A sentence, if there is no such letter.
    pub fn set_letter(&self, id: &str, status: LetterStatus, observations: Option<&str>) -> Result<Value, String> {
        let observations = observations.map(|text| Some(text.to_owned()));
        self.state.set_letter(id, status, observations).map_err(ChangeError::message)
    }

    /// Changes the flags of credentials: any of `pending`, `blocked`, `created` and `errored`. For example
    /// `{"errored": {"product": {"card": true}}}`; flags that are not named stay. Pending credentials have no data,
    /// and neither has a product that is not created or is errored. Returns the credentials with their status.
    ///
    /// # Errors
    /// A sentence, if there are no such credentials, or if the change is wrong. Then nothing is changed.
    pub fn set_credentials(&self, credentials_token: &str, change: &Value) -> Result<Value, String> {
        self.state.set_credentials(credentials_token, change).map_err(ChangeError::message)
    }

    /// Completes a forced flow as the end user would. Returns the credentials with their status.
    ///
    /// # Errors
    /// A sentence, if there are no such credentials, or if no such flow was forced.
    pub fn complete_flow(&self, credentials_token: &str, flow: ForcedFlow) -> Result<Value, String> {
        self.state.complete_flow(credentials_token, flow).map_err(ChangeError::message)
    }

    /// Adds a link code, as an end user's visit to a link does. `extra` has the extra parameters of the link: its
    /// `alias` becomes the `external_id` of the credentials. Returns the code.
    ///
    /// # Errors
    /// A sentence, if there are too many unused codes.
    pub fn add_link_code(&self, link_token: &str, extra: BTreeMap<String, String>) -> Result<String, String> {
        let request = LinkCodeRequest { link_token: Some(link_token.to_owned()), extra, ..LinkCodeRequest::default() };
        let added = self.state.add_link_code(request).map_err(ChangeError::message)?;
        Ok(added["code"].as_str().unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Options;
    use std::time::Duration;

    fn redeem(api: &mut ApiState) -> String {
        let mut request = LinkCodeRequest::default();
        request.extra.insert("alias".to_owned(), "customer".to_owned());
        let code = api.links.add(request).unwrap();
        api.redeem(code["code"].as_str().unwrap(), Timestamp::UNIX_EPOCH).unwrap().0
    }

    #[test]
    fn the_oldest_credentials_beyond_the_limit_are_deleted_with_their_connection() {
        let mut api = ApiState::seeded(1, Timestamp::UNIX_EPOCH);
        // The credentials of the connected letter become the oldest.
        api.credentials.all.rotate_right(1);
        let connection = api.credentials.all[0].credentials_token.clone();
        let status = |api: &ApiState| {
            let letter = api.letters.letters.iter().find(|letter| letter.id.to_string() == connection[19..]).unwrap();
            (letter.status, letter.connection_id.clone())
        };
        assert_eq!(status(&api), (LetterStatus::Connected, Some(connection.clone())));
        while api.credentials.all.len() < MAX_CREDENTIALS {
            let one = api.credentials.all[1].clone();
            let credentials_token = format!("credentials-{}", api.credentials.all.len());
            api.credentials.all.push(BankCredential { credentials_token, ..one });
        }
        let token = redeem(&mut api);
        assert_eq!(api.credentials.all.len(), MAX_CREDENTIALS);
        assert_eq!(api.credentials.all.last().unwrap().credentials_token, token);
        assert_eq!(api.credentials.status(&connection), None);
        assert_eq!(status(&api), (LetterStatus::Discontinued, None));
    }

    #[test]
    fn a_call_that_waits_during_a_reset_does_not_advance_the_restored_data() {
        let state = std::sync::Arc::new(SandboxState::new(Options::default()));
        let start = state.world();
        state.advance_clock(Duration::from_secs(10 * 24 * 3600)).unwrap();
        let mut api = lock(&state.api);
        let restored = api.clone();
        let waiting = std::thread::spawn({
            let state = std::sync::Arc::clone(&state);
            move || state.world()
        });
        std::thread::sleep(Duration::from_millis(100));
        // What a reset does.
        state.restore_clock();
        *api = restored;
        drop(api);
        assert!(waiting.join().unwrap() == start);
    }

    #[test]
    fn a_connection_replaces_credentials_that_a_document_has_given_its_token() {
        let mut api = ApiState::seeded(1, Timestamp::UNIX_EPOCH);
        let letter = api.letters.letters.iter().find(|letter| letter.status == LetterStatus::WaitingForData).unwrap();
        let id = letter.id.to_string();
        api.credentials.all[0].credentials_token = format!("sandbox-connection-{id}");
        let (_, change) = api.letters.advance(&id, Timestamp::UNIX_EPOCH).unwrap();
        api.connect(change);
        assert_eq!(api.check(), Vec::<String>::new());
    }
}
