//! What is known when the load is over: of each request from up to three sides.

use std::time::Duration;

use serde_json::Value;

use super::events::Event;
use super::load;
use crate::gateway::request::request_id::X_REQUEST_ID;
use crate::jose::OpenError;
use crate::sandbox::Received;

/// Everything the verdict is made of.
#[derive(Clone, Debug)]
pub(super) struct Observations {
    /// From the first request's moment to the last one's answer.
    pub(super) took: Duration,
    /// The key that was published before the first event.
    pub(super) first_kid: String,
    /// What the provider did.
    pub(super) events: Vec<Event>,
    /// What the callers saw.
    pub(super) replies: Vec<ClientReply>,
    /// What the provider saw.
    pub(super) calls: Vec<ProviderCall>,
    /// Calls that left the provider's record before they were read.
    pub(super) unread_calls: u64,
    /// What the gateway says; nothing when it is another's.
    pub(super) gateway_records: Option<Vec<super::target::GatewayRecord>>,
    /// Requests for the key set since the start, failed ones included.
    pub(super) key_set_fetches: u64,
    /// Requests for a token since the start, failed ones included.
    pub(super) token_requests: u64,
}

/// One request as its caller saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientReply {
    /// Counts from 0.
    pub(super) number: u64,
    /// When it should have been sent.
    pub(super) due: Duration,
    /// When the answer was there, or was given up.
    pub(super) ended: Duration,
    /// What came back.
    pub(super) outcome: ReplyOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReplyOutcome {
    /// An answer with this status, read to its end.
    Status(u16),
    /// No whole answer, and why.
    NoReply(String),
}

/// One call as the provider saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProviderCall {
    /// Which request it was for; not known of a body that could not be read, unless the gateway
    /// passes on the request's name.
    pub(super) number: Option<u64>,
    /// What the provider answered.
    pub(super) status: u16,
    /// The key it was sealed for.
    pub(super) kid: Option<String>,
    /// What became of the body.
    pub(super) body: BodyCheck,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyCheck {
    /// Opened, and byte for byte what was sent.
    Intact,
    /// Opened, and something else.
    Altered,
    /// It came in clear.
    Clear,
    /// Sealed with a key that is not, or no longer, published.
    UnknownKey,
    /// Not opened for another reason, or not looked at.
    Unopened,
}

impl ProviderCall {
    /// What a recorded call says about a request of `run`; none when it is not one of them.
    pub(super) fn of(received: &Received, run: &str) -> Option<Self> {
        let named =
            received.headers.get(X_REQUEST_ID).and_then(|name| load::parse_request_id(run, name.to_str().ok()?));
        let inside = number_in_body(&received.plaintext, run);
        let body = match (&received.opened, &received.unopened, inside) {
            (_, Some(OpenError::UnknownKey(_)), _) => BodyCheck::UnknownKey,
            (Some(_), _, Some(number)) if received.plaintext == load::body(run, number) => BodyCheck::Intact,
            (Some(_), _, _) => BodyCheck::Altered,
            (None, None, Some(_)) => BodyCheck::Clear,
            _ => BodyCheck::Unopened,
        };
        // A body that was refused unread says nothing, and without a name it may be anyone's.
        let is_ours = inside.or(named).is_some() || body == BodyCheck::UnknownKey;
        is_ours.then(|| Self {
            number: inside.or(named),
            status: received.status.as_u16(),
            kid: received.kid().map(str::to_owned),
            body,
        })
    }

    /// Whether the provider did what was asked.
    pub(super) fn is_accepted(&self) -> bool {
        self.status == 200 && matches!(self.body, BodyCheck::Intact | BodyCheck::Altered | BodyCheck::Clear)
    }
}

impl std::fmt::Display for ProviderCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = match self.body {
            BodyCheck::Intact => "opened",
            BodyCheck::Altered => "opened, not what was sent",
            BodyCheck::Clear => "in clear",
            BodyCheck::UnknownKey => "key not published",
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
