//! Verbs for the simulated data and the time.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::{Reply, Verb, VerbRequest, bad_request, duration, ok};
use crate::sandbox::api_response::ApiResponse;

/// Thousands of letters with their documents.
const MAX_WORLD: usize = 64 * 1024 * 1024;

pub(super) const VERBS: &[Verb] = &[
    Verb {
        method: "POST",
        path: "/reset",
        query: "",
        what: "data, faults, recorded requests and the clock as at the start; keys and tokens stay",
        handler: |request| Box::pin(reset(request)),
    },
    Verb {
        method: "GET",
        path: "/world",
        query: "",
        what: "all data of the provider as one document",
        handler: |request| Box::pin(world(request)),
    },
    Verb {
        method: "PUT",
        path: "/world",
        query: "",
        what: "replace all data of the provider by such a document",
        handler: |request| Box::pin(set_world(request)),
    },
    Verb {
        method: "POST",
        path: "/clock",
        query: "?advance=DURATION",
        what: "advance the time of the sandbox, such as 90s or 1h: tokens expire, overlaps of keys end, dates move on",
        handler: |request| Box::pin(advance_clock(request)),
    },
];

async fn reset(request: VerbRequest) -> Reply {
    request.state.reset();
    ok(json!({ "reset": true }))
}

async fn world(request: VerbRequest) -> Reply {
    ok(request.state.world())
}

async fn set_world(request: VerbRequest) -> Reply {
    let VerbRequest { state, body, .. } = request;
    let world: Value = VerbRequest::json(body, MAX_WORLD).await?;
    state.set_world(world).map_err(|faults| ApiResponse {
        status: StatusCode::BAD_REQUEST,
        body: json!({ "error": format!("the document is wrong: {}", faults.join("; ")), "faults": faults }),
    })?;
    ok(json!({ "replaced": true }))
}

async fn advance_clock(request: VerbRequest) -> Reply {
    let by = request
        .parameter("advance")
        .ok_or_else(|| bad_request("parameter advance is missing: POST /clock?advance=1h"))?;
    let by: Duration = duration(&by)?;
    let now =
        request.state.advance_clock(by).ok_or_else(|| bad_request("the clock can be advanced by ten years at most"))?;
    ok(json!({ "now": now.to_string() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::TestSandbox;
    use http::Method;

    #[tokio::test]
    async fn a_reset_restores_the_data_and_forgets_faults_and_calls_but_keeps_keys_and_tokens() {
        let sandbox = TestSandbox::start().await;
        let (world, kids) = (sandbox.manage(Method::GET, "/world").await.ok(), sandbox.handle.kids());
        sandbox
            .call(Method::DELETE, "/v0/bank/credentials", &json!({ "credentials_token": "sandbox-credentials-1" }))
            .await
            .ok();
        sandbox.arm_by_http(&json!({ "fault": { "token": "server_error" } })).await.ok();
        sandbox.manage(Method::POST, "/clock?advance=5m").await.ok();
        assert_ne!(sandbox.manage(Method::GET, "/world").await.ok(), world);

        assert_eq!(sandbox.manage(Method::POST, "/reset").await.ok(), json!({ "reset": true }));
        assert_eq!(sandbox.manage(Method::GET, "/world").await.ok(), world);
        assert!(sandbox.handle.received().is_empty() && sandbox.handle.armed().is_empty());
        assert_eq!(sandbox.handle.kids(), kids);
        sandbox.get("/v0/bank/available").await.ok();
        assert_eq!(sandbox.handle.received()[0].number, 2, "numbering continues");
    }

    #[tokio::test]
    async fn the_data_can_be_replaced_by_a_changed_document() {
        let sandbox = TestSandbox::start().await;
        let mut world = sandbox.manage(Method::GET, "/world").await.ok();
        world["links"] = json!([{ "code": "own-code", "link_token": "own-link", "extra": { "alias": "own" } }]);
        assert_eq!(sandbox.manage_with(Method::PUT, "/world", &world).await.ok(), json!({ "replaced": true }));
        assert_eq!(sandbox.manage(Method::GET, "/world").await.ok(), world);
        assert_eq!(sandbox.handle.link_codes(), ["own-code"]);
        let reply = sandbox.post("/v0/platform/link", &json!({ "code": "own-code" })).await.ok();
        assert_eq!(reply["extra"]["alias"], "own");
    }

    #[tokio::test]
    async fn a_faulty_document_is_refused_with_all_its_faults_and_changes_nothing() {
        let sandbox = TestSandbox::start().await;
        let before = sandbox.manage(Method::GET, "/world").await.ok();
        let mut world = before.clone();
        world["credentials"][0]["bank"] = json!("no-bank-1");
        world["credentials"][1]["bank"] = json!("no-bank-2");
        let reply = sandbox.manage_with(Method::PUT, "/world", &world).await;
        assert_eq!(reply.status, 400);
        let faults = reply.json()["faults"].to_string();
        assert!(faults.contains("no-bank-1") && faults.contains("no-bank-2"), "{faults}");
        let mut mistyped = before.clone();
        mistyped["credentials"][1]["products"]["accounts"][0]["balance"] = json!("much");
        let reply = sandbox.manage_with(Method::PUT, "/world", &mistyped).await;
        let fault = "credentials[1].products.accounts[0].balance: invalid type: string \"much\", expected a number";
        assert!(reply.json()["faults"][0].as_str().unwrap().starts_with(fault), "{}", reply.json());
        for wrong in [json!({}), json!([]), json!({ "seed": "one" })] {
            let reply = sandbox.manage_with(Method::PUT, "/world", &wrong).await;
            assert_eq!((reply.status.as_u16(), reply.json()["faults"].as_array().unwrap().len()), (400, 1), "{wrong}");
        }
        assert_eq!(sandbox.manage(Method::GET, "/world").await.ok(), before);
    }

    #[tokio::test]
    async fn an_advanced_clock_expires_tokens_and_ends_overlaps() {
        let sandbox = TestSandbox::start().await;
        sandbox.manage(Method::POST, "/rotate?overlap=600").await.ok();
        assert_eq!(sandbox.handle.kids().len(), 2);
        sandbox.manage(Method::POST, "/clock?advance=30m").await.ok();
        assert_eq!(sandbox.handle.kids().len(), 1);
        assert_eq!(sandbox.get("/v0/bank/available").await.status, 200);
        sandbox.manage(Method::POST, "/clock?advance=30m").await.ok();
        assert_eq!(sandbox.get("/v0/bank/available").await.status, 401);
        for wrong in ["", "?advance=1", "?advance=soon", "?advance=-1h", "?advance=90000h"] {
            assert_eq!(sandbox.manage(Method::POST, &format!("/clock{wrong}")).await.status, 400, "{wrong}");
        }
    }
}
