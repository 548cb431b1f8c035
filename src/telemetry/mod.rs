//! The log: its stream, its format, its filter, and the thread that writes it.
//!
//! One line per event, with an RFC 3339 timestamp in UTC, as JSON or as text. The command chooses the stream
//! ([`Stream`]). `RUST_LOG` selects what is logged.
//!
//! Lines are events of `tracing`, except those of the access log: see [`line`](mod@line).
//!
//! No request waits for the log: see [`writer`]. No line contains a secret: see [`filter`]. No value can forge a line:
//! see [`format`](mod@format).

mod filter;
mod format;
mod line;
mod metrics;
mod queue;
pub(crate) mod schema;
mod writer;

use std::io::{self, IsTerminal};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::Subscriber;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, registry};

use self::filter::LevelCap;
use self::format::LineFormat;
pub(crate) use self::line::Line;
pub(crate) use self::metrics::{LogMetrics, lines_dropped};
use self::queue::{MAX_BYTES, MAX_LINES, Queue};
pub use self::schema::Schema;

/// The filter if `RUST_LOG` is not set: access records, and events that an operator must know.
const DEFAULT_FILTER: &str = "info";

/// `[log]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The format of a line.
    pub format: LogFormat,
    /// The names of the fields, if the format is JSON.
    pub schema: Schema,
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

/// How long the end of the process waits for lines that are not written yet.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The log of this process: there is one, as there is one global subscriber.
static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Debug)]
struct Log {
    format: LineFormat,
    queue: Arc<Queue>,
}

/// The stream of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// For `run`: its log is its output.
    Stdout,
    /// For commands that print results to stdout. Only `drill` has a log of this kind.
    #[cfg(any(feature = "sandbox", test))]
    Stderr,
}

impl Stream {
    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            #[cfg(any(feature = "sandbox", test))]
            Self::Stderr => io::stderr().is_terminal(),
        }
    }

    fn start_writer(self, queue: Arc<Queue>) -> io::Result<()> {
        match self {
            Self::Stdout => writer::start(queue, &io::stdout()),
            #[cfg(any(feature = "sandbox", test))]
            Self::Stderr => writer::start(queue, &io::stderr()),
        }
    }
}

