//! Link codes. Each results from an end user's visit to a link, and can be exchanged once for a
//! `credentials_token`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The only pending code of a new sandbox, and its link.
const CODE: &str = "sandbox-link-code-1";
const LINK: &str = "sandbox-link-1";

/// The codes that are not used yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Links {
    pub(super) pending: Vec<LinkCode>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkCode {
    pub(super) code: String,
    pub(super) link_token: String,
    /// The parameters of the link. `alias` becomes the `external_id` of the credentials.
    pub(super) extra: Map<String, Value>,
}

impl Links {
    pub(super) fn seeded() -> Self {
        let extra = Map::from_iter([("alias".to_owned(), json!("customer-3"))]);
        Self { pending: vec![LinkCode { code: CODE.to_owned(), link_token: LINK.to_owned(), extra }] }
    }

    /// Lists the pending codes, all or those of one link.
    pub(super) fn list(&self, link_token: Option<&str>) -> Value {
        self.pending
            .iter()
            .filter(|pending| link_token.is_none_or(|link| link == pending.link_token))
            .map(|pending| {
                json!({
                    "code": pending.code,
                    "extra": pending.extra,
                    "link_token": pending.link_token,
                })
            })
            .collect()
    }

    /// Removes and returns a code. `None` if it is unknown or was used before.
    pub(super) fn redeem(&mut self, code: &str) -> Option<LinkCode> {
        let index = self.pending.iter().position(|pending| pending.code == code)?;
        Some(self.pending.remove(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::TestSandbox;

    const PATH: &str = "/v0/platform/link";

    #[tokio::test]
    async fn a_pending_code_is_listed_and_can_be_filtered_by_its_link() {
        let sandbox = TestSandbox::start().await;
        let pending = json!([{
            "code": "sandbox-link-code-1",
            "extra": { "alias": "customer-3" },
            "link_token": "sandbox-link-1",
        }]);
        assert_eq!(sandbox.get(PATH).await.ok(), pending);
        let filtered = |link| format!("{PATH}?page=1&link_token={link}");
        assert_eq!(sandbox.get(&filtered("sandbox-link-1")).await.ok(), pending);
        assert_eq!(sandbox.get(&filtered("another")).await.ok(), json!([]));
    }

    #[tokio::test]
    async fn a_code_is_exchanged_once_for_new_credentials() {
        let sandbox = TestSandbox::start().await;
        let body = json!({ "code": "sandbox-link-code-1" });
        let exchange = async || sandbox.post(PATH, &body).await;
        let response = exchange().await.ok();
        assert_eq!(response["message"], "Successfully retrieved");
        assert_eq!(response["extra"], json!({ "alias": "customer-3" }));
        assert_eq!(response["link_token"], "sandbox-link-1");
        let named = json!({ "credentials_token": response["credentials_token"] });
        let status = sandbox.post("/v0/bank/credentials/status", &named).await.ok();
        assert_eq!(status["name"], "sandbox-bank-3");
        let list = sandbox.post("/v0/bank/credentials/list", &json!({})).await.ok();
        assert_eq!(list["items"][2]["external_id"], "customer-3");

        assert_eq!(exchange().await.status, 400);
        assert_eq!(sandbox.get(PATH).await.ok(), json!([]));
    }

    #[tokio::test]
    async fn an_unknown_or_missing_code_is_refused_and_no_code_is_used() {
        let sandbox = TestSandbox::start().await;
        for body in [json!({ "code": "made-up" }), json!({}), json!({ "code": 1 })] {
            assert_eq!(sandbox.post(PATH, &body).await.status, 400);
        }
        assert_eq!(sandbox.get(PATH).await.ok().as_array().unwrap().len(), 1);
    }
}
