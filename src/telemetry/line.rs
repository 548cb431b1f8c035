//! A line that is written field by field, without an event of `tracing`.
//!
//! Promise: the line is the one that an event with the same fields would be, byte for byte, in every format. A test
//! compares the two. With the names of another schema, only the order of the fields may differ.
//!
//! It exists for the access log, which has a line for each request. As an event, that line cost 36,000 instructions:
//! `tracing` passes each field through trait objects, and formats it with `core::fmt`. Here the fields are appended to
//! a buffer that is used again. All other lines are events: the macros are shorter to write, and they compute no fields
//! for a line that is not logged.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde_json::Value;

use super::format::{Escaped, LineFormat, escaped_json};
use super::schema::{FieldName, LEVEL, MESSAGE, Schema, TARGET, TIMESTAMP};

/// The capacity that a buffer keeps after a long line. An ordinary line has 600 bytes.
const KEPT_CAPACITY: usize = 4 * 1024;

/// The precision of the timestamps of events.
const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

/// The colours of events on a terminal.
const DIMMED: &str = "\x1b[2m";
const ITALIC: &str = "\x1b[3m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

thread_local! {
    static BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A line of the log, to which fields are added. Only values are escaped.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    buffer: &'a mut String,
    format: LineFormat,
}

/// Passes a line of level `INFO` to `consume`. `add_fields` adds its fields.
pub(super) fn with_line(
    format: LineFormat,
    target: &'static str,
    message: &'static str,
    add_fields: impl FnOnce(&mut Line<'_>),
    consume: impl FnOnce(&str),
) {
    // An error means that the thread is ending and has no buffer any more.
    let _ = BUFFER.try_with(|buffer| {
        let buffer = &mut *buffer.borrow_mut();
        buffer.clear();
        buffer.shrink_to(KEPT_CAPACITY);
        let mut line = Line { buffer, format };
        line.begin(target, message);
        add_fields(&mut line);
        line.end(target);
        consume(line.buffer);
    });
}

impl Line<'_> {
    /// The schema of the names. Text has the gateway's own names.
    pub(crate) fn schema(&self) -> Schema {
        match self.format {
            LineFormat::Json(schema) => schema,
            LineFormat::Text { .. } => Schema::Own,
        }
    }

    pub(crate) fn text(&mut self, name: FieldName, value: &str) {
        self.name(name);
        self.quoted(value);
    }

    pub(crate) fn address(&mut self, name: FieldName, value: IpAddr) {
        self.name(name);
        // It has no character that needs an escape.
        self.formatted(format_args!("\"{value}\""));
    }

    pub(crate) fn number(&mut self, name: FieldName, value: u64) {
        self.name(name);
        self.digits(value);
    }

    /// A duration in milliseconds, to the microsecond.
    pub(crate) fn millis(&mut self, name: FieldName, value: Duration) {
        self.name(name);
        let micros = u64::try_from((value.as_nanos() + 500) / 1000).unwrap_or(u64::MAX);
        self.digits(micros / 1000);
        // Like a float, it has at least one decimal place, and no zeros after that.
        let (fraction, places) = match micros % 1000 {
            thousandths if thousandths % 100 == 0 => (thousandths / 100, 1),
            thousandths if thousandths % 10 == 0 => (thousandths / 10, 2),
            thousandths => (thousandths, 3),
        };
        self.formatted(format_args!(".{fraction:0places$}"));
    }

    pub(crate) fn decimal(&mut self, name: FieldName, value: f64) {
        self.name(name);
        match self.format {
            LineFormat::Json(_) => self.formatted(format_args!("{}", Value::from(value))),
            LineFormat::Text { .. } => self.formatted(format_args!("{value:?}")),
        }
    }

    /// A field with the value `true`.
    pub(crate) fn flag(&mut self, name: FieldName) {
        self.name(name);
        self.buffer.push_str("true");
    }

    fn begin(&mut self, target: &str, message: &str) {
        match self.format {
            LineFormat::Json(schema) => {
                self.buffer.push_str("{\"");
                self.buffer.push_str(TIMESTAMP.of(schema));
                self.buffer.push_str("\":\"");
                self.timestamp();
                self.buffer.push('"');
                self.text(LEVEL, "INFO");
                if let Some((name, version)) = schema.version_field() {
                    self.key(name);
                    self.quoted(version);
                }
                self.text(MESSAGE, message);
            }
            LineFormat::Text { .. } => {
                self.style(DIMMED);
                self.timestamp();
                self.style(PLAIN);
                self.buffer.push(' ');
                self.styled(GREEN, " INFO");
                self.buffer.push(' ');
                self.styled(DIMMED, target);
                self.styled(DIMMED, ":");
                self.buffer.push(' ');
                self.buffer.push_str(message);
            }
        }
    }

    fn end(&mut self, target: &str) {
        if let LineFormat::Json(_) = self.format {
            self.text(TARGET, target);
            self.buffer.push('}');
        }
        self.buffer.push('\n');
    }

    fn timestamp(&mut self) {
        // A string has no limit of length that the printer could exceed.
        let _ = PRINTER.print_timestamp(&Timestamp::now(), &mut *self.buffer);
    }

    fn name(&mut self, name: FieldName) {
        self.key(name.of(self.schema()));
    }

    fn key(&mut self, name: &str) {
        match self.format {
            LineFormat::Json(_) => {
                self.buffer.push_str(",\"");
                self.buffer.push_str(name);
                self.buffer.push_str("\":");
            }
            LineFormat::Text { .. } => {
                self.buffer.push(' ');
                self.styled(ITALIC, name);
                self.styled(DIMMED, "=");
            }
        }
    }

    fn quoted(&mut self, text: &str) {
        match self.format {
            LineFormat::Json(_) if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte)) => {
                self.buffer.push('"');
                self.buffer.push_str(text);
                self.buffer.push('"');
            }
            LineFormat::Json(_) => self.buffer.push_str(&escaped_json(Value::from(text).to_string().as_bytes())),
            LineFormat::Text { .. } => self.formatted(format_args!("{:?}", Escaped(&text))),
        }
    }

    fn digits(&mut self, number: u64) {
        self.buffer.push_str(itoa::Buffer::new().format(number));
    }

    fn formatted(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.buffer.write_fmt(text);
    }

    fn styled(&mut self, style: &str, text: &str) {
        self.style(style);
        self.buffer.push_str(text);
        self.style(PLAIN);
    }

    fn style(&mut self, style: &str) {
        if self.format == (LineFormat::Text { is_coloured: true }) {
            self.buffer.push_str(style);
        }
    }
}
