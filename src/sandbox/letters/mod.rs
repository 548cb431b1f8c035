//! Authorization letters: create, search, discontinue, and the steps between their 13 statuses.
//!
//! A letter takes a step by itself when the sandbox's clock is 24 hours after its last change, so a test that does not
//! turn the clock reads back what it wrote. The management interface takes steps at once.
//!
//! The hard case is the connection. A letter that becomes `Connected` produces bank credentials, which the letters do
//! not own. So a change of status returns a [`ConnectionChange`], and the caller applies it to the credentials under
//! the same lock. In the other direction, deleted credentials discontinue their letter.
//!
//! Rejected: a task that advances letters. It would race with requests, and a manual clock would need to wake it.

mod create_signed;
mod letter;
mod search;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use self::create_signed::SignedLetter;
use self::letter::{Letter, whole_seconds};
use self::search::Search;
use crate::sandbox::api_response::{ApiResponse, letter_not_found, validation_error};

pub(super) use self::letter::ConnectionChange;
pub use self::letter::LetterStatus;

/// The limit on letters, for a client that creates them in a loop. The oldest is dropped.
const MAX_LETTERS: usize = 10_000;

/// The id of the seeded letter number 0. The numbers of the others follow, in the order of [`LetterStatus::ALL`].
const SEEDED: u128 = 0x5a4d_b0c5_0000_4000_8000_0000_0000_0000;

/// All letters of the sandbox's only customer, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Letters {
    pub(super) letters: Vec<Letter>,
}

/// Why the management interface cannot change a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LetterError {
    NotFound,
    /// The letter takes no step from this status.
    NoNextStep(LetterStatus),
}

impl Letters {
    /// One letter in each status, and the connection of the connected one. The ids are the same for every seed;
    /// connectors and dates depend on the seed.
    pub(super) fn seeded(seed: u64, now: Timestamp) -> (Self, Option<ConnectionChange>) {
        let mut random = fastrand::Rng::with_seed(seed);
        let letters = LetterStatus::ALL.into_iter().zip(1_u8..).map(|(status, number)| {
            let connector_id = format!("sandbox-connector-{}", random.u8(1..=3));
            let labels = Map::from_iter([("end_user_id".to_owned(), json!(format!("customer-{}", number % 3 + 1)))]);
            let before = |hours| whole_seconds(now.checked_sub(SignedDuration::from_hours(hours)).unwrap_or(now));
            let updated = random.i64(1..400);
            Letter {
                id: Uuid::from_u128(SEEDED + u128::from(number)),
                observations: observations(status).map(str::to_owned),
                created_at: before(updated + random.i64(24..1000)),
                updated_at: before(updated),
                ..Letter::new(connector_id, labels, status, now)
            }
        });
        let mut letters: Vec<_> = letters.collect();
        letters.sort_by_key(|letter| letter.created_at);
        let mut connected = letters.iter_mut().filter(|letter| letter.status == LetterStatus::Connected);
        let connection = connected.find_map(|letter| letter.enter(LetterStatus::Connected, letter.updated_at));
        (Self { letters }, connection)
    }

    pub(super) fn create_signed(&mut self, body: &Value, now: Timestamp) -> ApiResponse {
        let SignedLetter { connector_id, labels } = match SignedLetter::parse(body) {
            Ok(signed_letter) => signed_letter,
            Err(errors) => return validation_error(&errors),
        };
        if self.letters.len() >= MAX_LETTERS {
            self.letters.remove(0);
        }
        let letter = Letter::new(connector_id, labels, LetterStatus::Signed, now);
        let id = letter.id.to_string();
        self.letters.push(letter);
        ApiResponse::ok(json!({ "letter_id": id }))
    }

    pub(super) fn search(&self, body: &Value) -> ApiResponse {
        match Search::parse(body) {
            Ok(search) => ApiResponse::ok(search.page(&self.letters)),
            Err(errors) => validation_error(&errors),
        }
    }

