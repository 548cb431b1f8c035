//! Authorization letters: create, search, discontinue.
//!
//! A letter never changes its status by itself. A letter created here stays `Signed`, so a test reads back
//! what it wrote. One letter is `Connected` from the start: a test can discontinue it, whereas a `Signed`
//! letter is cancelled.

mod create_signed;
mod letter;
mod search;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use self::create_signed::SignedLetter;
use self::letter::{Letter, LetterStatus};
use self::search::Search;
use crate::sandbox::api_response::{ApiResponse, letter_not_found, validation_error};

/// The limit on letters, for a client that creates them in a loop. The oldest is dropped.
const MAX_LETTERS: usize = 10_000;

/// The id of the letter that is connected from the start.
const CONNECTED: Uuid = Uuid::from_u128(0x5a4d_b0c5_0000_4000_8000_0000_0000_0001);

/// All letters of the sandbox's only customer, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Letters {
    pub(super) letters: Vec<Letter>,
}

impl Letters {
    pub(super) fn seeded(now: Timestamp) -> Self {
        Self {
            letters: vec![Letter {
                id: CONNECTED,
                connector_id: "sandbox-connector-1".to_owned(),
                status: LetterStatus::Connected,
                labels: Map::from_iter([("end_user_id".to_owned(), json!("customer-1"))]),
                connection_id: Some("sandbox-connection-1".to_owned()),
                created_at: whole_seconds(now),
                updated_at: whole_seconds(now),
            }],
        }
    }

    pub(super) fn create_signed(&mut self, body: &Value, now: Timestamp) -> ApiResponse {
        let signed_letter = match SignedLetter::parse(body) {
            Ok(signed_letter) => signed_letter,
            Err(errors) => return validation_error(&errors),
        };
        if self.letters.len() >= MAX_LETTERS {
            self.letters.remove(0);
        }
        let letter = Letter {
            id: Uuid::new_v4(),
            connector_id: signed_letter.connector_id,
            status: LetterStatus::Signed,
            labels: signed_letter.labels,
            connection_id: None,
            created_at: whole_seconds(now),
            updated_at: whole_seconds(now),
        };
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

    pub(super) fn discontinue(&mut self, body: &Value, now: Timestamp) -> ApiResponse {
        let id = match body.get("letter_id") {
            None | Some(Value::Null) => return validation_error(&[("letter_id", "RequiredField")]),
            Some(id) => id.as_str().and_then(|text| Uuid::try_parse(text).ok()),
        };
        let Some(id) = id else {
            return validation_error(&[("letter_id", "InvalidValue")]);
        };
        let Some(letter) = self.letters.iter_mut().find(|letter| letter.id == id) else {
            return letter_not_found();
        };
        let Some(status) = letter.status.discontinued() else {
            return validation_error(&[("letter_id", "InvalidStatus")]);
        };
        letter.status = status;
        letter.connection_id = None;
        letter.updated_at = whole_seconds(now);
        ApiResponse::ok(json!({ "success": true }))
    }
}

/// Documents show whole seconds, and a filter with such a date must match the letter.
fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
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
        assert!(found["items"][0]["connection_id"].is_string());
        let id = found["items"][0]["id"].clone();
        sandbox.post(DISCONTINUE, &json!({ "letter_id": id })).await.ok();
        let found = sandbox.post(SEARCH, &json!({ "query": { "id_in": [id] } })).await.ok();
        assert_eq!(found["items"][0]["status"], "Discontinued");
        assert_eq!(found["items"][0]["connection_id"], Value::Null);
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
            "labels": [],
            "annex": "not base64!",
            "contact_info": "x",
        });
        let reply = sandbox.post(CREATE, &wrong).await;
        let fields = ["connector_id", "data", "labels", "annex", "contact_info"];
        assert_eq!(details(&reply), fields.map(|field| fault(field, "InvalidValue")));
        let found = sandbox.post(SEARCH, &json!({ "query": {} })).await.ok();
        assert_eq!(found["total"], 1, "a refused letter must not exist");
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
        let mut letters = Letters::seeded(now);
        for _ in 0..MAX_LETTERS {
            assert_eq!(letters.create_signed(&signed(), now).status, 200);
        }
        assert_eq!(letters.letters.len(), MAX_LETTERS);
        assert!(letters.letters.iter().all(|letter| letter.id != CONNECTED));
    }
}
