//! An encrypting gateway proxy for APIs that accept JWE request bodies.
//!
//! In-house services send plain JSON over HTTP. The gateway seals each body as a compact JWE
//! (`RSA-OAEP-256` / `A256CBC-HS512`) with the provider's published key. It adds a bearer token, which it obtains
//! and renews itself, and forwards the request. The reply streams back.
//!
//! # The path of a request
//!
//! ```text
//! accept -> request id -> access record -> refusals become responses -> shed -> deadline
//!        -> EXCHANGE: admit -> choose key -> seal -> add credential -> send -> relay
//! ```
//!
//! [`gateway::stack`] lists what wraps a request. [`gateway::exchange::Exchange::run`] is the one function
//! that processes it. A body arrives as [`jose::Plaintext`] and leaves as [`jose::Compact`]: sending
//! plaintext by mistake does not compile.
//!
//! # The modules, in reading order
//!
//! | module | what it does |
//! |---|---|
//! | [`app`] | assembles a running gateway from a configuration |
//! | [`cli`] | the commands |
//! | [`config`] | reads file, environment and flags, and reports all faults at once |
//! | [`gateway`] | processes requests |
//! | [`jose`] | seals and opens bodies; pure |
//! | [`keys`] | decides which public key to seal with now |
//! | [`credentials`] | holds and renews the credential that the gateway presents |
//! | [`upstream`] | reaches the provider; the only module that builds an HTTP client |
//! | [`admin`] | serves health, metrics and status |
//! | [`status`] | says what is true now, as a page and as JSON |
//! | [`telemetry`] | sets up the log |
//! | [`traces`] | exports the spans of requests and fetches |
//! | [`sandbox`] | imitates the provider, for tests and demonstrations |
//! | [`drill`] | rotates keys under load, and gives a verdict |
//!
//! Leaf modules that all others may use: [`accept_errors`] (reports of a listener), [`build_info`] (revision, features
//! and libraries of this build), [`clock`] (time and random spread), [`error_chain`] (an error with its causes as one
//! text), [`failure_log`] (which failures of a repeated task are logged), [`fetch_counters`] and [`fetch_history`]
//! (what has become of the fetches of a key set or a credential), [`file_read`] (reads a file within a deadline),
//! [`host_check`] (requests of web pages), [`html`] (escaped text in a page), [`openapi`] (descriptions of APIs),
//! [`path_prefix`], [`pem`] (certificates in files), [`rate_limit`], [`retry_after`], [`secret`], [`single_flight`]
//! (work that several callers need is done once),
//! [`socket`] (TCP and unix sockets that listen), [`static_credential`] (a header with a secret), [`transport_error`]
//! (why a request for keys or a token got no response), [`watched_files`] (values that are reloaded when their files
//! change).
//!
//! The table in `tests/gateway/dependency_rules.rs` says which module may use which; a test enforces it.
//!
//! # As a dependency
//!
//! | features | what there is |
//! |---|---|
//! | default | everything |
//! | none | [`jose`], for a client that seals its own requests, and the descriptions of the APIs in [`openapi`] |
//! | `sandbox` | also [`sandbox`], for the tests of such a client: see [`sandbox::guide`] |

#[cfg(feature = "gateway")]
mod accept_errors;
#[cfg(feature = "gateway")]
mod admin;
#[cfg(feature = "gateway")]
pub mod app;
#[cfg(feature = "gateway")]
mod build_info;
#[cfg(feature = "gateway")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "http-server")]
pub mod clock;
#[cfg(feature = "gateway")]
pub mod config;
#[cfg(feature = "gateway")]
mod credentials;
#[cfg(all(feature = "gateway", feature = "sandbox"))]
pub mod drill;
#[cfg(feature = "http-server")]
mod error_chain;
#[cfg(feature = "gateway")]
mod failure_log;
#[cfg(feature = "gateway")]
mod fetch_counters;
#[cfg(feature = "gateway")]
mod fetch_history;
#[cfg(feature = "http-server")]
mod file_read;
#[cfg(all(feature = "gateway", any(test, fuzzing)))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "gateway")]
mod gateway;
#[cfg(feature = "http-server")]
mod host_check;
#[cfg(feature = "gateway")]
mod html;
pub mod jose;
#[cfg(feature = "gateway")]
mod keys;
pub mod openapi;
#[cfg(feature = "gateway")]
mod path_prefix;
#[cfg(feature = "gateway")]
mod pem;
#[cfg(feature = "gateway")]
mod rate_limit;
#[cfg(feature = "gateway")]
mod retry_after;
#[cfg(feature = "sandbox")]
pub mod sandbox;
#[cfg(feature = "http-server")]
pub mod secret;
#[cfg(feature = "gateway")]
mod single_flight;
#[cfg(feature = "gateway")]
mod socket;
#[cfg(feature = "gateway")]
mod static_credential;
#[cfg(feature = "gateway")]
mod status;
#[cfg(feature = "gateway")]
mod telemetry;
// Two attributes, because clippy allows `unwrap` below a plain `cfg(test)` only.
#[cfg(test)]
#[cfg(feature = "gateway")]
mod testing;
#[cfg(feature = "gateway")]
mod traces;
#[cfg(feature = "gateway")]
mod transport_error;
#[cfg(feature = "gateway")]
mod upstream;
#[cfg(feature = "gateway")]
mod watched_files;
