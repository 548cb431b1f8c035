//! The log: its stream, its format, and a filter that keeps secrets out of it.
//!
//! One line per event, with an RFC 3339 timestamp in UTC, as JSON or as text. The command chooses the stream
//! ([`Writer`]). `RUST_LOG` selects what is logged.
//!
//! The hard case is `RUST_LOG=trace`. Our own modules log no secret, token or body at any level, but other
//! crates may. Six crates of `Cargo.lock` use `tracing` or `log` (`cargo tree -i tracing`, `-i log`):
//!
//! | crate | content of its events | limit |
//! |---|---|---|
//! | reqwest 0.13.5 | `reqwest::connect::verbose`, at trace and with `connection_verbose(true)`: all bytes read and written, so the client secret and the token | no trace events |
//! | rustls 0.23.46 | at trace: hellos, certificates and session tickets in hex; no application data, no traffic keys | no trace events |
//! | h2 0.4.20 | frames, at debug and trace; without header fields and payload, but with the debug data of GOAWAY, which the peer chooses; a malformed path, on the server side | info and above |
//! | hyper-util 0.1.21 | hosts, addresses, states of the pool, connection errors; a request target only if it has no host or is for CONNECT, and we send neither | |
//! | tower 0.5.3 | states of its queues | |
//! | rustls-platform-verifier 0.7.1 | number of system certificates, why one was rejected | |
//!
//! `is_allowed` is therefore a second filter, which no `RUST_LOG` can weaken: trace events of our own crate
//! only, debug events of other crates, info events of h2.
//!
//! Rejected: directives appended to the operator's filter. There the more specific directive wins, so
//! `RUST_LOG=reqwest::connect::verbose=trace` would undo them.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

/// The filter if `RUST_LOG` is not set: access records, and events that an operator must know.
const DEFAULT_FILTER: &str = "info";

/// `[log]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The format of a line.
    pub format: LogFormat,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// Text, coloured on a terminal unless `NO_COLOR` is set.
    Text,
}

/// The stream of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// For `run`: its log is its output.
    Stdout,
    /// For commands that print results to stdout. Only `drill` has a log of this kind.
    #[cfg(any(feature = "sandbox", test))]
    Stderr,
}

