//! Logs: where they go, what they look like, and what cannot get into them.
//!
//! One line an event, on the stream the command chooses ([`Writer`]), with RFC 3339 timestamps
//! in UTC: JSON for machines, text for people. `RUST_LOG` chooses what is logged.
//!
//! The hard case is `RUST_LOG=trace`: our own rooms log no secret, token or body at any level,
//! but what do the crates below us print? Of all in `Cargo.lock` six are built with `tracing`
//! or `log` (`cargo tree -i tracing`, `-i log`):
//!
//! | crate | what it can print | so |
//! |---|---|---|
//! | reqwest 0.13.5 | `reqwest::connect::verbose`, at trace and with `connection_verbose(true)`: all bytes read and written, so the client secret and the token | never at trace |
//! | rustls 0.23.46 | at trace: hellos, certificates and session tickets in hex; no application data, no traffic keys | never at trace |
//! | h2 0.4.20 | frames, at debug and trace; their `Debug` leaves header fields and payload out, but not the debug data of GOAWAY (bytes of the peer's choice); a malformed path, where it serves | never below info |
//! | hyper-util 0.1.21 | hosts, addresses, states of the pool, connection errors; a target only if it lacks a host or is CONNECT's, and we send neither | |
//! | tower 0.5.3 | states of its queues | |
//! | rustls-platform-verifier 0.7.1 | how many system certificates were taken, why one was refused | |
//!
//! Hence `is_allowed`, a second filter that no `RUST_LOG` can loosen: trace is ours alone,
//! others stop at debug, h2 at info.
//!
//! Rejected: directives appended to the user's filter. There the more specific directive wins,
//! so `RUST_LOG=reqwest::connect::verbose=trace` would undo them.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

/// What is logged when `RUST_LOG` does not say: the access record and what an operator has to know.
const DEFAULT_FILTER: &str = "info";

/// `[log]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What a line looks like.
    pub format: LogFormat,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// One line of text, coloured on a terminal unless `NO_COLOR` is set.
    Text,
}

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// For `run`, whose log is its output.
    Stdout,
    /// For commands that print results on stdout.
    Stderr,
}

impl Writer {
    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }

    fn make(self) -> BoxMakeWriter {
        match self {
            Self::Stdout => BoxMakeWriter::new(io::stdout),
            Self::Stderr => BoxMakeWriter::new(io::stderr),
        }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    /// `RUST_LOG` is not a list of directives.
    #[error("RUST_LOG: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// This process logs already.
    #[error("the log is set up already: {0}")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets the log of this process up, that of `log`'s users included. `filter` is `RUST_LOG`,
/// see [`Environment::log_filter`](crate::config::Environment::log_filter).
///
/// # Errors
/// When `filter` cannot be parsed, and when the log was set up before; it then stays as it was.
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
    // Only ever turned off: the default already heeds NO_COLOR.
    if is_terminal { lines.boxed() } else { lines.with_ansi(false).boxed() }
}

/// What may be logged whatever `RUST_LOG` says, by the module it comes from.
fn is_allowed(metadata: &Metadata<'_>) -> bool {
    let most = match metadata.target().split("::").next() {
        Some(env!("CARGO_CRATE_NAME")) => LevelFilter::TRACE,
        Some("h2") => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    *metadata.level() <= most
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
    fn a_json_line_has_its_fields_its_span_and_a_utc_timestamp() {
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
    fn text_that_goes_to_a_file_has_no_colours() {
        let log = logged(LogFormat::Text, None, false, || info!("hello"));
        assert!(!log.contains('\x1b'), "{log:?}");
        assert!(log.contains("INFO"), "{log:?}");
    }

    #[test]
    fn without_rust_log_debug_is_not_logged() {
        let log = logged(LogFormat::Json, None, false, || {
            debug!("quiet");
            info!("heard");
        });
        assert!(log.contains("heard") && !log.contains("quiet"), "{log}");
    }

    #[test]
    fn no_rust_log_makes_other_crates_print_what_they_must_not() {
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
    fn rust_log_trace_shows_our_own_traces_and_others_debug() {
        let log = logged(LogFormat::Json, Some("trace"), false, || {
            trace!("ours");
            debug!(target: "rustls::client::hs", "theirs");
        });
        assert!(log.contains("ours") && log.contains("theirs"), "{log}");
    }

    #[test]
    fn a_faulty_rust_log_and_a_second_set_up_are_errors() {
        let config = Config::default();
        let faulty = init(&config, Some("jwe_gateway=loud"), Writer::Stderr).unwrap_err();
        assert!(matches!(faulty, InitError::Filter(_)) && faulty.to_string().starts_with("RUST_LOG: "), "{faulty}");
        // Another test of this process may have been first; after this call somebody was.
        drop(init(&config, Some("off"), Writer::Stderr));
        let second = init(&config, Some("off"), Writer::Stderr).unwrap_err();
        assert!(matches!(second, InitError::AlreadySet(_)), "{second}");
    }
}
