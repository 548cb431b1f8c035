//! The format of a line.

use tracing::Subscriber;
use tracing_subscriber::fmt as lines;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

/// One JSON object per line.
pub(super) fn json<S>(writer: BoxMakeWriter) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = lines::layer().with_writer(writer);
    lines.json().flatten_event(true).with_span_list(false).boxed()
}

/// Text, coloured on a terminal.
pub(super) fn text<S>(writer: BoxMakeWriter, is_terminal: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = lines::layer().with_writer(writer);
    // Colours are only turned off here, because the default already respects NO_COLOR.
    if is_terminal { lines.boxed() } else { lines.with_ansi(false).boxed() }
}
