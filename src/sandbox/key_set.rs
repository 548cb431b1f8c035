//! The provider's keys, and the endpoint that publishes them as a JWK Set.
//!
//! Each published key can open messages at that moment, and no other key can. A key that is rotated out,
//! retired or past its overlap is removed at once, together with its private members.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::faults::MalformedKeys;
use super::received::Standing;
use super::scripted_body::ScriptedBody;
use super::state::{SandboxState, lock};
use super::token::IN_FLIGHT;
use crate::jose::DecryptionKey;

/// The documented path of the key set.
pub(super) const PATH: &str = "/.well-known/jwks.json";

/// The limit on published keys, because clients often accept at most 100. Beyond it, a rotation that keeps
/// the older keys removes the oldest.
const MAX_KEYS: usize = 16;

/// Of more withdrawn keys, the sandbox forgets that it has published them.
const MAX_WITHDRAWN: usize = 1000;

/// What happens to the older keys when a new key is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The older keys stay published, after the new key.
    Overlap,
    /// The older keys stay published for this time.
    OverlapFor(Duration),
    /// The older keys are removed at once.
    HardCut,
}

/// The published keys, newest first.
#[derive(Debug)]
pub(super) struct DecryptionKeys {
    /// Different in each run, so that a `kid` of an earlier run never matches.
    prefix: String,
    generated: u64,
    keys: Vec<ExpiringKey>,
    /// The keys that were published before, oldest first.
    withdrawn: VecDeque<WithdrawnKey>,
}

#[derive(Debug)]
struct WithdrawnKey {
    kid: String,
    /// When the sandbox refused a message for it for the first time. A fetch of the set is no proof that the client
    /// knows: test suites fetch it too.
    refused: Option<Instant>,
}

#[derive(Debug)]
struct ExpiringKey {
    key: DecryptionKey,
    /// The end of the overlap with a newer key.
    expires: Option<Instant>,
}

impl DecryptionKeys {
    pub(super) fn new() -> Self {
        let run = Uuid::new_v4().simple().to_string();
        Self {
            prefix: format!("sandbox-{}", run.get(..8).unwrap_or(&run)),
            generated: 0,
            keys: Vec::new(),
            withdrawn: VecDeque::new(),
        }
    }

    pub(super) fn next_kid(&mut self) -> String {
        self.generated += 1;
        format!("{}-{}", self.prefix, self.generated)
    }

    /// Publishes `key` as the first of the set, and treats the older keys as `rotation` says.
    pub(super) fn rotate(&mut self, key: DecryptionKey, rotation: Rotation, now: Instant) {
        match rotation {
            Rotation::Overlap => {}
            Rotation::OverlapFor(overlap) => {
                let end = now.checked_add(overlap);
                for entry in &mut self.keys {
                    entry.expires = earlier(entry.expires, end);
                }
            }
            Rotation::HardCut => self.keep(|_| false),
        }
        self.keys.insert(0, ExpiringKey { key, expires: None });
        let mut kept = 0;
        self.keep(|_| {
            kept += 1;
            kept <= MAX_KEYS
        });
    }

    /// Removes the key with this `kid`. Returns false if there is none.
    pub(super) fn retire(&mut self, kid: &str) -> bool {
        let before = self.keys.len();
        self.keep(|entry| entry.key.kid() != Some(kid));
        self.keys.len() < before
    }

    /// Drops the expired keys and returns the others, newest first.
    pub(super) fn keys(&mut self, now: Instant) -> Vec<DecryptionKey> {
        self.keep(|entry| entry.expires.is_none_or(|expires| now < expires));
        self.keys.iter().map(|entry| entry.key.clone()).collect()
    }

    /// Withdraws the keys for which `keep` is false.
    fn keep(&mut self, mut keep: impl FnMut(&ExpiringKey) -> bool) {
        let withdrawn = &mut self.withdrawn;
        self.keys.retain(|entry| {
            let keeps = keep(entry);
            if let (false, Some(kid)) = (keeps, entry.key.kid()) {
                withdrawn.push_back(WithdrawnKey { kid: kid.to_owned(), refused: None });
            }
            keeps
        });
        let surplus = self.withdrawn.len().saturating_sub(MAX_WITHDRAWN);
        self.withdrawn.drain(..surplus);
    }

