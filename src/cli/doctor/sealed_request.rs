//! `doctor --probe`: one sealed request through the gateway's own seal and credential, and what its reply shows.
//!
//! The hard case is a status of `key_refusals`: it means "this message cannot be opened", or it is an ordinary answer to a
//! wrong request. A reply that is one of `ordinary_refusals` shows that the provider read the message. For any other one,
//! the key set is fetched again: if the key is gone, a running gateway would seal with a newer one.
//!
//! The upstream may be an egress of this product. Its own refusals have `error=` in the last member of `Proxy-Status`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::finding::Findings;
use crate::clock::Clock;
use crate::config::Upstream;
use crate::credentials::Credentials;
use crate::error_chain;
use crate::gateway::request::request_id::{RequestId, X_REQUEST_ID};
use crate::gateway::response::ordinary_refusal::{MAX_EXAMINED, is_ordinary};
use crate::gateway::response::refusal::{PROXY_STATUS, PSEUDONYM};
use crate::gateway::response::reply_body::ReplyBody;
use crate::jose::{EncryptionKey, Plaintext, seal};
use crate::keys::{KeyStatus, Keys};
use crate::upstream::{Connector, Head, Outgoing, SealTime, SendError, UpstreamClient};

pub(super) const STEP: &str = "probe";

/// How long the step waits for the body of a reply. A body of the examined size arrives with the head, or soon after it.
const MAX_EXAMINATION: Duration = Duration::from_secs(5);

/// The request to send.
#[derive(clap::Args)]
pub(super) struct ProbeArguments {
    /// Send one sealed request to the provider's API, and say whether the provider opened it
    #[arg(long)]
    pub(super) probe: bool,
    /// Path of the request of --probe; the operation must only read. The method is POST
    #[arg(long, value_name = "PATH", default_value = "/v0/bank/credentials/list", value_parser = target)]
    pub(super) probe_path: PathAndQuery,
    /// JSON body of the request of --probe
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = plaintext)]
    pub(super) probe_body: Plaintext,
}

fn target(text: &str) -> Result<PathAndQuery, String> {
    let target = text.parse().map_err(|error: http::uri::InvalidUri| error.to_string());
    target.and_then(|target| if text.starts_with('/') { Ok(target) } else { Err("must begin with /".to_owned()) })
}

fn plaintext(text: &str) -> Result<Plaintext, String> {
    Plaintext::json(Bytes::copy_from_slice(text.as_bytes())).map_err(|error| error.to_string())
}

/// Sends the request, and reports what the reply shows. Key and credential were already obtained.
pub(super) async fn examine(
    arguments: &ProbeArguments,
    upstream: &Upstream,
    connector: &Connector,
    keys: &Keys,
    credentials: &Credentials,
    findings: &mut Findings,
) {
    let (Ok(key), Ok(credential)) = (keys.current().await, credentials.current().await) else {
        return findings.skip(STEP, "there is no key or no credential");
    };
    let client = match UpstreamClient::new(&upstream.upstream, connector, Arc::default()) {
        Ok(client) => client,
        Err(error) => return findings.fail(STEP, error, "correct the setting that the message names"),
    };
    let request_id = RequestId::assign(&HeaderMap::new());
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jose"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("jwe-gateway/", env!("CARGO_PKG_VERSION"))));
    if let Ok(id) = request_id.as_str().parse() {
        headers.insert(X_REQUEST_ID, id);
    }
    credential.apply(&mut headers);
    let head = Head { method: Method::POST, target: arguments.probe_path.clone(), headers };
    let body = match sealed(&arguments.probe_body, &key) {
        Ok(body) => body,
        Err(error) => return findings.fail(STEP, error, "this is a bug of jwe-gateway: please report it"),
    };
    let request = format!("POST {} (X-Request-Id {})", arguments.probe_path.path(), request_id.as_str());
    match client.send(&head, body, &mut None).await {
        Ok(reply) => report(reply.map(ReplyBody::from), &request, upstream, keys, key, findings).await,
        Err(error) => {
            let cause = error_chain::chain(&error);
            findings.fail(STEP, format_args!("{request}: {cause}"), advice_on_sending(&error));
        }
    }
}

fn sealed(plaintext: &Plaintext, key: &Arc<EncryptionKey>) -> Result<Outgoing, crate::jose::SealError> {
    let message = seal(plaintext, key)?;
    let (plaintext, key) = (plaintext.clone(), Arc::clone(key));
    Ok(Outgoing::message(message, move || seal(&plaintext, &key), Clock::system(), SealTime::default()))
}

fn advice_on_sending(error: &SendError) -> &'static str {
    if error.nothing_was_sent() {
        "nothing was sent; see the steps above"
    } else {
        "the provider received the request; raise `reply` if it is slow"
    }
}

