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
    let partly = set(json!({ "created": { "product": { "card": false } } })).unwrap();
    assert_eq!(set(json!({ "pending": false, "blocked": true })).unwrap(), partly);
    assert_eq!(credentials.set("made-up", &json!({}), now), Err(CredentialError::NotFound));
}

#[test]
fn a_flag_that_already_has_its_value_does_not_end_a_forced_flow() {
    let (now, token) = (Timestamp::UNIX_EPOCH, "sandbox-credentials-1");
    let mut credentials = BankCredentials::seeded(1, now);
    let forced = credentials.force(token, ForcedFlow::Reset).unwrap();
    let changed = credentials.set(token, &json!({ "blocked": false }), now).unwrap();
    assert_eq!(changed["status"]["reset_token"], forced["reset_token"]);
}
