//! The data of the simulated provider, through the gateway: the query examples of the provider's quickstart, pages,
//! and `all`.

use jwe_gateway::sandbox::Options;
use serde_json::{Value, json};

use crate::harness::TestGateway;

const FIRST: &str = "sandbox-credentials-1";
const SECOND: &str = "sandbox-credentials-2";

async fn spawn(seed: u64) -> TestGateway {
    let options = Options { seed, require_sealed: true, ..Options::default() };
    TestGateway::spawn_in(options, |_| {}).await
}

async fn post(gateway: &TestGateway, path: &str, body: &Value) -> (u16, Value) {
    gateway.call("POST", &format!("/v0/bank/credentials/{path}"), body).await
}

async fn list(gateway: &TestGateway, path: &str, query: Value) -> Vec<Value> {
    let body = json!({ "credentials_token": FIRST, "query": query });
    let (status, document) = post(gateway, path, &body).await;
    assert_eq!(status, 200, "{path} {query}: {document}");
    document.as_array().unwrap().clone()
}

fn text<'a>(record: &'a Value, member: &str) -> &'a str {
    record[member].as_str().unwrap()
}

#[tokio::test]
async fn the_query_examples_of_the_quickstart_select_transactions_for_every_seed() {
    for seed in [1, 2, 4_711] {
        let gateway = spawn(seed).await;
        let all = list(&gateway, "data", Value::Null).await;
        let texts = json!(["^TRANSFERENCIA.*", "TRIVAGO", "^INGRESO CAJERO$"]);
        let found = list(&gateway, "data", json!({ "description": texts })).await;
        let wanted = |record: &&Value| {
            let description = text(record, "description");
            description.starts_with("TRANSFERENCIA")
                || description.contains("TRIVAGO")
                || description == "INGRESO CAJERO"
        };
        assert_eq!(found, all.iter().filter(wanted).cloned().collect::<Vec<_>>());
        assert!(!found.is_empty() && found.len() < all.len());

        let intervals = json!([{ "lte": 20, "gte": 10 }, { "gte": 100 }, { "lte": -5 }]);
        let found = list(&gateway, "data", json!({ "amount": intervals })).await;
        let wanted = |record: &&Value| {
            let amount = record["amount"].as_f64().unwrap();
            (10.0..=20.0).contains(&amount) || amount >= 100.0 || amount <= -5.0
        };
        assert_eq!(found, all.iter().filter(wanted).cloned().collect::<Vec<_>>());
        assert!(!found.is_empty() && found.len() < all.len());

        // Fields are conditions.
        let query =
            json!({ "description": texts, "amount": [{ "gte": 100 }], "operationDate": [{ "lte": "2999-12-31" }] });
        let found = list(&gateway, "data", query).await;
        assert!(!found.is_empty());
        assert!(found.iter().all(|record| record["amount"].as_f64().unwrap() >= 100.0));
    }
}

#[tokio::test]
async fn a_wrong_query_or_page_is_a_400_that_says_what_is_wrong() {
    let gateway = spawn(1).await;
    for (path, query, error) in [
        ("data", json!(7), "query must be an object"),
        ("data", json!({ "description": ["("] }), "query.description[0] is not a valid regular expression"),
        ("card/transaction", json!({ "amount": ["10"] }), "query.amount[0] must be an object with gte or lte"),
        ("account", json!({ "made_up": [] }), "query.made_up is not a known field"),
        ("data?page=0", Value::Null, "page must be a whole number from 1"),
        ("data?page_size=1001", Value::Null, "page_size must be a whole number from 1 to 1000"),
    ] {
        let body = json!({ "credentials_token": FIRST, "query": query });
        let (status, document) = post(&gateway, path, &body).await;
        assert_eq!(status, 400, "{path}: {document}");
        assert!(text(&document, "error").starts_with(error), "{document}");
    }
}

#[tokio::test]
async fn pages_add_up_to_the_list_and_all_merges_several_credentials() {
    let gateway = spawn(1).await;
    let whole = list(&gateway, "data", Value::Null).await;
    let mut pages = Vec::new();
    while pages.len() < whole.len() {
        let page = pages.len() / 100 + 1;
        let part = list(&gateway, &format!("data?page={page}&page_size=100"), Value::Null).await;
        assert!(!part.is_empty());
        pages.extend(part);
    }
    assert_eq!(pages, whole);

    let all = async |tokens: Value| {
        let (status, document) = post(&gateway, "all", &json!({ "credentials_token": tokens })).await;
        assert_eq!(status, 200);
        document
    };
    let (first, second, both) =
        (all(json!(FIRST)).await, all(json!([SECOND])).await, all(json!([FIRST, SECOND])).await);
    for (name, list) in both.as_object().unwrap() {
        let merged = [first[name].as_array().unwrap().clone(), second[name].as_array().unwrap().clone()].concat();
        assert_eq!(*list, json!(merged), "{name}");
        assert_eq!(merged.is_empty(), name == "deposits", "{name}");
    }
    let transactions = first["accounts"].as_array().unwrap().iter();
    let count: usize = transactions.map(|account| account["transaction"].as_array().unwrap().len()).sum();
    assert_eq!(count, whole.len());
    let (status, document) = post(&gateway, "all", &json!({ "credentials_token": [FIRST, "made-up"] })).await;
    assert_eq!((status, text(&document, "error")), (400, "You are not allowed to access to this credentials"));
}