impl Writer {
    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            #[cfg(any(feature = "sandbox", test))]
            Self::Stderr => io::stderr().is_terminal(),
        }
    }

    fn make(self) -> BoxMakeWriter {
        match self {
            Self::Stdout => BoxMakeWriter::new(io::stdout),
            #[cfg(any(feature = "sandbox", test))]
            Self::Stderr => BoxMakeWriter::new(io::stderr),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("RUST_LOG: not a list of directives such as info,jwe_gateway=debug: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("the log of this process is already initialised: {0}")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
}

/// Initialises the log of this process, including events of the `log` crate. `filter` is the value of
/// `RUST_LOG`: see [`Environment::log_filter`](crate::config::Environment::log_filter).
///
/// # Errors
/// If `filter` cannot be parsed, or the log was initialised before. The log is then unchanged.
pub(crate) fn init(config: &Config, filter: Option<&str>, writer: Writer) -> Result<(), InitError> {
    Ok(subscriber(config, filter, writer.make(), writer.is_terminal())?.try_init()?)
}

fn subscriber(
    config: &Config,
    filter: Option<&str>,
    writer: BoxMakeWriter,
    is_terminal: bool,
) -> Result<impl Subscriber + Send + Sync, InitError> {
    let filter = EnvFilter::try_new(filter.unwrap_or(DEFAULT_FILTER))?;
    let lines = fmt::layer().with_writer(writer);
    let lines = match config.format {
        LogFormat::Text => text(lines, is_terminal),
        LogFormat::Auto if is_terminal => text(lines, is_terminal),
        LogFormat::Auto | LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    Ok(registry().with(lines).with(filter).with(LevelCap))
}

fn text<S>(
    lines: fmt::Layer<S, fmt::format::DefaultFields, fmt::format::Format, BoxMakeWriter>,
    is_terminal: bool,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> registry::LookupSpan<'span>,
{
    // Colours are only turned off here, because the default already respects NO_COLOR.
    if is_terminal { lines.boxed() } else { lines.with_ansi(false).boxed() }
}

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
struct LevelCap;

impl<S: Subscriber> Layer<S> for LevelCap {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_allowed(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_allowed(metadata)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{debug, info, info_span, trace};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: Option<&str>, is_terminal: bool, write: impl FnOnce()) -> String {
        let log = Log::default();
        let writer = BoxMakeWriter::new({
            let log = log.clone();
            move || log.clone()
        });
        let subscriber = subscriber(&Config { format }, filter, writer, is_terminal).unwrap();
        tracing::subscriber::with_default(subscriber, write);
        let bytes = log.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_has_fields_span_and_utc_timestamp() {
        let log = logged(LogFormat::Json, None, true, || {
            let _span = info_span!("request", request_id = "r-1").entered();
            info!(status = 200, "answered");
        });
        let line: serde_json::Value = serde_json::from_str(log.trim_end()).unwrap();
        assert_eq!(line["status"], 200);
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "answered");
        assert_eq!(line["span"]["request_id"], "r-1");
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(timestamp.ends_with('Z') && timestamp.parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
    }

    #[test]
    fn auto_is_json_unless_the_stream_is_a_terminal() {
        let line = || info!(answer = 42, "hello");
        assert!(logged(LogFormat::Auto, None, false, line).starts_with('{'));
        let text = logged(LogFormat::Auto, None, true, line);
        assert!(!text.starts_with('{') && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn text_in_a_file_has_no_colours() {
        let log = logged(LogFormat::Text, None, false, || info!("hello"));
        assert!(!log.contains('\x1b'), "{log:?}");
        assert!(log.contains("INFO"), "{log:?}");
    }

    #[test]
    fn without_rust_log_debug_events_are_not_logged() {
        let log = logged(LogFormat::Json, None, false, || {
            debug!("quiet");
            info!("heard");
        });
        assert!(log.contains("heard") && !log.contains("quiet"), "{log}");
    }

    #[test]
    fn no_rust_log_enables_unsafe_events_of_other_crates() {
        for filter in ["trace", "reqwest::connect::verbose=trace,rustls=trace,h2::server=trace,h2=trace"] {
            let log = logged(LogFormat::Json, Some(filter), false, || {
                trace!(target: "reqwest::connect::verbose", "canary");
                trace!(target: "rustls::client::hs", "canary");
                debug!(target: "h2::server", "canary");
                trace!(target: "h2::codec::framed_read", "canary");
                trace!(target: "a_crate_added_later", "canary");
            });
            assert_eq!(log, "", "with RUST_LOG={filter}");
        }
    }

    #[test]
    fn rust_log_trace_enables_our_trace_events_and_debug_events_of_others() {
        let log = logged(LogFormat::Json, Some("trace"), false, || {
            trace!("ours");
            debug!(target: "rustls::client::hs", "theirs");
        });
        assert!(log.contains("ours") && log.contains("theirs"), "{log}");
    }

    #[test]
    fn a_faulty_rust_log_and_a_second_initialisation_are_errors() {
        let config = Config::default();
        let faulty = init(&config, Some("jwe_gateway=loud"), Writer::Stderr).unwrap_err();
        assert!(matches!(faulty, InitError::Filter(_)) && faulty.to_string().starts_with("RUST_LOG: "), "{faulty}");
        // Another test of this process may have initialised the log; after this call it is initialised.
        drop(init(&config, Some("off"), Writer::Stderr));
        let second = init(&config, Some("off"), Writer::Stderr).unwrap_err();
        assert!(matches!(second, InitError::AlreadySet(_)), "{second}");
    }
}
