//! Calls every operation of the Flanks document through a gateway. Each response must be valid against the schema of
//! its status, and each body must reach the provider sealed.

#![expect(clippy::print_stdout, reason = "the list of calls is for readers")]

use std::collections::BTreeSet;

use jwe_gateway::app::Connector;
use jwe_gateway::config::TokenEndpoint;
use jwe_gateway::jose::{self, EncryptionKey, Plaintext};
use jwe_gateway::openapi;
use jwe_gateway::sandbox::{ApiFault, Fault, Options};
use serde_json::{Map, Value, json};

use crate::callers::caller;
use crate::harness::TestGateway;

const CALLER: &str = "portfolio";
const FIRST: &str = "sandbox-credentials-1";
const UNKNOWN_LETTER: &str = "00000000-0000-4000-8000-000000000000";

/// The operations that return a list of records of one credential.
const PRODUCTS: [&str; 13] = [
    "listAccounts",
    "listAccountTransactions",
    "listPortfolios",
    "listInvestments",
    "listInvestmentTransactions",
    "listInvestmentDetails",
    "listLiabilities",
    "listLiabilityTransactions",
    "listCards",
    "listCardTransactions",
    "listHolders",
    "getMifidAnswers",
    "getMifidAnswersByOtherPath",
];

#[tokio::test]
async fn every_documented_operation_gets_a_valid_response_through_the_gateway() {
    for seed in [Options::default().seed, 2, 4_711] {
        println!("seed {seed}");
        let mut walk = Walk::start(seed).await;
        walk.issue_token().await;
        walk.read_products().await;
        walk.read_credentials().await;
        walk.use_link_code().await;
        walk.sign_letter().await;
        walk.refuse_bodies().await;
        walk.fail_each().await;
        walk.delete_credentials().await;
        walk.assert_complete();
    }
}

struct Walk {
    gateway: TestGateway,
    document: Value,
    /// The caller's access token.
    token: String,
    /// The operations that succeeded.
    succeeded: BTreeSet<String>,
    /// What is not as documented.
    invalid: Vec<String>,
}

impl Walk {
    async fn start(seed: u64) -> Self {
        let options = Options { seed, require_sealed: true, ..Options::default() };
        let gateway = TestGateway::spawn_in(options, |config| {
            config.gateway.callers = vec![caller(CALLER)];
            config.upstreams[0].token_endpoint = TokenEndpoint::Emulate;
        })
        .await;
        gateway.ready().await;
        let document = serde_json::from_str(openapi::FLANKS).unwrap();
        Self { gateway, document, token: String::new(), succeeded: BTreeSet::new(), invalid: Vec::new() }
    }

