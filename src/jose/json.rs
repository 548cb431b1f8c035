//! A body that is JSON, kept byte for byte.
//!
//! The text is checked but never parsed into values. The provider decides what `1.10`, `1e400`, a
//! duplicate member or a lone surrogate escape means, so the bytes must arrive unchanged. Rejected:
//! `serde_json::Value`, which refuses or rewrites all four and is several times slower.
//!
//! A body can have many MiB. So it is checked in slices ([`JsonCheck`]), and other tasks can have the core between
//! two slices. The depth limit protects the next parser.

use std::fmt;

use bytes::Bytes;

use super::grammar::{Grammar, Violation};

/// How deep arrays and objects may nest. Common parsers have a similar default (serde_json 128, Ruby
/// 100, .NET 64), and no documented body comes near it.
pub const MAX_DEPTH: usize = 128;

/// Bytes of a slice. One takes about 0.1 ms if every byte has a meaning of its own, and 0.01 ms inside of a string.
const SLICE: usize = 64 * 1024;

/// A body that was checked to be JSON and is not sealed yet. Its `Debug` shows the length only. The
/// bytes are shared with the reader of the body, which wipes them; dropping this does not.
#[derive(Clone)]
pub struct Plaintext(Bytes);

impl Plaintext {
    /// Checks that `body` is one JSON text (RFC 8259) in UTF-8, without a byte order mark, with nothing
    /// after it, at most [`MAX_DEPTH`] levels deep.
    ///
    /// # Errors
    /// If it is not, which is the caller's fault: see [`NotJson`].
    pub fn json(body: Bytes) -> Result<Self, NotJson> {
        let mut check = JsonCheck::new(body);
        loop {
            match check.next_slice()? {
                Progress::Checked(plaintext) => return Ok(plaintext),
                Progress::Unfinished(rest) => check = rest,
            }
        }
    }

    /// Returns the number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Always false: a body without bytes is not JSON.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the body in clear, for a provider that accepts no JWE. The upstream client sends it only
    /// under an `InClear` permit.
    #[must_use]
    pub fn in_clear(&self) -> Bytes {
        self.0.clone()
    }

