//! What goes back to the caller: the provider's reply, or a refusal of our own.

pub mod key_hint;
pub mod refusal;
pub mod relay;