    /// The gateway answers in the provider's place, and the caller needs its token for all other calls. The provider's own
    /// answer is requested without the gateway, which relays no such request.
    async fn issue_token(&mut self) {
        let request = json!({
            "client_id": CALLER,
            "client_secret": format!("key-of-{CALLER}"),
            "grant_type": "client_credentials",
        });
        let granted = self.call("issueToken", "", Some(&request), 200).await;
        self.token = granted["access_token"].as_str().unwrap().to_owned();

        let keys = self.call("getKeySet", "", None, 200).await;
        let sandbox = &self.gateway.sandbox;
        let request = json!({
            "client_id": sandbox.client_id(),
            "client_secret": sandbox.client_secret(),
            "grant_type": "client_credentials",
        });
        let request = Plaintext::json(request.to_string().into()).unwrap();
        let message = jose::seal(&request, &EncryptionKey::from_jwk(&keys["keys"][0]).unwrap()).unwrap();
        let client = Connector::new(None).unwrap().control_client().unwrap();
        let request = client.post(sandbox.url() + "/v0/token").header("content-type", "application/jose");
        let response = request.body(message.into_bytes().unwrap()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let granted = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        self.judge(&self.operation("issueToken"), 200, &granted);
    }

    async fn read_products(&mut self) {
        let whole = json!({ "credentials_token": FIRST });
        for id in PRODUCTS {
            let all = self.call(id, "", Some(&whole), 200).await;
            self.note(!all.as_array().unwrap().is_empty(), || format!("{id} has no data"));
            self.call_example(id, 200).await;
        }
        let page = self.call("listAccountTransactions", "?page=1&page_size=5", Some(&whole), 200).await;
        self.note(page.as_array().unwrap().len() == 5, || "a page has 5 records".to_owned());
        self.call("getIdentity", "", Some(&whole), 200).await;
        self.call("getAllProducts", "", Some(&whole), 200).await;
        self.call_example("getAllProducts", 200).await;
    }

    async fn read_credentials(&mut self) {
        self.call_example("listEntities", 200).await;
        let list = self.call_example("listCredentials", 200).await;
        for item in list["items"].as_array().unwrap() {
            let named = json!({ "credentials_token": item["credentials_token"] });
            self.call("getCredentialsStatus", "", Some(&named), 200).await;
            self.call("getAllProducts", "", Some(&named), 200).await;
        }
        for flow in ["sca", "reset", "transaction"] {
            let request = json!({ "credentials_token": FIRST, "force": flow });
            let token = self.call("forceCredentialsFlow", "", Some(&request), 200).await;
            assert!(token[format!("{flow}_token")].is_string());
        }
        self.call("getCredentialsStatus", "", Some(&json!({ "credentials_token": FIRST })), 200).await;
    }

    async fn use_link_code(&mut self) {
        let codes = self.call("listLinkCodes", "", None, 200).await;
        let filter = format!("?link_token={}", codes[0]["link_token"].as_str().unwrap());
        self.call("listLinkCodes", &filter, None, 200).await;
        let request = json!({ "code": codes[0]["code"] });
        self.call("redeemLinkCode", "", Some(&request), 200).await;
        self.call("redeemLinkCode", "", Some(&request), 400).await;
    }

    async fn sign_letter(&mut self) {
        let created = self.call_example("createSignedLetter", 200).await;
        self.call_example("searchLetters", 200).await;
        let found =
            self.call("searchLetters", "", Some(&json!({ "query": { "id_in": [created["letter_id"]] } })), 200).await;
        assert_eq!(found["total"], 1);
        let request = json!({ "letter_id": created["letter_id"] });
        self.call("discontinueLetter", "", Some(&request), 200).await;
        self.call("discontinueLetter", "", Some(&request), 400).await;
        self.call("discontinueLetter", "", Some(&json!({ "letter_id": UNKNOWN_LETTER })), 404).await;
    }

    /// Sends a body without its required members, and one that names unknown credentials.
    async fn refuse_bodies(&mut self) {
        for operation in self.operations().into_iter().filter(|operation| !operation.is_open()) {
            let Some(schema) = operation.request_schema() else { continue };
            let schema = self.resolve(schema);
            if schema.get("required").is_none() {
                continue;
            }
            let takes_credentials = schema["properties"].get("credentials_token").is_some();
            self.call(&operation.id, "", Some(&json!({})), 400).await;
            if takes_credentials {
                let unknown = json!({ "credentials_token": "sandbox-credentials-unknown", "force": "sca" });
                self.call(&operation.id, "", Some(&unknown), 400).await;
            }
        }
    }

    /// Lets each operation fail with every status that the sandbox can be told to return.
    async fn fail_each(&mut self) {
        for operation in self.operations().into_iter().filter(|operation| !operation.is_open()) {
            for (fault, status) in [
                (ApiFault::Unauthorized, 401),
                (ApiFault::Forbidden, 403),
                (ApiFault::TooManyRequests { retry_after: 1 }, 429),
                (ApiFault::ServerError, 500),
            ] {
                self.gateway.sandbox.arm(Fault::Api(fault));
                let body = operation.example();
                self.call(&operation.id, "", body.as_ref(), status).await;
                self.gateway.sandbox.disarm_all();
            }
        }
    }

    async fn delete_credentials(&mut self) {
        let deleted = self.example("deleteCredentials");
        self.call_example("deleteCredentials", 200).await;
        self.call("getCredentialsStatus", "", deleted.as_ref(), 400).await;
    }

    /// Keeps the fault for the end unless `holds`, so that one run shows all of them.
    fn note(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.invalid.push(fault());
        }
    }

    fn assert_complete(&self) {
        assert!(self.invalid.is_empty(), "{:#?}", self.invalid);
        let documented: BTreeSet<_> = self.operations().into_iter().map(|operation| operation.id).collect();
        assert_eq!(self.succeeded, documented);
    }

    async fn call_example(&mut self, id: &str, status: u16) -> Value {
        let body = self.example(id);
        self.call(id, "", body.as_ref(), status).await
    }