async fn report(
    mut reply: Response<ReplyBody>,
    request: &str,
    upstream: &Upstream,
    keys: &Keys,
    key: Arc<EncryptionKey>,
    findings: &mut Findings,
) {
    let status = reply.status();
    let provider = match Sender::of(reply.headers()) {
        Sender::Egress { code } => {
            let result = format_args!("{request}: the egress refused it with {} {code}", status.as_u16());
            let advice = "docs/errors.md says what the code means; the log of the egress has the cause";
            return findings.fail(STEP, result, advice);
        }
        Sender::BehindEgress => "the provider behind the egress",
        Sender::Provider => "the provider",
    };
    let answered = format!("{request}: {provider} answered {}", status.as_u16());
    if status.is_success() {
        return findings.ok(STEP, format_args!("{answered}, so it opened the message"));
    }
    if upstream.key_refusals.contains(&status) {
        let examined = tokio::time::timeout(MAX_EXAMINATION, reply.body_mut().examine(MAX_EXAMINED)).await;
        let body = examined.ok().flatten().unwrap_or_default();
        if is_ordinary(&body, &upstream.ordinary_refusals) {
            let result = format_args!("{answered}, one of `ordinary_refusals`, so it opened the message");
            return findings.ok(STEP, result);
        }
        let (result, advice) = after_key_refusal(keys.replacement_for(&key).await);
        return findings.fail(STEP, format_args!("{answered}, one of `key_refusals`: {result}"), advice);
    }
    match status {
        StatusCode::UNAUTHORIZED => findings.fail(
            STEP,
            format_args!("{answered}: it refused the credential"),
            "compare the credential with the one from the provider, and its permissions for this operation",
        ),
        _ if status.is_server_error() => {
            findings.fail(
                STEP,
                format_args!("{answered}: it failed"),
                "ask the provider; the X-Request-Id was sent with the request",
            );
        }
        _ => findings.warn(
            STEP,
            format_args!("{answered}, which does not show whether it opened the message"),
            "choose an operation that your client may use, by --probe-path and --probe-body",
        ),
    }
}

/// What the key set shows after a refusal that can mean "this message cannot be opened".
fn after_key_refusal(status: KeyStatus<Arc<EncryptionKey>>) -> (&'static str, &'static str) {
    match status {
        KeyStatus::Replaced(_) => (
            "the key was withdrawn a moment ago",
            "run doctor again; a running gateway seals such a request again with the new key",
        ),
        KeyStatus::Unchanged => (
            "it could not open the message although it still publishes the key, or it refused the request itself",
            "compare the key set's URL with the provider's documentation; if the request was wrong, describe the reply in `ordinary_refusals`",
        ),
        KeyStatus::Unknown => (
            "it could not open the message, or it refused the request itself; the key set could not be fetched again",
            "run doctor again",
        ),
    }
}

/// Where a reply comes from. The last member of `Proxy-Status` says so.
#[derive(Debug, PartialEq, Eq)]
enum Sender {
    Provider,
    /// The provider, through an egress of this product.
    BehindEgress,
    /// The egress itself, which refused the request with this code.
    Egress {
        code: String,
    },
}

impl Sender {
    fn of(headers: &HeaderMap) -> Self {
        let line = headers.get_all(PROXY_STATUS).iter().next_back().and_then(|line| line.to_str().ok());
        let last = line.and_then(|line| line.rsplit(',').next()).map(str::trim).unwrap_or_default();
        let Some(parameters) = last.strip_prefix(PSEUDONYM) else { return Self::Provider };
        if !parameters.starts_with("; error=") {
            return Self::BehindEgress;
        }
        let code = parameters.split("details=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        Self::Egress { code: code.chars().filter(|c| c.is_ascii_lowercase() || *c == '_').collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_member_of_proxy_status_says_where_a_reply_comes_from() {
        let sender =
            |value: &'static str| Sender::of(&[(PROXY_STATUS, HeaderValue::from_static(value))].into_iter().collect());
        let refused = "jwe-gateway; error=http_request_denied; details=\"caller_unknown\"";
        assert_eq!(sender(refused), Sender::Egress { code: "caller_unknown".to_owned() });
        assert_eq!(
            sender("jwe-gateway; error=x; details=\"a\", jwe-gateway; received-status=200"),
            Sender::BehindEgress
        );
        assert_eq!(sender("cdn; error=http_request_denied; details=\"x\""), Sender::Provider);
        assert_eq!(Sender::of(&HeaderMap::new()), Sender::Provider);
    }

    #[test]
    fn the_path_is_absolute_and_the_body_is_json() {
        assert!(target("/v0/x?a=b").is_ok() && plaintext("{\"a\":1}").is_ok());
        for wrong in ["v0/x", "http://a/b", "", "/a b"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
        assert!(plaintext("{").is_err());
    }
}
