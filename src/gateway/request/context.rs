//! The facts about a request that are not in its head or body.

use crate::gateway::access_log::RecordHandle;
use crate::gateway::request::body::ConnectionBudget;
use crate::gateway::request::request_id::RequestId;
use crate::gateway::request::trace_context::TraceContext;
use crate::gateway::server::peer::Peer;

/// One request. Passed by reference and not in the request's extensions, which cost two allocations for each fact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub id: &'a RequestId,
    pub record: &'a RecordHandle,
    pub origin: &'a Origin,
    pub trace: Option<TraceContext>,
}

/// The connection that a request came from.
#[derive(Debug)]
pub(crate) struct Origin {
    pub peer: Peer,
    /// For the bodies of token requests.
    pub token_budget: ConnectionBudget,
}
