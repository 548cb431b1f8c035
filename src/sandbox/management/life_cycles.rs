//! Verbs for the life of letters, credentials and link codes.

use http::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Reply, Verb, VerbRequest, bad_request, error_response, ok};
use crate::sandbox::bank_credentials::ForcedFlow;
use crate::sandbox::letters::LetterStatus;
use crate::sandbox::life_cycles::ChangeError;
use crate::sandbox::links::LinkCodeRequest;

/// The size limit of a change as JSON.
const MAX_BODY: usize = 64 * 1024;

pub(super) const VERBS: &[Verb] = &[
    Verb {
        method: "PUT",
        path: "/credentials/{token}",
        query: "",
        what: "change the flags of credentials: any of pending, blocked, created and errored",
        handler: |request| Box::pin(set_credentials(request)),
    },
    Verb {
        method: "POST",
        path: "/credentials/{token}/complete",
        query: "?flow=sca|reset|transaction",
        what: "complete a forced flow as the end user would",
        handler: |request| Box::pin(complete_flow(request)),
    },
    Verb {
        method: "POST",
        path: "/link-codes",
        query: "",
        what: "add an unused link code: any of link_token, extra, code and bank",
        handler: |request| Box::pin(add_link_code(request)),
    },
    Verb {
        method: "POST",
        path: "/letters/{id}/advance",
        query: "",
        what: "take the next step of a letter at once",
        handler: |request| Box::pin(advance_letter(request)),
    },
    Verb {
        method: "PUT",
        path: "/letters/{id}",
        query: "",
        what: "put a letter into any status: {\"status\": STATUS, \"observations\": TEXT}",
        handler: |request| Box::pin(set_letter(request)),
    },
];

/// The body of `PUT /letters/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LetterChange {
    status: LetterStatus,
    /// `None` keeps the observations, `Some(None)` removes them.
    #[serde(default, deserialize_with = "present")]
    observations: Option<Option<String>>,
}

/// Reads a member that is there, so that null differs from an absent member.
fn present<'de, D: Deserializer<'de>>(member: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(member).map(Some)
}

async fn set_credentials(request: VerbRequest) -> Reply {
    let VerbRequest { state, segment, body, .. } = request;
    let change: Value = VerbRequest::json(body, MAX_BODY).await?;
    reply(state.set_credentials(&segment, &change))
}

async fn complete_flow(request: VerbRequest) -> Reply {
    let flow = request.parameter("flow");
    let flow = flow.as_deref().and_then(ForcedFlow::parse).ok_or_else(|| {
        bad_request("flow must be sca, reset or transaction: POST /credentials/TOKEN/complete?flow=sca")
    })?;
    reply(request.state.complete_flow(&request.segment, flow))
}

async fn add_link_code(request: VerbRequest) -> Reply {
    let VerbRequest { state, body, .. } = request;
    let code: LinkCodeRequest = VerbRequest::json(body, MAX_BODY).await?;
    reply(state.add_link_code(code))
}

async fn advance_letter(request: VerbRequest) -> Reply {
    reply(request.state.advance_letter(&request.segment))
}

async fn set_letter(request: VerbRequest) -> Reply {
    let VerbRequest { state, segment, body, .. } = request;
    let change: LetterChange = VerbRequest::json(body, MAX_BODY).await?;
    reply(state.set_letter(&segment, change.status, change.observations))
}

