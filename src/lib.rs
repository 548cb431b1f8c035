//! An encrypting gateway proxy for APIs that accept JWE request bodies.
//!
//! In-house services send plain JSON over HTTP. The gateway seals each body as a compact JWE
//! (`RSA-OAEP-256` / `A256CBC-HS512`) under the provider's published key, puts on the bearer
//! token that it obtains and renews itself, and forwards. The response streams back.
//!
//! # The life of a request
//!
//! ```text
//! accept -> request id -> access record -> refusals become answers -> shed -> in-flight limit -> deadline
//!        -> THE LINE: admit -> key -> seal -> bearer -> send -> relay
//! ```
//!
//! What wraps a request is the list in [`gateway::stack`]; what is done to it is one function,
//! [`gateway::exchange::Exchange::run`]. A body arrives as [`jose::Plaintext`] and can leave
//! only as [`jose::Compact`]: plaintext leaving by mistake does not compile.
//!
//! # The rooms, in the order to read them
//!
//! | room | question it answers |
//! |---|---|
//! | [`app`] | what is put together from a configuration |
//! | [`cli`] | which commands there are |
//! | [`config`] | what the file, the environment and the flags say, and all that is wrong with it |
//! | [`gateway`] | what happens to a request, in order |
//! | [`jose`] | how a body is sealed, and opened; pure |
//! | [`keys`] | which public key to seal with now |
//! | [`credentials`] | which bearer to send now |
//! | [`upstream`] | how to reach the provider; the only place that builds an HTTP client |
//! | [`admin`] | whether the process is alive and ready, and its figures |
//! | [`telemetry`] | where logs go |
//! | [`sandbox`] | a made-up provider, for tests and demonstrations |
//! | [`drill`] | does every request survive the rotations; with a verdict |
//! | [`clock`], [`rate_limit`], [`secret`], [`pem`], [`error_chain`] | time and chance, how often, secrets, certificates in files, errors told whole; for all |
//!
//! A room's walls (who may use whom) are a table in `tests/gateway/walls.rs`, held by a test.

mod admin;
pub mod app;
#[doc(hidden)]
pub mod cli;
pub mod clock;
pub mod config;
mod credentials;
#[cfg(feature = "sandbox")]
pub mod drill;
mod error_chain;
mod gateway;
pub mod jose;
mod keys;
mod pem;
mod rate_limit;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod secret;
mod telemetry;
#[cfg(test)]
mod testing;
mod upstream;