/// The value of `RUST_LOG` cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("not a list of directives such as info,jwe_gateway=debug: {0}")]
pub(crate) struct BadFilter(#[from] tracing_subscriber::filter::ParseError);

#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("RUST_LOG: {0}")]
    Filter(#[from] BadFilter),
    #[error("the log of this process is already initialised: {0}")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
    #[error("the thread that writes the log cannot be started: {0}")]
    Writer(#[from] io::Error),
}

/// Initialises the log of this process, including events of the `log` crate. `filter` is the value of
/// `RUST_LOG`: see [`Environment::log_filter`](crate::config::Environment::log_filter). Text on a terminal is coloured if
/// `may_colour`.
///
/// # Errors
/// If `filter` cannot be parsed, the log was initialised before, or its writer cannot be started.
pub(crate) fn init(config: &Config, filter: Option<&str>, may_colour: bool, stream: Stream) -> Result<(), InitError> {
    let queue = Arc::new(Queue::new(MAX_LINES, MAX_BYTES));
    let writer = BoxMakeWriter::new({
        let queue = Arc::clone(&queue);
        move || QueueWriter(Arc::clone(&queue))
    });
    let format = config.line_format(stream.is_terminal(), may_colour);
    subscriber(format, filter, writer)?.try_init()?;
    // `try_init` succeeds once in a process, so the cell is empty.
    let log = LOG.get_or_init(|| Log { format, queue });
    Ok(stream.start_writer(Arc::clone(&log.queue))?)
}

/// Checks a value of `RUST_LOG`, and initialises nothing.
///
/// # Errors
/// If `filter` cannot be parsed.
pub(crate) fn check_filter(filter: &str) -> Result<(), BadFilter> {
    EnvFilter::try_new(filter)?;
    Ok(())
}

/// Adds a line of level `INFO` to the log of this process, if it has one. `RUST_LOG` must already allow the line:
/// `tracing::event_enabled!` says whether it does.
pub(crate) fn write_line(target: &'static str, message: &'static str, add_fields: impl FnOnce(&mut Line<'_>)) {
    if let Some(log) = LOG.get() {
        line::with_line(log.format, target, message, add_fields, |line| log.queue.push(line.as_bytes()));
    }
}

/// The line that [`write_line`] adds to a JSON log.
#[cfg(test)]
pub(crate) fn json_line(
    schema: Schema,
    target: &'static str,
    message: &'static str,
    add_fields: impl FnOnce(&mut Line<'_>),
) -> serde_json::Value {
    let mut parsed = serde_json::Value::Null;
    line::with_line(LineFormat::Json(schema), target, message, add_fields, |line| {
        parsed = serde_json::from_str(line).unwrap()
    });
    parsed
}

/// Waits until the log is written, but at most [`FLUSH_LIMIT`]: nobody may be reading it.
pub(crate) fn flush() {
    if let Some(log) = LOG.get() {
        log.queue.flush(FLUSH_LIMIT);
    }
}

/// Adds a line to the queue. The formatter passes each line at once.
struct QueueWriter(Arc<Queue>);

impl io::Write for QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Config {
    fn line_format(&self, is_terminal: bool, may_colour: bool) -> LineFormat {
        match self.format {
            LogFormat::Auto if !is_terminal => LineFormat::Json(self.schema),
            LogFormat::Json => LineFormat::Json(self.schema),
            LogFormat::Auto | LogFormat::Text => LineFormat::Text { is_coloured: is_terminal && may_colour },
        }
    }
}

fn subscriber(
    format: LineFormat,
    filter: Option<&str>,
    writer: BoxMakeWriter,
) -> Result<impl Subscriber + Send + Sync, InitError> {
    let filter = EnvFilter::try_new(filter.unwrap_or(DEFAULT_FILTER)).map_err(BadFilter)?;
    Ok(registry().with(format.layer(writer)).with(filter).with(LevelCap))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{debug, info, info_span, trace};

    use super::schema::FieldName;
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
        logged_as(&Config { format, ..Config::default() }, filter, is_terminal, write)
    }

    fn logged_as(config: &Config, filter: Option<&str>, is_terminal: bool, write: impl FnOnce()) -> String {
        let log = Log::default();
        let writer = BoxMakeWriter::new({
            let log = log.clone();
            move || log.clone()
        });
        let subscriber = subscriber(config.line_format(is_terminal, true), filter, writer).unwrap();
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
    fn a_line_of_the_access_log_is_the_line_of_an_event_with_the_same_fields() {
        let texts =
            ["/v0/a", "", "\"\\/", "\n\r\t\u{8}\u{c}\x1b\x7f", "\u{80}\u{85}\u{2028}\u{2029}", "é € 🙂", "\u{301}a"];
        let name = |name| FieldName::same(name);
        let durations = [0, 499, 500, 1_000, 123_456_789, 120_000_000, 1_100_000, 86_400_000_000_000];
        for (format, is_terminal) in [(LogFormat::Json, false), (LogFormat::Text, false), (LogFormat::Text, true)] {
            for (text, nanos) in texts.iter().flat_map(|text| durations.map(|nanos| (*text, nanos))) {
                let duration = Duration::from_nanos(nanos);
                let rounded = (duration.as_secs_f64() * 1e6).round() / 1e3;
                let event = logged(format, None, is_terminal, || {
                    info!(target: "target", text, number = nanos, ms = rounded, sample = 0.01, less = 0.00001, flag = true, "message");
                });
                let mut line = String::new();
                let add_fields = |line: &mut Line<'_>| {
                    line.text(name("text"), text);
                    line.number(name("number"), nanos);
                    line.millis(name("ms"), duration);
                    line.decimal(name("sample"), 0.01);
                    line.decimal(name("less"), 0.00001);
                    line.flag(name("flag"));
                };
                let format = Config { format, ..Config::default() }.line_format(is_terminal, true);
                line::with_line(format, "target", "message", add_fields, |written| line.push_str(written));
                assert_eq!(without_timestamp(&line), without_timestamp(&event));
            }
        }
    }

    #[test]
    fn events_and_lines_of_the_access_log_have_the_names_of_the_same_schema() {
        for schema in [Schema::Ecs, Schema::Otel] {
            let config = Config { format: LogFormat::Json, schema };
            let event = logged_as(&config, None, false, || info!(target: "target", request_id = "r-1", "message"));
            let event: serde_json::Value = serde_json::from_str(&event).unwrap();
            let line = json_line(schema, "target", "message", |line| line.text(schema::REQUEST_ID, "r-1"));
            let timestamp = schema::TIMESTAMP.of(schema);
            assert!(event[timestamp].is_string() && line[timestamp].is_string(), "{event} {line}");
            let others = |line: &serde_json::Value| {
                let fields = line.as_object().unwrap().clone().into_iter();
                fields.filter(|(name, _)| name != timestamp).collect::<std::collections::BTreeMap<_, _>>()
            };
            assert_eq!(others(&event), others(&line));
        }
    }

    /// The line with another text in place of the timestamp, which must be valid.
    fn without_timestamp(line: &str) -> String {
        let begin = line.find("20").unwrap();
        let timestamp = &line[begin..begin + "2026-01-01T00:00:00.000000Z".len()];
        assert!(timestamp.ends_with('Z') && timestamp.parse::<jiff::Timestamp>().is_ok(), "{line}");
        line.replacen(timestamp, "now", 1)
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
        let faulty = init(&config, Some("jwe_gateway=loud"), false, Stream::Stderr).unwrap_err();
        assert!(matches!(faulty, InitError::Filter(_)) && faulty.to_string().starts_with("RUST_LOG: "), "{faulty}");
        // Another test of this process may have initialised the log; after this call it is initialised.
        drop(init(&config, Some("off"), false, Stream::Stderr));
        let second = init(&config, Some("off"), false, Stream::Stderr).unwrap_err();
        assert!(matches!(second, InitError::AlreadySet(_)), "{second}");
    }

    #[test]
    fn no_character_of_a_value_breaks_or_changes_a_line() {
        let unsafe_characters = "\n\r\x1b\x7f\u{80}\u{85}\u{9f}\u{2028}\u{2029}";
        let value = format!("a{unsafe_characters}z é €");
        let write = || {
            let _span = info_span!("request", id = %value).entered();
            info!(text = value.as_str(), shown = %value, debugged = ?value, "message {value}");
            info!(message = value.as_str());
        };
        let json = logged(LogFormat::Json, None, false, write);
        for line in json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
            assert!(line["message"].as_str().unwrap().ends_with(&value), "{line}");
        }
        assert!(json.contains("\\u0085") && json.contains("\\u2028") && json.contains("é €"), "{json}");
        let text = logged(LogFormat::Text, None, false, write);
        assert!(text.contains("\\u{85}") && text.contains("\\u{2028}") && text.contains("é €"), "{text}");
        let coloured = logged(LogFormat::Text, None, true, write);
        for (log, allowed) in [(&json, "\n"), (&text, "\n"), (&coloured, "\n\x1b")] {
            assert_eq!(log.matches('\n').count(), 2, "{log:?}");
            let breaks_out = |c: char| unsafe_characters.contains(c) && !allowed.contains(c);
            assert!(!log.contains(breaks_out), "{log:?}");
        }
        let escapes = |log: &str| log.matches('\x1b').count();
        assert_eq!(
            escapes(&coloured),
            escapes(&logged(LogFormat::Text, None, true, || {
                let _span = info_span!("request", id = %1).entered();
                info!(text = "1", shown = %1, debugged = ?1, "message");
                info!(message = "1");
            }))
        );
    }
}