    /// Returns the text, for a check of its content. Nothing may send it.
    #[cfg(feature = "gateway")]
    pub(crate) fn content(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// [`Plaintext::json`] in slices, for a caller that has other work to do between them.
#[derive(Debug)]
pub struct JsonCheck {
    body: Plaintext,
    /// The bytes that were checked.
    checked: usize,
    grammar: Grammar,
}

/// The result of a slice.
#[derive(Debug)]
pub enum Progress {
    /// All of the body is checked.
    Checked(Plaintext),
    /// The rest of the check.
    Unfinished(JsonCheck),
}

impl JsonCheck {
    /// Begins to check `body`.
    #[must_use]
    pub fn new(body: Bytes) -> Self {
        Self { body: Plaintext(body), checked: 0, grammar: Grammar::new() }
    }

    /// Checks the next slice. Consumes the check, so that none goes on after an error.
    ///
    /// # Errors
    /// See [`Plaintext::json`].
    pub fn next_slice(mut self) -> Result<Progress, NotJson> {
        let slice = whole_characters(&self.body.0[self.checked..], SLICE)?;
        self.grammar.read(slice).map_err(|violation| match violation {
            Violation::At(at) => syntax_error(&self.body.0[..=self.checked + at]),
            Violation::TooDeep => NotJson::TooDeep,
        })?;
        self.checked += slice.len();
        if self.checked < self.body.len() {
            return Ok(Progress::Unfinished(self));
        }
        match self.grammar.is_complete() {
            true => Ok(Progress::Checked(self.body)),
            false if self.body.is_empty() => Err(NotJson::Empty),
            false => Err(syntax_error(&self.body.0)),
        }
    }
}

/// The error at the end of `read`. Counts the lines of a whole body at once, which takes 1 ms for 32 MiB.
fn syntax_error(read: &[u8]) -> NotJson {
    let line_breaks = memchr::memchr_iter(b'\n', read).count();
    let line_start = memchr::memrchr(b'\n', read).map_or(0, |last| last + 1);
    NotJson::Syntax { line: line_breaks + 1, column: read.len() - line_start }
}

/// Returns the start of `text`: at most `limit` bytes, without a character that the limit cuts in two.
fn whole_characters(text: &[u8], limit: usize) -> Result<&[u8], NotJson> {
    let slice = &text[..text.len().min(limit)];
    match std::str::from_utf8(slice) {
        Ok(_) => Ok(slice),
        // The rest of the character is in the next slice.
        Err(error) if error.error_len().is_none() && slice.len() < text.len() => Ok(&slice[..error.valid_up_to()]),
        Err(_) => Err(NotJson::NotUtf8),
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext({} bytes)", self.len())
    }
}

/// Why a body is not JSON. It can contain a position, never content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJson {
    /// The body has no bytes.
    #[error("the body is empty")]
    Empty,
    /// The body is not UTF-8 (RFC 8259 section 8.1).
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// The body violates the grammar, ends early, or has more bytes after the JSON text.
    #[error("the body is not JSON: line {line}, column {column}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// In bytes, counted from 1; 0 at the start of a line.
        column: usize,
    },
    /// Arrays and objects nest deeper than [`MAX_DEPTH`].
    #[error("the body nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn check(body: impl AsRef<[u8]>) -> Result<(), NotJson> {
        let body = Bytes::copy_from_slice(body.as_ref());
        Plaintext::json(body.clone()).map(|plaintext| assert_eq!(plaintext.bytes(), &body))
    }

    #[test]
    fn json_that_a_parser_would_refuse_or_rewrite_passes_unchanged() {
        for body in [
            "1e400",
            "1.10",
            "123456789012345678901234567890",
            r#"{"a":1,"a":2}"#,
            r#""\ud800""#,
            "\"\u{feff}\"",
            " \t\r\nnull \n",
            "{}",
            "\"\"",
        ] {
            assert_eq!(check(body), Ok(()), "{body}");
        }
    }

    #[test]
    fn a_body_that_is_not_one_json_text_is_refused_with_its_reason() {
        assert_eq!(check(""), Err(NotJson::Empty));
        assert_eq!(check(b"\"\xff\""), Err(NotJson::NotUtf8));
        assert_eq!(check(b"\"\xed\xa0\x80\""), Err(NotJson::NotUtf8));
        assert_eq!(check("{\"a\":1}\n }"), Err(NotJson::Syntax { line: 2, column: 2 }));
        for body in
            ["\u{feff}{}", " ", "{", "[1,]", "{'a':1}", "nul", "01", "\"a\nb\"", "\"\\x\"", "NaN", "1 2", "{}\0"]
        {
            assert!(matches!(check(body), Err(NotJson::Syntax { .. })), "{body:?}");
        }
    }

    #[test]
    fn a_slice_may_end_inside_of_a_character() {
        for before in 0..4 {
            let text = format!("\"{}{}\"", "x".repeat(before), "\u{20ac}".repeat(SLICE));
            assert_eq!(check(&text), Ok(()), "{before}");
            let cut = text.len() - 2;
            assert_eq!(check(&text.as_bytes()[..cut]), Err(NotJson::NotUtf8), "{before}");
        }
    }

    #[test]
    fn the_position_of_an_error_counts_all_slices() {
        let start = format!("[\n{},\n", vec!["1"; SLICE].join(","));
        assert_eq!(check(format!("{start}  x]")), Err(NotJson::Syntax { line: 3, column: 3 }));
        assert_eq!(check(&start), Err(NotJson::Syntax { line: 3, column: 0 }));
        let line_break_in_string = format!("\"{}\n\"", "a".repeat(SLICE));
        assert_eq!(check(line_break_in_string), Err(NotJson::Syntax { line: 2, column: 0 }));
    }

    #[test]
    fn depth_is_counted_outside_of_strings_only() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(nested(MAX_DEPTH)), Ok(()));
        assert_eq!(check(nested(MAX_DEPTH + 1)), Err(NotJson::TooDeep));
        assert_eq!(check(nested(1_000_000)), Err(NotJson::TooDeep));
        assert_eq!(check("[".repeat(1_000_000)), Err(NotJson::TooDeep));
        assert_eq!(check(format!("[{}]", vec!["[]"; 1000].join(","))), Ok(()));
        for length in 0..100 {
            let filler = "x".repeat(length);
            let brackets = "[".repeat(200);
            assert_eq!(check(format!(r#"["{filler}\"{brackets}",{{"a":[]}}]"#)), Ok(()), "{length}");
            let deep = nested(MAX_DEPTH);
            assert_eq!(check(format!(r#"["{filler}\\",{deep}]"#)), Err(NotJson::TooDeep), "{length}");
        }
    }

    #[test]
    fn no_formatting_shows_a_byte_of_the_body() {
        let plaintext = Plaintext::json(Bytes::from_static(b"\"canary\"")).unwrap();
        assert_eq!(format!("{plaintext:?}"), "Plaintext(8 bytes)");
        let error = check("canary").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }

    /// Texts made of JSON's own pieces: many are JSON, many nearly.
    fn json_like() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\"a\"", "\"\\n\"", "\\u00e9", "é", "0", "-1", "1.5e3", "true",
            "null", " ", "\n",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec(("[a-z\"\\\\]{0,5}", inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn small_texts_are_accepted_exactly_if_serde_json_accepts_them(text in json_like()) {
            prop_assert_eq!(check(&text).is_ok(), serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        }

        #[test]
        fn every_value_passes_and_a_changed_byte_is_accepted_only_if_serde_json_accepts_it(
            value in value(),
            at in any::<prop::sample::Index>(),
            byte in prop::sample::select(b"{}[],:\"\\0 ax".to_vec()),
        ) {
            let mut text = value.to_string().into_bytes();
            prop_assert_eq!(check(&text), Ok(()));
            let at = at.index(text.len());
            text[at] = byte;
            // A changed digit can make a number too large for a `Value`, or an escape a lone
            // surrogate: both are JSON, and only ours to accept.
            let stricter = |error: &serde_json::Error| {
                let error = error.to_string();
                error.contains("out of range") || error.contains("surrogate") || error.contains("hex escape")
            };
            match serde_json::from_slice::<Value>(&text) {
                Err(error) if stricter(&error) => {}
                judged => prop_assert_eq!(check(&text).is_ok(), judged.is_ok(), "{:?}", text),
            }
        }
    }
}
