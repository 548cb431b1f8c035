//! The observations of a drill: of each request from up to three sides.

use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use http::StatusCode;
use http::header::AUTHORIZATION;
use serde_json::Value;

use super::events::Event;
use super::load;
use super::request_kind::RequestKind;
use super::scenario::Scenario;
use crate::gateway::request::request_id::X_REQUEST_ID;
use crate::jose::{OpenError, lint};
use crate::sandbox::Received;

#[derive(Clone, Debug)]
pub(super) struct Observations {
    /// The time from the first request being due to the end of the last one.
    pub(super) took: Duration,
    /// The `kid` that was published before the first event.
    pub(super) first_kid: String,
    pub(super) events: Vec<Event>,
    pub(super) replies: Vec<ClientReply>,
    pub(super) calls: Vec<ProviderCall>,
    /// The number of calls that the sandbox dropped before they were read.
    pub(super) unread_calls: u64,
    /// `None` for an external gateway.
    pub(super) gateway_records: Option<Vec<super::target::GatewayRecord>>,
    /// Since the sandbox started, failed requests included.
    pub(super) key_set_fetches: u64,
    /// Since the sandbox started, failed requests included.
    pub(super) token_requests: u64,
    /// When the key set was requested during the drill, to within one update of the monitor.
    pub(super) key_set_requested: Vec<Duration>,
    /// When a token was requested during the drill, likewise.
    pub(super) token_requested: Vec<Duration>,
    /// How the client's process ended, if the drill had started it and it ended too early.
    pub(super) client_ended: Option<String>,
}

/// One request as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientReply {
    /// Counts from 0.
    pub(super) number: u64,
    pub(super) kind: RequestKind,
    /// The time when it was due.
    pub(super) due: Duration,
    /// The time of the complete reply or of the error.
    pub(super) ended: Duration,
    pub(super) outcome: ReplyOutcome,
    /// `None` if there is no complete reply.
    pub(super) body: Option<Digest>,
}

/// The SHA-256 digest of a response body or a credential. A drill keeps millions of them, which as bodies would not fit
/// into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(content: &[u8]) -> Self {
        Self::new(&digest::digest(&digest::SHA256, content))
    }

    /// Keeps no part of the body: a client under test may send more than the memory can hold.
    pub(super) async fn of_body(mut reply: reqwest::Response) -> Result<Self, reqwest::Error> {
        let mut context = digest::Context::new(&digest::SHA256);
        while let Some(chunk) = reply.chunk().await? {
            context.update(&chunk);
        }
        Ok(Self::new(&context.finish()))
    }

    fn new(digest: &digest::Digest) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReplyOutcome {
    /// A complete reply with this status.
    Status(u16),
    /// No complete reply, for this reason.
    NoReply(String),
}

/// One call as the provider recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProviderCall {
    /// The number of the request. Not known if the body could not be opened, unless the gateway forwards the
    /// request id.
    pub(super) number: Option<u64>,
    /// When the provider read its head.
    pub(super) at: Duration,
    /// The status of the response.
    pub(super) status: u16,
    /// Its `Authorization`.
    pub(super) credential: Option<Digest>,
    /// The `kid` that it was sealed for.
    pub(super) kid: Option<String>,
    pub(super) body: BodyCheck,
    /// Why it could not be opened, unless its key is not published.
    pub(super) unreadable: Option<String>,
    pub(super) response: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyCheck {
    /// Opened, and byte for byte the body that was sent.
    Intact,
    /// Opened, but not the body that was sent.
    Altered,
    /// Received as plaintext.
    Clear,
    /// Sealed with a key that is not published, or no longer published.
    UnknownKey,
    /// Not JSON, and not announced as `application/jose`.
    OtherMediaType,
    /// Not opened for another reason.
    Unopened,
}

impl ProviderCall {
    /// Returns `None` if the call is not part of this drill.
    pub(super) fn of(received: &Received, run: &str, scenario: Scenario, started: Instant) -> Option<Self> {
        let number_in_header =
            received.headers.get(X_REQUEST_ID).and_then(|name| load::parse_request_id(run, name.to_str().ok()?));
        // The provider may refuse a body before it reads it, and it can be plaintext all the same.
        let text = if received.opened.is_some() { &received.plaintext } else { &received.wire };
        let number_in_text = number_in_body(text, run);
        let is_intact = |number| received.plaintext == RequestKind::of(scenario, number).body(run, number);
        let body = match (&received.opened, &received.unopened, number_in_text) {
            (_, Some(OpenError::UnknownKey(_)), _) => BodyCheck::UnknownKey,
            (Some(_), _, Some(number)) if is_intact(number) => BodyCheck::Intact,
            (Some(_), _, _) => BodyCheck::Altered,
            (None, None, Some(_)) => BodyCheck::Clear,
            _ if received.status == StatusCode::UNSUPPORTED_MEDIA_TYPE => BodyCheck::OtherMediaType,
            _ => BodyCheck::Unopened,
        };
        let unreadable = received.unopened.as_ref().filter(|_| body == BodyCheck::Unopened).map(|error| {
            let findings: Vec<_> =
                lint(&received.wire, None).findings.into_iter().map(|finding| finding.text).collect();
            if findings.is_empty() { error.to_string() } else { findings.join("; ") }
        });
        // Only the client under test knows this sandbox. A body that was not read has no number, but the path of a drill.
        let path = received.target.split('?').next().unwrap_or_default();
        let number = number_in_text.or(number_in_header);
        let is_ours = number.is_some() || RequestKind::PATHS.iter().any(|ours| path.ends_with(ours));
        is_ours.then(|| Self {
            number,
            at: received.at.saturating_duration_since(started),
            status: received.status.as_u16(),
            credential: received.headers.get(AUTHORIZATION).map(|value| Digest::of(value.as_bytes())),
            kid: received.kid().map(str::to_owned),
            body,
            unreadable,
            response: Digest::of(&received.response),
        })
    }

    /// Whether the provider performed the request.
    pub(super) fn is_accepted(&self) -> bool {
        self.status == 200 && self.is_read()
    }

    /// Whether the provider refused the request after reading it.
    pub(super) fn is_ordinary_400(&self) -> bool {
        self.status == 400 && self.is_read()
    }

    fn is_read(&self) -> bool {
        matches!(self.body, BodyCheck::Intact | BodyCheck::Altered | BodyCheck::Clear)
    }
}

impl std::fmt::Display for ProviderCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = match self.body {
            BodyCheck::Intact => "opened",
            BodyCheck::Altered => "opened, not the body that was sent",
            BodyCheck::Clear => "plaintext",
            BodyCheck::UnknownKey => "key not published",
            BodyCheck::OtherMediaType => "not application/jose",
            BodyCheck::Unopened => "not opened",
        };
        write!(f, "{} {body}", self.status)?;
        self.kid.as_ref().map_or(Ok(()), |kid| write!(f, " {kid}"))
    }
}

fn number_in_body(plaintext: &[u8], run: &str) -> Option<u64> {
    let body: Value = serde_json::from_slice(plaintext).ok()?;
    if body["drill"] == run { body["number"].as_u64() } else { None }
}