    /// Ends the letter that the body names. The error is the documented response.
    pub(super) fn discontinue(
        &mut self,
        body: &Value,
        now: Timestamp,
    ) -> Result<Option<ConnectionChange>, ApiResponse> {
        let id = match body.get("letter_id") {
            None | Some(Value::Null) => return Err(validation_error(&[("letter_id", "RequiredField")])),
            Some(id) => id.as_str().and_then(|text| Uuid::try_parse(text).ok()),
        };
        let id = id.ok_or_else(|| validation_error(&[("letter_id", "InvalidValue")]))?;
        let letter = self.letters.iter_mut().find(|letter| letter.id == id).ok_or_else(letter_not_found)?;
        let status = letter.status.discontinued();
        let status = status.ok_or_else(|| validation_error(&[("letter_id", "InvalidStatus")]))?;
        Ok(letter.enter(status, now))
    }

    /// Takes the steps that are due at `now`, each dated with its own time.
    pub(super) fn take_due_steps(&mut self, now: Timestamp) -> Vec<ConnectionChange> {
        let mut changes = Vec::new();
        for letter in &mut self.letters {
            while let Some(at) = letter.next_step_at.filter(|at| *at <= now)
                && let Some(status) = letter.status.next()
            {
                changes.extend(letter.enter(status, at));
            }
        }
        changes
    }

    /// Takes the next step of one letter at once. Returns its document.
    pub(super) fn advance(
        &mut self,
        id: &str,
        now: Timestamp,
    ) -> Result<(Value, Option<ConnectionChange>), LetterError> {
        let letter = self.find(id)?;
        let status = letter.status.next().ok_or(LetterError::NoNextStep(letter.status))?;
        let change = letter.enter(status, now);
        Ok((letter.document(), change))
    }

    /// Puts a letter into any status. `observations` replaces the observations if it is given.
    pub(super) fn set(
        &mut self,
        id: &str,
        status: LetterStatus,
        observations: Option<Option<String>>,
        now: Timestamp,
    ) -> Result<(Value, Option<ConnectionChange>), LetterError> {
        let letter = self.find(id)?;
        let change = letter.enter(status, now);
        if let Some(observations) = observations {
            letter.observations = observations;
        }
        Ok((letter.document(), change))
    }

    /// Discontinues the letter whose credentials were deleted.
    pub(super) fn connection_deleted(&mut self, connection_id: &str, now: Timestamp) {
        let connected = |letter: &&mut Letter| letter.connection_id.as_deref() == Some(connection_id);
        if let Some(letter) = self.letters.iter_mut().find(connected) {
            letter.enter(LetterStatus::Discontinued, now);
        }
    }

    fn find(&mut self, id: &str) -> Result<&mut Letter, LetterError> {
        let id = Uuid::try_parse(id).map_err(|_| LetterError::NotFound)?;
        self.letters.iter_mut().find(|letter| letter.id == id).ok_or(LetterError::NotFound)
    }
}

