//! What goes back to the caller: the provider's reply, or a refusal of our own.

pub(crate) mod key_hint;
pub(crate) mod refusal;
pub(crate) mod relay;
