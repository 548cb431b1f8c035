//! A filter that keeps secrets out of the log.
//!
//! The hard case is `RUST_LOG=trace`. Our own modules log no secret, token or body at any level, but other
//! crates may. These crates of a running gateway use `tracing` or `log` (`cargo tree -e normal -i tracing`, `-i log`):
//!
//! | crate | content of its events | limit |
//! |---|---|---|
//! | reqwest 0.13.5 | `reqwest::connect::verbose`, at trace and with `connection_verbose(true)`: all bytes read and written, so the client secret and the token | no trace events |
//! | rustls 0.23.46 | at trace: hellos, certificates and session tickets in hex; no application data, no traffic keys | no trace events |
//! | h2 0.4.20 | frames, at debug and trace; without header fields and payload, but with the debug data of GOAWAY, which the peer chooses; a malformed path, on the server side | info and above |
//! | hyper-util 0.1.21 | hosts, addresses, states of the pool, connection errors; a request target only if it has no host or is for CONNECT, and we send neither | |
//! | rustls-platform-verifier 0.7.1 | number of system certificates, why one was rejected | |
//!
//! `is_allowed` is therefore a second filter, which no `RUST_LOG` can weaken: trace events of our own crate
//! only, debug events of other crates, info events of h2.
//!
//! Rejected: directives appended to the operator's filter. There the more specific directive wins, so
//! `RUST_LOG=reqwest::connect::verbose=trace` would undo them.

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Whether an event may be logged, independent of `RUST_LOG`. Depends on the crate of the event.
fn is_allowed(metadata: &Metadata<'_>) -> bool {
    let cap = match metadata.target().split("::").next() {
        Some(env!("CARGO_CRATE_NAME")) => LevelFilter::TRACE,
        Some("h2") => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    *metadata.level() <= cap
}

/// [`is_allowed`] as a layer.
pub(super) struct LevelCap;

impl<S: Subscriber> Layer<S> for LevelCap {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_allowed(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_allowed(metadata)
    }
}