fn reply(changed: Result<Value, ChangeError>) -> Reply {
    match changed {
        Ok(document) => ok(document),
        Err(ChangeError::NotFound(message)) => Err(error_response(StatusCode::NOT_FOUND, &message)),
        Err(ChangeError::Conflict(message)) => Err(error_response(StatusCode::CONFLICT, &message)),
        Err(ChangeError::Invalid(message)) => Err(bad_request(&message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::TestSandbox;
    use http::Method;
    use serde_json::json;

    const SEARCH: &str = "/letters/v1/search-letters";
    const STATUS: &str = "/v0/bank/credentials/status";

    async fn letter(sandbox: &TestSandbox, status: &str) -> Value {
        let query = json!({ "query": { "status_in": [status] } });
        sandbox.post(SEARCH, &query).await.ok()["items"][0].take()
    }

    #[tokio::test]
    async fn a_letter_is_advanced_to_connected_and_its_connection_appears() {
        let sandbox = TestSandbox::start().await;
        let waiting = letter(&sandbox, "WaitingForData").await;
        let target = format!("/letters/{}", waiting["id"].as_str().unwrap());
        let advance = async || sandbox.manage(Method::POST, &format!("{target}/advance")).await;
        let connected = advance().await.ok();
        assert_eq!(connected["status"], "Connected");
        let named = json!({ "credentials_token": connected["connection_id"] });
        sandbox.post(STATUS, &named).await.ok();

        let reply = advance().await;
        assert_eq!(reply.status, 409);
        assert!(reply.json()["error"].as_str().unwrap().contains("Connected"));
        let change = json!({ "status": "Cancelled", "observations": "by hand" });
        let cancelled = sandbox.manage_with(Method::PUT, &target, &change).await.ok();
        assert_eq!((&cancelled["connection_id"], &cancelled["observations"]), (&json!(null), &json!("by hand")));
        assert_eq!(sandbox.post(STATUS, &named).await.status, 400);
        let kept = sandbox.manage_with(Method::PUT, &target, &json!({ "status": "Revoked" })).await.ok();
        assert_eq!(kept["observations"], "by hand");
        let removed = json!({ "status": "Revoked", "observations": null });
        assert_eq!(sandbox.manage_with(Method::PUT, &target, &removed).await.ok()["observations"], json!(null));
    }

    #[tokio::test]
    async fn credentials_are_changed_and_their_flow_is_completed() {
        let sandbox = TestSandbox::start().await;
        let target = "/credentials/sandbox-credentials-1";
        let blocked = sandbox.manage_with(Method::PUT, target, &json!({ "blocked": true })).await.ok();
        assert_eq!(blocked["credentials_token"], "sandbox-credentials-1");
        assert!(blocked["status"]["reset_token"].is_string());
        let complete = async |flow: &str| {
            let target = format!("{target}/complete?flow={flow}");
            sandbox.manage(Method::POST, &target).await
        };
        let reset = complete("reset").await.ok()["status"].take();
        assert_eq!((&reset["blocked"], &reset["reset_token"]), (&json!(false), &json!(null)));
        assert_eq!(complete("reset").await.status, 409);
        assert_eq!(complete("sudo").await.status, 400);
    }

    #[tokio::test]
    async fn any_number_of_link_codes_can_be_added_and_each_is_exchanged_for_its_own_credentials() {
        let sandbox = TestSandbox::start().await;
        let link = "/v0/platform/link";
        for number in 0..20 {
            let extra = json!({ "alias": format!("alias-{number}"), "advisor": "7" });
            let wanted = json!({ "link_token": "my-link", "extra": extra, "bank": "sandbox-bank-2" });
            let added = sandbox.manage_with(Method::POST, "/link-codes", &wanted).await.ok();
            assert_eq!((&added["extra"], &added["link_token"]), (&extra, &json!("my-link")));
        }
        let pending = sandbox.get(&format!("{link}?link_token=my-link")).await.ok();
        assert_eq!(pending.as_array().unwrap().len(), 20);
        let exchanged = sandbox.post(link, &json!({ "code": pending[7]["code"] })).await.ok();
        assert_eq!(exchanged["extra"], json!({ "alias": "alias-7", "advisor": "7" }));
        let status = sandbox.post(STATUS, &json!({ "credentials_token": exchanged["credentials_token"] })).await.ok();
        assert_eq!(status["name"], "sandbox-bank-2");
        let defaults = sandbox.manage_with(Method::POST, "/link-codes", &json!({})).await.ok();
        assert_eq!(defaults["link_token"], "sandbox-link-1");
    }

    #[tokio::test]
    async fn a_change_of_something_unknown_or_to_something_unknown_is_refused_with_its_reason() {
        let sandbox = TestSandbox::start().await;
        let id = letter(&sandbox, "Signed").await["id"].as_str().unwrap().to_owned();
        for (method, target, body, status, told) in [
            (Method::PUT, "/credentials/x".to_owned(), json!({}), 404, "x"),
            (Method::PUT, "/credentials/sandbox-credentials-1".to_owned(), json!({ "sca": 1 }), 400, "sca"),
            (Method::POST, "/credentials/x/complete?flow=sca".to_owned(), json!(0), 404, "x"),
            (Method::POST, "/link-codes".to_owned(), json!({ "bank": "y" }), 400, "sandbox-bank-1"),
            (Method::POST, "/link-codes".to_owned(), json!({ "extra": 1 }), 400, "map"),
            (Method::POST, "/link-codes".to_owned(), json!({ "extra": { "alias": 1 } }), 400, "string"),
            (Method::POST, "/link-codes".to_owned(), json!({ "code": "sandbox-link-code-1" }), 409, "already"),
            (Method::POST, "/link-codes".to_owned(), json!({ "code": "" }), 400, "empty"),
            (Method::POST, "/letters/x/advance".to_owned(), json!(0), 404, "letter"),
            (Method::PUT, "/letters/x".to_owned(), json!({ "status": "Signed" }), 404, "letter"),
            (Method::PUT, format!("/letters/{id}"), json!({ "status": "Lost" }), 400, "Lost"),
            (Method::PUT, format!("/letters/{id}"), json!({ "observations": "x" }), 400, "status"),
        ] {
            let reply = sandbox.manage_with(method, &target, &body).await;
            assert_eq!(reply.status, status, "{target}");
            let error = reply.json()["error"].as_str().unwrap().to_owned();
            assert!(error.contains(told), "{target}: {error}");
        }
    }
}