    /// Judges the key of a message that arrives now. A withdrawn key counts as refused from now on.
    pub(super) fn standing(&mut self, kid: &str, now: Instant) -> Standing {
        self.keep(|entry| entry.expires.is_none_or(|expires| now < expires));
        if self.keys.iter().any(|entry| entry.key.kid() == Some(kid)) {
            return Standing::Valid;
        }
        let Some(withdrawn) = self.withdrawn.iter_mut().find(|key| key.kid == kid) else {
            return Standing::Unknown;
        };
        let refused = *withdrawn.refused.get_or_insert(now);
        if now.saturating_duration_since(refused) > IN_FLIGHT { Standing::EndedAndRefused } else { Standing::Ended }
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// Generates a key, publishes it and returns its `kid`. On failure the set is unchanged.
pub(super) async fn rotate(state: &SandboxState, rotation: Rotation) -> io::Result<String> {
    let kid = lock(&state.keys).next_kid();
    let key = generate(kid.clone()).await?;
    let now = state.now();
    lock(&state.keys).rotate(key, rotation, now);
    Ok(kid)
}

/// Generates an RSA-2048 key outside the async worker threads. It takes tens of milliseconds, sometimes a
/// second.
async fn generate(kid: String) -> io::Result<DecryptionKey> {
    tokio::task::spawn_blocking(move || DecryptionKey::generate(&kid))
        .await
        .map_err(io::Error::other)?
        .map_err(io::Error::other)
}

/// The JWK Set (RFC 7517 section 5) of `keys` with private members.
pub(super) fn private_jwks(keys: &[DecryptionKey]) -> Value {
    json!({ "keys": keys.iter().map(DecryptionKey::to_private_jwk).collect::<Vec<_>>() })
}

/// The JWK Set of `keys`, newest first, after the entries of `malformed`.
fn public_jwks(keys: &[DecryptionKey], malformed: &[MalformedKeys]) -> Value {
    let real: Vec<_> = keys.iter().map(DecryptionKey::to_public_jwk).collect();
    let entries = malformed.iter().flat_map(|malformed| malformed.entries(real.first()));
    json!({ "keys": entries.chain(real.iter().cloned()).collect::<Vec<_>>() })
}

pub(super) fn respond(state: &SandboxState, method: &Method, headers: &HeaderMap) -> Response<ScriptedBody> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = Response::new(ScriptedBody::whole(""));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    state.count_jwks_fetch();
    let (malformed, faults) = state.faults.take_for_key_set();
    let document = Bytes::from(public_jwks(&state.keys(), &malformed).to_string());
    if let Some(fault) = faults.first() {
        return fault.to_response(&document, &state.clock);
    }
    let etag = etag(&document);
    let not_modified = matches_etag(headers, &etag);
    let body = if not_modified { Bytes::new() } else { document };
    let mut response = Response::new(ScriptedBody::whole(body));
    if not_modified {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
    }
    insert_validators(response.headers_mut(), state.max_age, &etag);
    response
}

fn insert_validators(headers: &mut HeaderMap, max_age: Duration, etag: &str) {
    let cache_control = format!("public, max-age={}", max_age.as_secs());
    for (name, value) in [(CACHE_CONTROL, cache_control.as_str()), (ETAG, etag)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
}

/// A strong validator (RFC 9110 section 8.8.3): different bytes have a different tag.
fn etag(document: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, document);
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest.as_ref()))
}

