//! The format of a line, and what keeps a logged value on its line.
//!
//! Log values can come from a caller or a provider: a path, a `kid`, an error text. A line break in one could forge a
//! line, and a control character can change a terminal. All of them are escaped: C0, DEL, C1 (U+0080 to U+009F), and
//! the line separators U+2028 and U+2029.
//!
//! The two formats need two ways. In JSON, the characters can only stand in a string, so the finished line is escaped;
//! serde escapes C0, and nothing else. In text, colours are control characters too, so each value is escaped.
//! tracing-subscriber escapes some of the characters in messages, and none in values that are logged with `%`.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io;

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing_subscriber::field::{RecordFields, VisitOutput};
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{self as lines, FormatFields, MakeWriter};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::schema::Schema;

/// The format of each line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineFormat {
    /// One JSON object per line, with the names of the schema.
    Json(Schema),
    Text {
        is_coloured: bool,
    },
}

impl LineFormat {
    /// Writes events in this format.
    pub(super) fn layer<S>(self, writer: BoxMakeWriter) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        match self {
            Self::Json(schema) => {
                let lines = lines::layer().with_writer(JsonWriter { writer, schema });
                lines.json().flatten_event(true).with_span_list(false).boxed()
            }
            Self::Text { is_coloured } => {
                let lines = lines::layer().with_writer(writer).fmt_fields(EscapedFields);
                lines.with_ansi(is_coloured).boxed()
            }
        }
    }
}

/// Gives the fields of a line the names of the schema, and escapes what serde leaves.
struct JsonWriter<M> {
    writer: M,
    schema: Schema,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for JsonWriter<M> {
    type Writer = JsonWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        JsonWriter { writer: self.writer.make_writer(), schema: self.schema }
    }
}

impl<W: io::Write> io::Write for JsonWriter<W> {
    /// Writes the whole line: the formatter passes each line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.schema {
            Schema::Own => self.writer.write_all(escaped_json(line).as_bytes())?,
            schema => self.writer.write_all(escaped_json(&schema.rename(line)).as_bytes())?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The text of `line`, which is JSON as serde writes it, with escapes for what serde leaves.
pub(super) fn escaped_json(line: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(line);
    if line.iter().all(|byte| *byte < 0x7f) {
        return text;
    }
    // The only C0 character is the line break at the end of a finished line.
    let is_left = |c: char| c >= '\x7f' && is_unsafe(c);
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_left(c) {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// The default format of fields, with escaped values.
struct EscapedFields;

impl<'w> FormatFields<'w> for EscapedFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = DefaultVisitor::new(writer, true);
        fields.record(&mut EscapedValues(&mut visitor));
        visitor.finish()
    }
}

struct EscapedValues<'a>(&'a mut dyn Visit);

/// The trait calls `record_debug` for values of all other types.
impl Visit for EscapedValues<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.record_debug(field, &Escaped(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // A message has no quotes; any other text has.
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }
}

/// Shows the value without characters that could break or change a line.
pub(super) struct Escaped<'a>(pub(super) &'a dyn fmt::Debug);

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(EscapingWriter(f), "{:?}", self.0)
    }
}

struct EscapingWriter<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for EscapingWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(is_unsafe) {
            let last = piece.chars().next_back().filter(|c| is_unsafe(*c));
            let safe = &piece[..piece.len() - last.map_or(0, char::len_utf8)];
            self.0.write_str(safe)?;
            if let Some(c) = last {
                write!(self.0, "{}", c.escape_default())?;
            }
        }
        Ok(())
    }
}

fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}
