//! The response to the caller: the provider's reply, or a refusal of the gateway.

pub(crate) mod error_trace_id;
pub(crate) mod key_check;
pub(crate) mod key_hint;
pub(crate) mod next_gateway;
pub(crate) mod ordinary_refusal;
pub(crate) mod proxy_status;
pub(crate) mod refusal;
pub(crate) mod relay;
pub(crate) mod reply_body;
