//! Verbs for keys and tokens.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::super::Rotation;
use super::super::key_set;
use super::super::state::lock;
use super::{Reply, Verb, VerbRequest, bad_request, error_response, ok};
use crate::sandbox::api_response::ApiResponse;

pub(super) const VERBS: &[Verb] = &[
    Verb {
        method: "POST",
        path: "/rotate",
        query: "?overlap=true|false|SECONDS",
        what: "publish a new key, first in the set; the older keys stay (true, the default), are removed at once (false) \
               or after SECONDS",
        handler: |request| Box::pin(rotate(request)),
    },
    Verb {
        method: "POST",
        path: "/retire",
        query: "?kid=KID",
        what: "remove one key from the set at once",
        handler: |request| Box::pin(retire(request)),
    },
    Verb {
        method: "POST",
        path: "/revoke-tokens",
        query: "",
        what: "revoke all tokens issued so far",
        handler: |request| Box::pin(revoke_tokens(request)),
    },
    Verb {
        method: "GET",
        path: "/keys/private",
        query: "",
        what: "the JWK Set with private members",
        handler: |request| Box::pin(private_keys(request)),
    },
];

async fn rotate(request: VerbRequest) -> Reply {
    let rotation = rotation(request.parameter("overlap").as_deref())?;
    let kid = key_set::rotate(&request.state, rotation).await.map_err(|error| {
        tracing::error!(%error, "sandbox: a new key could not be generated");
        error_response(StatusCode::INTERNAL_SERVER_ERROR, "a new key could not be generated")
    })?;
    ok(json!({ "kid": kid }))
}

fn rotation(overlap: Option<&str>) -> Result<Rotation, ApiResponse> {
    match overlap {
        None | Some("true") => Ok(Rotation::Overlap),
        Some("false") => Ok(Rotation::HardCut),
        Some(seconds) => seconds
            .parse()
            .map(|seconds| Rotation::OverlapFor(Duration::from_secs(seconds)))
            .map_err(|_| bad_request("overlap must be true, false or a whole number of seconds")),
    }
}

async fn retire(request: VerbRequest) -> Reply {
    let kid = request.parameter("kid").ok_or_else(|| bad_request("parameter kid is missing: POST /retire?kid=KID"))?;
    if !lock(&request.state.keys).retire(&kid) {
        return Err(error_response(StatusCode::NOT_FOUND, "no published key has this kid"));
    }
    ok(json!({ "retired": kid }))
}

async fn revoke_tokens(request: VerbRequest) -> Reply {
    request.state.revoke_tokens();
    ok(json!({ "revoked": true }))
}

async fn private_keys(request: VerbRequest) -> Reply {
    ok(key_set::private_jwks(&request.state.keys()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;

    use crate::jose;
    use crate::sandbox::testing::TestSandbox;

    #[tokio::test]
    async fn the_overlap_parameter_decides_how_long_the_older_keys_stay() {
        let sandbox = TestSandbox::start().await;
        let published = async || sandbox.jwks().await.ok()["keys"].as_array().unwrap().len();
        for (overlap, keys) in [("", 2), ("?overlap=true", 3), ("?overlap=60", 4)] {
            let reply = sandbox.manage(Method::POST, &format!("/rotate{overlap}")).await.ok();
            let kid = sandbox.jwks().await.ok()["keys"][0]["kid"].clone();
            assert_eq!(reply["kid"], kid);
            assert_eq!(published().await, keys);
        }
        sandbox.control.advance(Duration::from_secs(60));
        assert_eq!(published().await, 1);
        let new = sandbox.manage(Method::POST, "/rotate?overlap=false").await.ok();
        assert_eq!(published().await, 1);

        let retire = format!("/retire?kid={}", new["kid"].as_str().unwrap());
        assert_eq!(sandbox.manage(Method::POST, &retire).await.status, 200);
        assert_eq!(sandbox.manage(Method::POST, &retire).await.status, 404);
        assert_eq!(published().await, 0);
        for wrong in ["/rotate?overlap=soon", "/rotate?overlap=-1", "/retire"] {
            assert_eq!(sandbox.manage(Method::POST, wrong).await.status, 400, "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_private_key_set_opens_a_message_sealed_for_the_public_set() {
        let sandbox = TestSandbox::start().await;
        let message = sandbox.seal(b"{\"a\":1}").await;
        let set = sandbox.manage(Method::GET, "/keys/private").await.ok();
        assert_eq!(set, sandbox.handle.private_jwks());
        let key = jose::DecryptionKey::from_jwk(&set["keys"][0]).unwrap();
        assert_eq!(*jose::open(&message, &[key]).unwrap().plaintext, b"{\"a\":1}");
        let public = sandbox.jwks().await.ok();
        assert!(set["keys"][0]["d"].is_string() && public["keys"][0].get("d").is_none());
    }

    #[tokio::test]
    async fn revoke_tokens_makes_issued_tokens_invalid() {
        let sandbox = TestSandbox::start().await;
        sandbox.manage(Method::POST, "/revoke-tokens").await.ok();
        assert_eq!(sandbox.get("/v0/bank/available").await.status, 401);
    }
}
