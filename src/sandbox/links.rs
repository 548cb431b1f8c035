//! Link codes. Each results from an end user's visit to a link, and can be exchanged once for a
//! `credentials_token`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// The link of the first code of a new sandbox.
const LINK: &str = "sandbox-link-1";

/// The limit on unused codes.
const MAX_CODES: usize = 10_000;

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
    #[serde(default)]
    pub(super) extra: BTreeMap<String, String>,
    /// The bank that the end user chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bank: Option<String>,
}

/// A code that the management interface asks for. Every member has a default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LinkCodeRequest {
    pub(super) code: Option<String>,
    pub(super) link_token: Option<String>,
    /// Parameters of a query string, so the values are texts.
    pub(super) extra: BTreeMap<String, String>,
    pub(super) bank: Option<String>,
}

impl LinkCode {
    /// The code as the documentation shows it.
    fn document(&self) -> Value {
        json!({ "code": self.code, "extra": self.extra, "link_token": self.link_token })
    }
}

impl Links {
    /// Two codes of different links, one of them without extra parameters.
    pub(super) fn seeded() -> Self {
        let code = |number: u8, extra| LinkCode {
            code: format!("sandbox-link-code-{number}"),
            link_token: format!("sandbox-link-{number}"),
            extra,
            bank: None,
        };
        let extra = BTreeMap::from([("alias".to_owned(), "customer-7".to_owned())]);
        Self { pending: vec![code(1, extra), code(2, BTreeMap::new())] }
    }

    /// Lists the pending codes, all or those of one link.
    pub(super) fn list(&self, link_token: Option<&str>) -> Value {
        let pending = self.pending.iter();
        let listed = pending.filter(|pending| link_token.is_none_or(|link| link == pending.link_token));
        listed.map(LinkCode::document).collect()
    }

    /// Adds a code and returns its document. The error is a sentence.
    pub(super) fn add(&mut self, request: LinkCodeRequest) -> Result<Value, String> {
        if self.pending.len() >= MAX_CODES {
            return Err(format!("there are {MAX_CODES} unused link codes, which is the limit; exchange some first"));
        }
        let code = request.code.unwrap_or_else(|| format!("sandbox-link-code-{}", Uuid::new_v4().simple()));
        if self.pending.iter().any(|pending| pending.code == code) {
            return Err(format!("there is already an unused link code {code}"));
        }
        let link_token = request.link_token.unwrap_or_else(|| LINK.to_owned());
        let added = LinkCode { code, link_token, extra: request.extra, bank: request.bank };
        let document = added.document();
        self.pending.push(added);
        Ok(document)
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
        let first = json!({
            "code": "sandbox-link-code-1",
            "extra": { "alias": "customer-7" },
            "link_token": "sandbox-link-1",
        });
        let second = json!({ "code": "sandbox-link-code-2", "extra": {}, "link_token": "sandbox-link-2" });
        assert_eq!(sandbox.get(PATH).await.ok(), json!([first, second]));
        let filtered = |link| format!("{PATH}?page=1&link_token={link}");
        assert_eq!(sandbox.get(&filtered("sandbox-link-1")).await.ok(), json!([first]));
        assert_eq!(sandbox.get(&filtered("sandbox-link-2")).await.ok(), json!([second]));
        assert_eq!(sandbox.get(&filtered("another")).await.ok(), json!([]));
    }

    #[tokio::test]
    async fn a_code_is_exchanged_once_for_new_credentials() {
        let sandbox = TestSandbox::start().await;
        let body = json!({ "code": "sandbox-link-code-1" });
        let exchange = async || sandbox.post(PATH, &body).await;
        let response = exchange().await.ok();
        assert_eq!(response["message"], "Successfully retrieved");
        assert_eq!(response["extra"], json!({ "alias": "customer-7" }));
        assert_eq!(response["link_token"], "sandbox-link-1");
        let named = json!({ "credentials_token": response["credentials_token"] });
        let status = sandbox.post("/v0/bank/credentials/status", &named).await.ok();
        assert_eq!(status["name"], "sandbox-bank-3");
        let list = sandbox.post("/v0/bank/credentials/list", &json!({})).await.ok();
        assert_eq!(list["items"][7]["external_id"], "customer-7");

        assert_eq!(exchange().await.status, 400);
        assert_eq!(sandbox.get(PATH).await.ok().as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_unknown_or_missing_code_is_refused_and_no_code_is_used() {
        let sandbox = TestSandbox::start().await;
        for body in [json!({ "code": "made-up" }), json!({}), json!({ "code": 1 })] {
            assert_eq!(sandbox.post(PATH, &body).await.status, 400);
        }
        assert_eq!(sandbox.get(PATH).await.ok().as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_code_that_is_pending_or_one_too_many_cannot_be_added() {
        let mut links = Links::seeded();
        let named = |code: String| LinkCodeRequest { code: Some(code), ..LinkCodeRequest::default() };
        let error = links.add(named("sandbox-link-code-1".to_owned())).unwrap_err();
        assert!(error.contains("sandbox-link-code-1"), "{error}");
        for number in links.pending.len()..MAX_CODES {
            links.add(named(format!("code-{number}"))).unwrap();
        }
        assert!(links.add(LinkCodeRequest::default()).unwrap_err().contains("limit"));
    }
}
