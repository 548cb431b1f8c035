//! The response to the caller: the provider's reply, or a refusal of the gateway.

pub(crate) mod key_hint;
pub(crate) mod refusal;
pub(crate) mod relay;