/// Whether an `If-None-Match` header contains `etag` or `*`, by the weak comparison of RFC 9110 section
/// 13.1.2.
fn matches_etag(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::EncryptionKey;
    use crate::sandbox::testing::{TestResponse, TestSandbox, send};

    fn kids(reply: TestResponse) -> Vec<String> {
        let set = reply.ok();
        let keys = set["keys"].as_array().unwrap();
        let kid = |key: &Value| EncryptionKey::from_jwk(key).unwrap().kid().unwrap().to_owned();
        keys.iter().map(kid).collect()
    }

    #[tokio::test]
    async fn the_set_has_a_content_type_a_lifetime_and_an_etag() {
        let sandbox = TestSandbox::start().await;
        let reply = sandbox.jwks().await;
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.header("cache-control"), "public, max-age=300");
        assert!(reply.header("etag").starts_with('"'));
        assert_eq!(kids(reply).len(), 1);
        assert_eq!(sandbox.handle.jwks_fetches(), 1);
    }

    #[tokio::test]
    async fn a_conditional_request_gets_304_for_an_unchanged_set_and_200_for_a_changed_one() {
        let sandbox = TestSandbox::start().await;
        let etag = sandbox.jwks().await.header("etag").to_owned();
        for known in [etag.clone(), format!("\"other\", W/{etag}"), "*".to_owned()] {
            let request = sandbox.http.get(sandbox.jwks_url());
            let reply = send(request.header(IF_NONE_MATCH, known)).await;
            assert_eq!(reply.status, 304);
            assert_eq!(reply.header("etag"), etag);
            assert_eq!(reply.header("cache-control"), "public, max-age=300");
            assert!(reply.body.is_empty());
        }
        sandbox.handle.rotate(Rotation::Overlap).await.unwrap();
        let request = sandbox.http.get(sandbox.jwks_url());
        let reply = send(request.header(IF_NONE_MATCH, &etag)).await;
        assert_ne!(reply.header("etag"), etag);
        assert_eq!(kids(reply).len(), 2);
    }

    #[tokio::test]
    async fn the_set_allows_only_get_and_head() {
        let sandbox = TestSandbox::start().await;
        let reply = send(sandbox.http.post(sandbox.jwks_url())).await;
        assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, "GET, HEAD"));
        let reply = send(sandbox.http.head(sandbox.jwks_url())).await;
        assert_eq!(reply.status, 200);
        assert!(reply.body.is_empty());
    }

    #[tokio::test]
    async fn a_rotation_publishes_the_new_key_first_and_treats_the_older_keys_as_requested() {
        let sandbox = TestSandbox::start().await;
        let first = kids(sandbox.jwks().await).remove(0);
        let second = sandbox.handle.rotate(Rotation::Overlap).await.unwrap();
        assert_eq!(kids(sandbox.jwks().await), [second.clone(), first.clone()]);

        let overlap = Duration::from_secs(60);
        let third = sandbox.handle.rotate(Rotation::OverlapFor(overlap)).await.unwrap();
        sandbox.control.advance(Duration::from_secs(59));
        assert_eq!(kids(sandbox.jwks().await), [third.clone(), second, first]);
        sandbox.control.advance(Duration::from_secs(1));
        assert_eq!(kids(sandbox.jwks().await), [third.as_str()]);

        let fourth = sandbox.handle.rotate(Rotation::HardCut).await.unwrap();
        assert_ne!(third, fourth);
        assert_eq!(kids(sandbox.jwks().await), [fourth.as_str()]);

        assert!(sandbox.handle.retire(&fourth));
        assert!(!sandbox.handle.retire(&fourth));
        assert!(kids(sandbox.jwks().await).is_empty());
    }

    #[tokio::test]
    async fn a_withdrawn_key_opens_no_message_and_the_recorded_call_names_it() {
        let sandbox = TestSandbox::start().await;
        let message = sandbox.seal(b"{}").await;
        let path = "/v0/bank/credentials/list";
        assert_eq!(sandbox.post_jose(path, message.clone()).await.status, 200);
        let kid = kids(sandbox.jwks().await).remove(0);
        sandbox.handle.rotate(Rotation::HardCut).await.unwrap();
        assert_eq!(sandbox.post_jose(path, message).await.status, 400);
        let received = sandbox.handle.received();
        assert_eq!(received[0].kid(), Some(kid.as_str()));
        assert_eq!(received[1].kid(), Some(kid.as_str()));
        assert!(received[1].opened.is_none() && received[1].plaintext.is_empty());
    }

    #[test]
    fn rotations_that_keep_the_older_keys_do_not_exceed_the_limit() {
        let key = DecryptionKey::generate("test-key").unwrap();
        let mut set = DecryptionKeys::new();
        #[expect(clippy::disallowed_methods, reason = "the test needs any instant")]
        let now = Instant::now();
        for _ in 0..MAX_KEYS + 3 {
            set.rotate(key.clone(), Rotation::Overlap, now);
        }
        assert_eq!(set.keys(now).len(), MAX_KEYS);
    }
}
