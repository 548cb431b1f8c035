//! The grammar of JSON (RFC 8259), checked slice by slice.
//!
//! The text is not parsed into values: numbers have any size, members may repeat, and an escape may be a lone
//! surrogate. A slice may end anywhere, also inside of an escape or a number. The memory is constant: one bit for
//! each open array or object.
//!
//! Rejected: serde_json's `RawValue`, which needs the whole text at once. A text of 10 MiB would keep a core busy for
//! 2 to 16 ms. `RawValue` also needs a separate check of the depth. Together they take twice as long for long strings,
//! and the same time for other text.

use super::json::MAX_DEPTH;

/// A text as far as it has been read.
#[derive(Debug)]
pub(super) struct Grammar {
    state: State,
    depth: usize,
    /// The kinds of the open containers. The innermost one is the lowest bit.
    kinds: u128,
}

const _: () = assert!(MAX_DEPTH <= u128::BITS as usize);

/// Which bytes may come next.
#[derive(Clone, Copy, Debug)]
enum State {
    /// A value. In a new array also its end.
    Value {
        or_end: bool,
    },
    /// The name of a member. In a new object also its end.
    Name {
        or_end: bool,
    },
    Colon,
    /// A comma or an end. After the outermost value neither.
    AfterValue,
    String(StringKind),
    Escape(StringKind),
    /// So many hexadecimal digits of an escape.
    Hex(StringKind, u8),
    Number(Number),
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
}

#[derive(Clone, Copy, Debug)]
enum Container {
    Array = 0,
    Object = 1,
}

#[derive(Clone, Copy, Debug)]
enum StringKind {
    Name,
    Value,
}

/// How far a number has been read. Only some states can be its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// Why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// The byte at this index of the slice is wrong.
    At(usize),
    TooDeep,
}

impl Grammar {
    pub(super) fn new() -> Self {
        Self { state: State::Value { or_end: false }, depth: 0, kinds: 0 }
    }

    /// Reads the next slice of the text.
    pub(super) fn read(&mut self, slice: &[u8]) -> Result<(), Violation> {
        let mut at = 0;
        while let Some(&byte) = slice.get(at) {
            let next = match self.state {
                State::String(kind) => {
                    at += plain_length(&slice[at..]);
                    match slice.get(at) {
                        None => return Ok(()),
                        Some(b'"') => Some(kind.after()),
                        Some(b'\\') => Some(State::Escape(kind)),
                        Some(_) => None,
                    }
                }
                State::Escape(kind) => match byte {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(State::String(kind)),
                    b'u' => Some(State::Hex(kind, 4)),
                    _ => None,
                },
                State::Hex(kind, 1) if byte.is_ascii_hexdigit() => Some(State::String(kind)),
                State::Hex(kind, left) if byte.is_ascii_hexdigit() => Some(State::Hex(kind, left - 1)),
                State::Hex(..) => None,
                State::Word([only]) if byte == *only => Some(State::AfterValue),
                State::Word([first, rest @ ..]) if byte == *first => Some(State::Word(rest)),
                State::Word(_) => None,
                State::Number(number) => match number.next(byte) {
                    Some(next) => {
                        if next.may_end() && next != Number::Zero {
                            // More digits change nothing. This loop saves a quarter of the time for numbers.
                            at += length_while(&slice[at + 1..], u8::is_ascii_digit);
                        }
                        Some(State::Number(next))
                    }
                    None if number.may_end() => {
                        // The byte does not belong to the number.
                        self.state = State::AfterValue;
                        continue;
                    }
                    None => None,
                },
                _ if is_space(&byte) => {
                    // This loop saves a quarter of the time for indented text.
                    at += length_while(&slice[at + 1..], is_space);
                    Some(self.state)
                }
                State::Value { or_end } => match byte {
                    b'"' => Some(State::String(StringKind::Value)),
                    b'{' => Some(self.open(Container::Object)?),
                    b'[' => Some(self.open(Container::Array)?),
                    b']' if or_end => Some(self.close()),
                    b'-' => Some(State::Number(Number::Minus)),
                    b'0' => Some(State::Number(Number::Zero)),
                    b'1'..=b'9' => Some(State::Number(Number::Integer)),
                    b't' => Some(State::Word(b"rue")),
                    b'f' => Some(State::Word(b"alse")),
                    b'n' => Some(State::Word(b"ull")),
                    _ => None,
                },
                State::Name { or_end } => match byte {
                    b'"' => Some(State::String(StringKind::Name)),
                    b'}' if or_end => Some(self.close()),
                    _ => None,
                },
                State::Colon => (byte == b':').then_some(State::Value { or_end: false }),
                State::AfterValue => match (byte, self.innermost()) {
                    (b',', Some(Container::Object)) => Some(State::Name { or_end: false }),
                    (b',', Some(Container::Array)) => Some(State::Value { or_end: false }),
                    (b'}', Some(Container::Object)) | (b']', Some(Container::Array)) => Some(self.close()),
                    _ => None,
                },
            };
            self.state = next.ok_or(Violation::At(at))?;
            at += 1;
        }
        Ok(())
    }