fn observations(status: LetterStatus) -> Option<&'static str> {
    match status {
        LetterStatus::UsersDetail => Some("The address of the end client is missing"),
        LetterStatus::Cancelled => Some("The end client withdrew the request"),
        LetterStatus::Discontinued => Some("The custodian has not confirmed yet"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::{TestResponse, TestSandbox};
    use base64::Engine;

    const CREATE: &str = "/letters/v1/create-signed";
    const SEARCH: &str = "/letters/v1/search-letters";
    const DISCONTINUE: &str = "/letters/v1/discontinue-letter";

    fn pdf() -> String {
        base64::engine::general_purpose::STANDARD.encode("%PDF-1.7 made up")
    }

    fn signed() -> Value {
        json!({ "connector_id": "connector", "data": pdf(), "labels": { "end_user_id": "U1" } })
    }

    /// The field and error type of each detail, after a check of the other members.
    fn details(reply: &TestResponse) -> Vec<(String, String)> {
        let body = reply.json();
        assert_eq!(reply.status, 400);
        assert_eq!(body["success"], false);
        assert_eq!(body["error"]["code"], "VALIDATION_ERROR");
        assert_eq!(body["trace_id"].as_str().unwrap().len(), 32);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let details = body["error"]["details"].as_array().unwrap();
        details.iter().map(|one| (text(&one["field"]), text(&one["error_type"]))).collect()
    }

    fn fault(field: &str, kind: &str) -> (String, String) {
        (field.to_owned(), kind.to_owned())
    }

    #[tokio::test]
    async fn a_letter_is_created_found_and_discontinued_only_once() {
        let sandbox = TestSandbox::start().await;
        let created = sandbox.post(CREATE, &signed()).await.ok();
        let id = created["letter_id"].as_str().unwrap();
        Uuid::try_parse(id).unwrap();

        let search = json!({ "query": { "id_in": [id] } });
        let found = sandbox.post(SEARCH, &search).await.ok();
        assert_eq!(found["total"], 1);
        let letter = &found["items"][0];
        assert_eq!(letter["id"], id);
        assert_eq!(letter["connector_id"], "connector");
        assert_eq!(letter["status"], "Signed");
        assert_eq!(letter["labels"], json!({ "end_user_id": "U1" }));
        assert_eq!(letter.get("connection_id"), Some(&Value::Null));
        assert_eq!(letter.get("observations"), Some(&Value::Null));
        let created_at = letter["created_at"].as_str().unwrap();
        assert_eq!(created_at.len(), "2024-12-01T00:00:00Z".len());

        sandbox.control.advance(std::time::Duration::from_secs(60));
        let named = json!({ "letter_id": id });
        let discontinued = sandbox.post(DISCONTINUE, &named).await.ok();
        assert_eq!(discontinued, json!({ "success": true }));
        let found = sandbox.post(SEARCH, &search).await.ok();
        let letter = &found["items"][0];
        assert_eq!(letter["status"], "Cancelled");
        assert_eq!(letter["created_at"], created_at);
        assert!(letter["updated_at"].as_str().unwrap() > created_at);

        let again = sandbox.post(DISCONTINUE, &named).await;
        assert_eq!(details(&again), [fault("letter_id", "InvalidStatus")]);
    }

    #[tokio::test]
    async fn a_connected_letter_becomes_discontinued_not_cancelled() {
        let sandbox = TestSandbox::start().await;
        let connected = json!({ "query": { "status_in": ["Connected"] } });
        let found = sandbox.post(SEARCH, &connected).await.ok();
        let connection = json!({ "credentials_token": found["items"][0]["connection_id"] });
        let status = "/v0/bank/credentials/status";
        sandbox.post(status, &connection).await.ok();
        let id = found["items"][0]["id"].clone();
        sandbox.post(DISCONTINUE, &json!({ "letter_id": id })).await.ok();
        let found = sandbox.post(SEARCH, &json!({ "query": { "id_in": [id] } })).await.ok();
        assert_eq!(found["items"][0]["status"], "Discontinued");
        assert_eq!(found["items"][0]["connection_id"], Value::Null);
        assert_eq!(sandbox.post(status, &connection).await.status, 400, "the data is removed");
    }

    #[tokio::test]
    async fn a_connected_letter_is_discontinued_if_its_credentials_are_deleted() {
        let sandbox = TestSandbox::start().await;
        let connected = json!({ "query": { "status_in": ["Connected"] } });
        let letter = sandbox.post(SEARCH, &connected).await.ok()["items"][0].take();
        let connection = json!({ "credentials_token": letter["connection_id"] });
        sandbox.call(http::Method::DELETE, "/v0/bank/credentials", &connection).await.ok();
        let found = sandbox.post(SEARCH, &json!({ "query": { "id_in": [letter["id"]] } })).await.ok();
        assert_eq!(found["items"][0]["status"], "Discontinued");
    }

    #[tokio::test]
    async fn each_missing_or_invalid_field_of_a_letter_is_reported() {
        let sandbox = TestSandbox::start().await;
        let reply = sandbox.post(CREATE, &json!({})).await;
        let missing = [fault("connector_id", "RequiredField"), fault("data", "RequiredField")];
        assert_eq!(details(&reply), missing);
        let wrong = json!({
            "connector_id": "",
            "data": "bm90IGEgcGRm",
            "labels": { "user": 1 },
            "annex": "not base64!",
            "contact_info": "x",
        });
        let reply = sandbox.post(CREATE, &wrong).await;
        let fields = ["connector_id", "data", "labels", "annex", "contact_info"];
        assert_eq!(details(&reply), fields.map(|field| fault(field, "InvalidValue")));
        let found = sandbox.post(SEARCH, &json!({ "query": {} })).await.ok();
        assert_eq!(found["total"], LetterStatus::ALL.len(), "a refused letter must not exist");
    }

    #[tokio::test]
    async fn a_letter_with_all_optional_fields_is_created() {
        let sandbox = TestSandbox::start().await;
        let mut body = signed();
        body["annex"] = json!(pdf().trim_end_matches('='));
        body["contact_info"] = json!({ "banker_email": "banker@example.invalid" });
        sandbox.post(CREATE, &body).await.ok();
    }

    #[tokio::test]
    async fn an_unknown_letter_is_a_404_and_a_malformed_id_is_a_400() {
        let sandbox = TestSandbox::start().await;
        let reply = sandbox.post(DISCONTINUE, &json!({ "letter_id": Uuid::new_v4().to_string() })).await;
        assert_eq!(reply.status, 404);
        let error = json!({ "code": "NOT_FOUND", "message": "LetterNotFound" });
        assert_eq!(reply.json()["error"], error);
        let reply = sandbox.post(DISCONTINUE, &json!({})).await;
        assert_eq!(details(&reply), [fault("letter_id", "RequiredField")]);
        for id in [json!("x"), json!(7)] {
            let reply = sandbox.post(DISCONTINUE, &json!({ "letter_id": id })).await;
            assert_eq!(details(&reply), [fault("letter_id", "InvalidValue")]);
        }
    }

    #[test]
    fn the_number_of_letters_is_limited() {
        let now = Timestamp::UNIX_EPOCH;
        let (mut letters, _) = Letters::seeded(1, now);
        for _ in 0..MAX_LETTERS {
            assert_eq!(letters.create_signed(&signed(), now).status, 200);
        }
        assert_eq!(letters.letters.len(), MAX_LETTERS);
        assert!(letters.letters.iter().all(|letter| letter.connector_id == "connector"));
    }

    #[test]
    fn every_seed_gives_one_letter_in_each_status_and_the_same_letters_again() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for seed in [1, 2, 3] {
            let (letters, connection) = Letters::seeded(seed, now);
            assert!(matches!(connection, Some(ConnectionChange::Opened { .. })));
            assert_eq!(letters, Letters::seeded(seed, now).0);
            for (status, number) in LetterStatus::ALL.into_iter().zip(1..) {
                let letter = letters.letters.iter().find(|letter| letter.status == status).unwrap();
                assert_eq!(letter.id.as_u128() - SEEDED, number);
                assert_eq!(letter.connection_id.is_some(), status == LetterStatus::Connected);
                assert!(letter.created_at < letter.updated_at && letter.updated_at < now);
            }
        }
        assert_ne!(Letters::seeded(1, now).0, Letters::seeded(2, now).0);
    }

    #[test]
    fn a_letter_takes_one_step_in_24_hours_each_dated_with_its_own_time() {
        let day = |day: i64| Timestamp::from_second(86_400 * day).unwrap();
        let mut letters = Letters { letters: Vec::new() };
        letters.create_signed(&signed(), day(0));
        let just_before = day(1).checked_sub(SignedDuration::from_secs(1)).unwrap();
        assert_eq!(letters.take_due_steps(just_before), []);
        assert_eq!(letters.letters[0].status, LetterStatus::Signed);
        assert_eq!(letters.take_due_steps(day(1)), []);
        assert_eq!(letters.letters[0].status, LetterStatus::SentToCustodian);
        let changes = letters.take_due_steps(day(1000));
        assert_eq!(letters.letters[0].status, LetterStatus::Connected);
        assert_eq!(letters.letters[0].updated_at, day(5));
        let [ConnectionChange::Opened { connection_id, labels, at, .. }] = &changes[..] else {
            panic!("{changes:?}");
        };
        assert_eq!((&labels["end_user_id"], *at), (&json!("U1"), day(5)));

        letters.connection_deleted(connection_id, day(1000));
        assert_eq!(letters.letters[0].status, LetterStatus::Discontinued);
        assert_eq!(letters.take_due_steps(day(2000)), []);
        assert_eq!(letters.letters[0].status, LetterStatus::Revoked);
    }

    #[test]
    fn letters_survive_a_round_trip_through_json() {
        let (letters, _) = Letters::seeded(1, Timestamp::UNIX_EPOCH);
        let text = serde_json::to_string(&letters).unwrap();
        assert_eq!(serde_json::from_str::<Letters>(&text).unwrap(), letters);
    }
}