    /// Calls an operation, prints the outcome and returns the response.
    async fn call(&mut self, id: &str, query: &str, body: Option<&Value>, status: u16) -> Value {
        let operation = self.operation(id);
        let before = (self.gateway.sandbox.received_total(), self.gateway.sandbox.jwks_fetches());
        let target = operation.path.clone() + query;
        let request = match body {
            Some(body) => self.gateway.json(&operation.method, &target, body.to_string()),
            None => self.gateway.request(&operation.method, &target),
        };
        let request = if self.token.is_empty() { request } else { request.bearer_auth(&self.token) };
        let response = request.send().await.unwrap();
        let received = response.status();
        let media_type = response.headers()["content-type"].clone();
        let response: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!((received.as_u16(), media_type.as_bytes()), (status, &b"application/json"[..]), "{id}: {response}");

        self.judge(&operation, status, &response);
        self.assert_sealed(&operation, before, body);
        if status == 200 {
            self.succeeded.insert(id.to_owned());
        }
        response
    }

    /// Prints whether the response is valid.
    fn judge(&mut self, operation: &Operation, status: u16, response: &Value) {
        let errors = self.errors(&operation.response_schema(&self.document, status), response);
        println!("{:<28} {status} {}", operation.id, if errors.is_empty() { "valid" } else { "INVALID" });
        self.invalid.extend(errors.into_iter().map(|error| format!("{} {status}: {error}", operation.id)));
    }

    /// Asserts that the provider received this body, and that it was sealed.
    fn assert_sealed(&self, operation: &Operation, before: (u64, u64), body: Option<&Value>) {
        let (calls, key_sets) = before;
        match operation.id.as_str() {
            // The gateway has asked the provider before. The sandbox counts such requests and does not record them.
            "issueToken" => assert!(self.gateway.sandbox.token_requests() > 0),
            "getKeySet" => assert!(self.gateway.sandbox.jwks_fetches() > key_sets),
            id => {
                assert!(self.gateway.sandbox.received_total() > calls, "{id}");
                let received = self.gateway.last();
                assert_eq!(received.target.split('?').next(), Some(operation.path.as_str()));
                match body {
                    // The sandbox refuses some calls before it opens the body.
                    Some(_) if received.opened.is_none() => {
                        assert_eq!(received.headers["content-type"], "application/jose", "{id}");
                        assert_eq!(received.wire.iter().filter(|byte| **byte == b'.').count(), 4, "{id}");
                    }
                    Some(body) => assert_eq!(received.plaintext, body.to_string()),
                    None => assert!(received.wire.is_empty()),
                }
            }
        }
    }

    /// The errors of `value` against the schema at `pointer` in the document.
    fn errors(&self, pointer: &str, value: &Value) -> Vec<String> {
        let mut schema = self.document.clone();
        schema["$ref"] = json!(format!("#{pointer}"));
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    fn operations(&self) -> Vec<Operation> {
        let paths = self.document["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(|(method, operation)| Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase(),
                path: path.clone(),
                content: operation.clone(),
            })
        });
        operations.collect()
    }

    fn operation(&self, id: &str) -> Operation {
        self.operations().into_iter().find(|operation| operation.id == id).unwrap_or_else(|| panic!("{id}"))
    }

    fn example(&self, id: &str) -> Option<Value> {
        self.operation(id).example()
    }

    fn resolve(&self, schema: &Value) -> Map<String, Value> {
        let found = match schema["$ref"].as_str() {
            Some(reference) => self.document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => schema,
        };
        found.as_object().unwrap().clone()
    }
}

struct Operation {
    id: String,
    method: String,
    path: String,
    content: Value,
}

impl Operation {
    fn json(&self) -> &Value {
        &self.content["requestBody"]["content"]["application/json"]
    }

    fn example(&self) -> Option<Value> {
        self.json().get("example").cloned()
    }

    fn request_schema(&self) -> Option<&Value> {
        self.json().get("schema")
    }

    /// Whether it needs no access token.
    fn is_open(&self) -> bool {
        self.content.get("security").is_some()
    }

    /// The pointer to the schema of the response with this status.
    fn response_schema(&self, document: &Value, status: u16) -> String {
        let escape = |part: &str| part.replace('~', "~0").replace('/', "~1");
        let response = &self.content["responses"][status.to_string()];
        assert!(response.is_object(), "{} documents no {status}", self.id);
        let base = match response["$ref"].as_str() {
            Some(reference) => reference.trim_start_matches('#').to_owned(),
            None => format!("/paths/{}/{}/responses/{status}", escape(&self.path), self.method.to_lowercase()),
        };
        let pointer = format!("{base}/content/application~1json/schema");
        assert!(document.pointer(&pointer).is_some(), "{pointer}");
        pointer
    }
}
