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
    pub(super) answers: Vec<ClientReply>,
    /// What the provider saw.
    pub(super) calls: Vec<Call>,
    /// Calls that left the provider's record before they were read.
    pub(super) unseen: u64,
    /// What the gateway says; nothing when it is another's.
    pub(super) passed: Option<Vec<super::target::Passed>>,
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
    pub(super) answered: Answered,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// An answer with this status, read to its end.
    With(u16),
    /// No whole answer, and why.
    Not(String),
}

/// One call as the provider saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Which request it was for; not known of a body that could not be read, unless the gateway
    /// passes on the request's name.
    pub(super) number: Option<u64>,
    /// What the provider answered.
    pub(super) status: u16,
    /// The key it was sealed for.
    pub(super) kid: Option<String>,
    /// What became of the body.
    pub(super) body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
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

impl Call {
    /// What a recorded call says about a request of `run`; none when it is not one of them.
    pub(super) fn of(received: &Received, run: &str) -> Option<Self> {
        let named = received.headers.get(X_REQUEST_ID).and_then(|name| load::number_in(run, name.to_str().ok()?));
        let inside = number_inside(&received.plaintext, run);
        let body = match (&received.opened, &received.unopened, inside) {
            (_, Some(OpenError::UnknownKey(_)), _) => Body::UnknownKey,
            (Some(_), _, Some(number)) if received.plaintext == load::body(run, number) => Body::Intact,
            (Some(_), _, _) => Body::Altered,
            (None, None, Some(_)) => Body::Clear,
            _ => Body::Unopened,
        };
        // A body that was refused unread says nothing, and without a name it may be anyone's.
        let is_ours = inside.or(named).is_some() || body == Body::UnknownKey;
        is_ours.then(|| Self {
            number: inside.or(named),
            status: received.status.as_u16(),
            kid: received.kid().map(str::to_owned),
            body,
        })
    }

    /// Whether the provider did what was asked.
    pub(super) fn is_accepted(&self) -> bool {
        self.status == 200 && matches!(self.body, Body::Intact | Body::Altered | Body::Clear)
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = match self.body {
            Body::Intact => "opened",
            Body::Altered => "opened, not what was sent",
            Body::Clear => "in clear",
            Body::UnknownKey => "key not published",
            Body::Unopened => "not opened",
        };
        write!(f, "{} {body}", self.status)?;
        self.kid.as_ref().map_or(Ok(()), |kid| write!(f, " {kid}"))
    }
}

fn number_inside(plaintext: &[u8], run: &str) -> Option<u64> {
    let body: Value = serde_json::from_slice(plaintext).ok()?;
    if body["drill"] == run { body["number"].as_u64() } else { None }
}
