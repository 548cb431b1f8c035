//! Conversions of the lower modules' errors. One error may become several refusals.

use super::{Limit, Refusal};
use crate::credentials::TokenError;
use crate::gateway::callers::Denied;
use crate::gateway::capacity::UpstreamFull;
use crate::gateway::endpoints::jwks::KeySetNotServed;
use crate::gateway::endpoints::token::TokenNotGranted;
use crate::gateway::request::body::BodyError;
use crate::gateway::request::target::TargetFault;
use crate::upstream::SendError;

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Malformed(fault) => Self::MalformedRequest(fault),
            BodyError::TooLarge { limit } => Self::BodyTooLarge { limit },
            BodyError::Timeout => Self::RequestTimeout,
            BodyError::BudgetExhausted => Self::Overloaded(Limit::Buffered),
            BodyError::NoMemory => Self::Overloaded(Limit::Memory),
        }
    }
}

impl From<UpstreamFull> for Refusal {
    fn from(UpstreamFull: UpstreamFull) -> Self {
        Self::Overloaded(Limit::UpstreamInFlight)
    }
}

impl From<TokenNotGranted> for Refusal {
    fn from(error: TokenNotGranted) -> Self {
        match error {
            TokenNotGranted::BadRequest(fault) => Self::MalformedTokenRequest(fault),
            TokenNotGranted::UnknownCaller(unknown) => Self::CallerUnknown(unknown),
        }
    }
}

impl From<KeySetNotServed> for Refusal {
    fn from(error: KeySetNotServed) -> Self {
        match error {
            KeySetNotServed::Method => Self::MethodNotAllowed,
            KeySetNotServed::NoUsableKey(cause) => Self::NoUsableKey(cause),
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Forbidden => Self::CallerForbidden,
            Denied::TooFast { .. } | Denied::TooMany => Self::CallerThrottled(denied),
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::CredentialsRefused { .. } | TokenError::UnknownToEgress => Self::CredentialsRefused(error),
            TokenError::Unavailable { .. } => Self::TokenUnavailable(error),
        }
    }
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Unreachable(_) | SendError::Tls(_) => Self::UpstreamUnreachable(error),
            SendError::ConnectTimeout(_) | SendError::ReplyTimeout => Self::UpstreamTimeout(error),
            SendError::Broken(_) => Self::UpstreamProtocol(error),
            SendError::Target => Self::MalformedTarget(TargetFault::TooLong),
        }
    }
}
