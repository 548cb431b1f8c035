//! Turns a caller's request into one that may be forwarded.

pub(crate) mod admit;
pub(crate) mod body;
mod buffer;
pub(crate) mod content_type;
pub(crate) mod context;
pub(crate) mod headers;
pub(crate) mod payload;
pub(crate) mod request_id;
pub(crate) mod target;
pub(crate) mod trace_context;
mod trace_state;
pub(crate) mod via;