    /// Whether the text may end here.
    pub(super) fn is_complete(&self) -> bool {
        let is_value_complete = match self.state {
            State::AfterValue => true,
            State::Number(number) => number.may_end(),
            _ => false,
        };
        self.depth == 0 && is_value_complete
    }

    fn open(&mut self, container: Container) -> Result<State, Violation> {
        if self.depth == MAX_DEPTH {
            return Err(Violation::TooDeep);
        }
        self.depth += 1;
        self.kinds = self.kinds << 1 | container as u128;
        Ok(match container {
            Container::Array => State::Value { or_end: true },
            Container::Object => State::Name { or_end: true },
        })
    }

    fn close(&mut self) -> State {
        self.depth -= 1;
        self.kinds >>= 1;
        State::AfterValue
    }

    fn innermost(&self) -> Option<Container> {
        let kind = if self.kinds & 1 == 1 { Container::Object } else { Container::Array };
        (self.depth > 0).then_some(kind)
    }
}

impl StringKind {
    /// Returns the state after the closing quote.
    fn after(self) -> State {
        match self {
            Self::Name => State::Colon,
            Self::Value => State::AfterValue,
        }
    }
}

impl Number {
    /// Returns the state after `byte`, if it belongs to the number.
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => Self::ExponentDigits,
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits)
    }
}

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

fn length_while(text: &[u8], condition: impl Fn(&u8) -> bool) -> usize {
    text.iter().take_while(|byte| condition(byte)).count()
}

/// Returns how many bytes at the start of `text` are inside of a string and neither end it nor begin an escape. Most of
/// a large body is one long string. The loop tests whole blocks, so that compilers can vectorise it.
///
/// A function of its own: inside of the state machine, some builds had no vector instructions and took five times as long.
#[inline(never)]
fn plain_length(text: &[u8]) -> usize {
    let is_plain = |byte: &u8| (*byte >= b' ') & (*byte != b'"') & (*byte != b'\\');
    let (blocks, _) = text.as_chunks::<32>();
    let start =
        32 * blocks.iter().take_while(|block| block.iter().fold(true, |all, byte| all & is_plain(byte))).count();
    start + length_while(&text[start..], is_plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(slices: &[&[u8]]) -> Result<bool, Violation> {
        let mut grammar = Grammar::new();
        let mut before = 0;
        for slice in slices {
            grammar.read(slice).map_err(|violation| match violation {
                Violation::At(at) => Violation::At(before + at),
                Violation::TooDeep => Violation::TooDeep,
            })?;
            before += slice.len();
        }
        Ok(grammar.is_complete())
    }

    #[test]
    fn a_text_may_be_cut_anywhere() {
        let long = "x".repeat(100);
        let text = format!(r#" {{"a\u00e9\\":[-0.5e+10, 120,true ,false,null,{{}},[]],"{long}":"{long}\"{long}"}} "#);
        for at in 0..=text.len() {
            let (start, rest) = text.as_bytes().split_at(at);
            assert_eq!(read(&[start, rest]), Ok(true), "{at}");
            assert_eq!(read(&[start]), Ok(at >= text.len() - 1), "{at}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes), Ok(true));
    }

    #[test]
    fn the_first_wrong_byte_is_found() {
        for (text, at) in [
            ("[1,]", 3),
            ("[}", 1),
            ("{]", 1),
            ("{,}", 1),
            ("{\"a\",", 4),
            ("{\"a\":1,}", 7),
            ("01", 1),
            ("-x", 1),
            ("1.x", 2),
            ("1.5.", 3),
            ("1e+x", 3),
            ("1e5e", 3),
            ("+1", 0),
            (".5", 0),
            ("truE", 3),
            ("\"\\x\"", 2),
            ("\"\\u00g0\"", 5),
            ("\"\n\"", 1),
            ("1 2", 2),
            ("{}}", 2),
            ("\u{feff}1", 0),
        ] {
            assert_eq!(read(&[text.as_bytes()]), Err(Violation::At(at)), "{text}");
        }
    }

    #[test]
    fn a_text_that_ends_early_is_not_complete() {
        for text in [
            "", " ", "[", "{", "[1", "{\"a\"", "{\"a\":", "{\"a\":1", "\"", "\"\\", "\"\\u00", "-", "1.", "1e", "1e-",
            "tru",
        ] {
            assert_eq!(read(&[text.as_bytes()]), Ok(false), "{text}");
        }
    }

    proptest! {
        #[test]
        fn slices_give_the_same_result_as_the_whole_text(
            text in r#"[\[\]{},:"\\/u0-9eE+. truefalsn-]{0,60}"#,
            at in any::<prop::sample::Index>(),
        ) {
            let (start, rest) = text.as_bytes().split_at(at.index(text.len() + 1));
            prop_assert_eq!(read(&[start, rest]), read(&[text.as_bytes()]));
        }
    }
}
