//! A body as a tree that borrows its text.
//!
//! jsonschema reads instances through its traits, so a body is not copied: a string is a slice of the text unless it
//! has escapes, and a number stays text, also `1e400`. A lone surrogate escape becomes U+FFFD. The copy of a string with
//! escapes is not longer than its text, and is wiped.
//!
//! The hard case is a small text with very many values: `[1,1,1,...]` of 20 MiB would take a gigabyte as a tree. So a tree
//! has at most [`MAX_VALUES`] values.
//!
//! The text was checked to be JSON, and to nest at most 128 levels deep, before it gets here. The reader relies on that
//! for nothing but the depth of its recursion: a text that is not JSON has no tree.
//!
//! Rejected: `serde_json::Value`. It copies each string, so a letter would be in memory twice, it keeps only the last of
//! two members with one name, and it refuses numbers beyond `f64`.

use std::collections::HashSet;
use std::ops::Deref;

use jsonschema::json::JsonNumber as _;
use memchr::{memchr, memchr2, memchr3_iter};
use serde_json::{Number, Value};
use zeroize::Zeroizing;

use super::instance::Written;

/// The values of a tree. No documented request comes near it.
pub(super) const MAX_VALUES: usize = 50_000;

/// An upper limit for the memory of one value: an array or object with one member has space for four.
pub(super) const BYTES_PER_VALUE: usize = 160;

/// Objects with at most this many members are searched for duplicates without a hash table.
const FEW_MEMBERS: usize = 16;

/// One JSON value.
#[derive(Debug)]
pub(super) enum Tree<'t> {
    Null,
    Bool(bool),
    /// As it is written.
    Number(&'t str),
    String(Text<'t>),
    Array(Vec<Self>),
    /// In the order of the text. A name can occur twice.
    Object(Vec<Member<'t>>),
}

pub(super) type Member<'t> = (Text<'t>, Tree<'t>);

/// A string without its escapes.
#[derive(Debug)]
pub(super) enum Text<'t> {
    Slice(&'t str),
    Copy(Zeroizing<String>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Slice(text) => text,
            Self::Copy(text) => text,
        }
    }
}

/// A tree, and whether a name occurs twice in one of its objects.
#[derive(Debug)]
pub(super) struct Parsed<'t> {
    pub tree: Tree<'t>,
    pub has_duplicates: bool,
}

/// Why a text has no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTree {
    /// More than [`MAX_VALUES`].
    TooManyValues,
    NotJson,
}

/// Reads a text that is known to be JSON.
pub(super) fn parse(text: &str) -> Result<Parsed<'_>, NoTree> {
    let mut reader = Reader { text, at: 0, values_left: MAX_VALUES, has_duplicates: false };
    let tree = reader.value()?;
    Ok(Parsed { tree, has_duplicates: reader.has_duplicates })
}

/// An upper limit for the memory of the tree of `text`, in a fraction of the time that it takes to parse it. None if the text
/// may have more than [`MAX_VALUES`] values.
pub(super) fn most_memory(text: &[u8]) -> Option<usize> {
    // Each value but the first follows a comma, or is the first of an array or object.
    let values = 1 + memchr3_iter(b',', b'[', b'{', text).count();
    let copies = if memchr(b'\\', text).is_some() { text.len() } else { 0 };
    (values <= MAX_VALUES).then_some(values * BYTES_PER_VALUE + copies)
}

impl Tree<'_> {
    /// A number, if `text` is one as JSON writes it.
    pub(super) fn number(text: &str) -> Option<Tree<'_>> {
        serde_json::from_str::<Number>(text).is_ok().then_some(Tree::Number(text))
    }

    /// A copy.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(text) => Value::Number(Written(text).to_number().into_owned()),
            Self::String(text) => Value::String(text.to_string()),
            Self::Array(items) => items.iter().map(Self::to_json).collect(),
            Self::Object(members) => {
                Value::Object(members.iter().map(|(name, value)| (name.to_string(), value.to_json())).collect())
            }
        }
    }
}

/// Whether a name occurs twice among `members`.
fn has_duplicates(members: &[Member<'_>]) -> bool {
    if members.len() <= FEW_MEMBERS {
        let is_repeated =
            |(index, (name, _)): (usize, &Member<'_>)| members[..index].iter().any(|(one, _)| **one == **name);
        return members.iter().enumerate().any(is_repeated);
    }
    let mut names = HashSet::with_capacity(members.len());
    members.iter().any(|(name, _)| !names.insert(&**name))
}

/// The position of the first quote or backslash. A vectorised search has a start that short names need not pay.
fn end_of_plain(bytes: &[u8]) -> Option<usize> {
    const SHORT: usize = 16;
    let is_end = |byte: &u8| matches!(byte, b'"' | b'\\');
    let in_short = bytes.iter().take(SHORT).position(is_end);
    in_short.or_else(|| memchr2(b'"', b'\\', bytes.get(SHORT..)?).map(|end| SHORT + end))
}

/// The position of the quote that ends the string.
fn end_of_string(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let end = at + end_of_plain(bytes.get(at..)?)?;
        if bytes[end] == b'"' {
            return Some(end);
        }
        at = end + 2;
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    values_left: usize,
    has_duplicates: bool,
}

impl<'t> Reader<'t> {
    fn value(&mut self) -> Result<Tree<'t>, NoTree> {
        self.values_left = self.values_left.checked_sub(1).ok_or(NoTree::TooManyValues)?;
        match self.next_token()? {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => Ok(Tree::String(self.string()?)),
            b't' => self.word("true", Tree::Bool(true)),
            b'f' => self.word("false", Tree::Bool(false)),
            b'n' => self.word("null", Tree::Null),
            _ => self.number(),
        }
    }

    fn object(&mut self) -> Result<Tree<'t>, NoTree> {
        self.at += 1;
        let mut members = Vec::new();
        if self.next_token()? == b'}' {
            self.at += 1;
            return Ok(Tree::Object(members));
        }
        loop {
            if self.next_token()? != b'"' {
                return Err(NoTree::NotJson);
            }
            let name = self.string()?;
            self.expect(b':')?;
            members.push((name, self.value()?));
            if self.ends(b'}')? {
                self.has_duplicates |= has_duplicates(&members);
                return Ok(Tree::Object(members));
            }
        }
    }

    fn array(&mut self) -> Result<Tree<'t>, NoTree> {
        self.at += 1;
        let mut items = Vec::new();
        if self.next_token()? == b']' {
            self.at += 1;
            return Ok(Tree::Array(items));
        }
        loop {
            items.push(self.value()?);
            if self.ends(b']')? {
                return Ok(Tree::Array(items));
            }
        }
    }

    /// Whether the next token is `end`, not a comma.
    fn ends(&mut self, end: u8) -> Result<bool, NoTree> {
        let token = self.next_token()?;
        self.at += 1;
        match token {
            b',' => Ok(false),
            token if token == end => Ok(true),
            _ => Err(NoTree::NotJson),
        }
    }

    fn expect(&mut self, token: u8) -> Result<(), NoTree> {
        let found = self.next_token()?;
        self.at += 1;
        if found == token { Ok(()) } else { Err(NoTree::NotJson) }
    }

    /// The first byte of the next token. It is not consumed.
    fn next_token(&mut self) -> Result<u8, NoTree> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(NoTree::NotJson),
            }
        }
    }

    fn word(&mut self, word: &str, value: Tree<'t>) -> Result<Tree<'t>, NoTree> {
        let rest = self.text.get(self.at..).ok_or(NoTree::NotJson)?;
        self.at += word.len();
        if rest.starts_with(word) { Ok(value) } else { Err(NoTree::NotJson) }
    }

    fn number(&mut self) -> Result<Tree<'t>, NoTree> {
        let rest = self.text.get(self.at..).ok_or(NoTree::NotJson)?;
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = rest.bytes().take_while(is_part).count();
        self.at += length;
        if length == 0 { Err(NoTree::NotJson) } else { Ok(Tree::Number(&rest[..length])) }
    }

    /// The string that begins here.
    fn string(&mut self) -> Result<Text<'t>, NoTree> {
        let start = self.at + 1;
        let rest = self.text.get(start..).ok_or(NoTree::NotJson)?;
        let end = end_of_plain(rest.as_bytes()).ok_or(NoTree::NotJson)?;
        if rest.as_bytes()[end] == b'"' {
            self.at = start + end + 1;
            return Ok(Text::Slice(&rest[..end]));
        }
        // No character is longer than its escape, so the copy never grows and leaves no other copy behind.
        let written = end_of_string(rest.as_bytes()).ok_or(NoTree::NotJson)?;
        let mut text = Zeroizing::new(String::with_capacity(written));
        self.at = start;
        loop {
            let rest = self.text.get(self.at..).ok_or(NoTree::NotJson)?;
            let end = end_of_plain(rest.as_bytes()).ok_or(NoTree::NotJson)?;
            text.push_str(&rest[..end]);
            self.at += end + 1;
            if rest.as_bytes()[end] == b'"' {
                return Ok(Text::Copy(text));
            }
            text.push(self.escape()?);
        }
    }

    /// The character of the escape that begins after the backslash.
    fn escape(&mut self) -> Result<char, NoTree> {
        let byte = self.text.as_bytes().get(self.at).ok_or(NoTree::NotJson)?;
        self.at += 1;
        Ok(match byte {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.unicode_escape()?,
            b'"' | b'\\' | b'/' => char::from(*byte),
            _ => return Err(NoTree::NotJson),
        })
    }

    fn unicode_escape(&mut self) -> Result<char, NoTree> {
        let unit = self.code_unit()?;
        if !(0xd800..0xdc00).contains(&unit) {
            return Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let after_first = self.at;
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with("\\u")) {
            self.at += 2;
            let low = self.code_unit()?;
            if (0xdc00..0xe000).contains(&low) {
                let code_point = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code_point).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        self.at = after_first;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn code_unit(&mut self) -> Result<u32, NoTree> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(NoTree::NotJson)?;
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| NoTree::NotJson)
    }
}

#[cfg(test)]
mod tests {
    use super::super::instance::equals;
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str) -> Value {
        parse(text).unwrap().tree.to_json()
    }

    #[test]
    fn a_string_is_a_slice_of_the_text_unless_it_has_escapes() {
        let parsed = parse(r#" ["plain é", "a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00b", ""] "#).unwrap();
        let Tree::Array(items) = &parsed.tree else { panic!() };
        assert!(matches!(&items[0], Tree::String(Text::Slice("plain é"))));
        let Tree::String(Text::Copy(copy)) = &items[1] else { panic!() };
        assert_eq!(&**copy, "a\"\\/\u{8}\u{c}\n\r\té😀b");
        assert_eq!(copy.capacity(), r#"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00b"#.len(), "it has not grown");
        assert!(matches!(&items[2], Tree::String(Text::Slice(""))));
    }

    #[test]
    fn a_text_that_serde_json_refuses_has_a_tree_too() {
        for text in [r#""\ud800""#, r#""\udc00x""#, r#""\ud800\ud800""#, r#""\ud800\u0041""#] {
            assert!(value(text).as_str().unwrap().starts_with('\u{fffd}'), "{text}");
        }
        assert!(matches!(parse("1e400").unwrap().tree, Tree::Number("1e400")));
    }

    #[test]
    fn two_members_with_one_name_are_noticed_also_with_escapes_and_in_large_objects() {
        let many = |last: &str| {
            let members: Vec<_> = (0..100).map(|index| format!("\"m{index}\":1")).collect();
            format!("{{{},\"{last}\":2}}", members.join(","))
        };
        for (text, has_duplicates) in [
            (r#"{"a":1,"b":{"a":2}}"#.to_owned(), false),
            (r#"{"a":1,"b":1,"a":2}"#.to_owned(), true),
            (r#"[{"x":{"a":1,"\u0061":2}}]"#.to_owned(), true),
            (many("m100"), false),
            (many("m7"), true),
        ] {
            assert_eq!(parse(&text).unwrap().has_duplicates, has_duplicates, "{text}");
        }
    }

    #[test]
    fn a_tree_has_a_limit_and_a_text_that_is_not_json_has_none() {
        let list = |items: usize| format!("[{}]", vec!["1"; items].join(","));
        assert_eq!(most_memory(list(7).as_bytes()), Some(8 * BYTES_PER_VALUE));
        let text = br#"{"a":[],"b":{"c":"x,y"}}"#;
        assert_eq!(most_memory(text), Some(6 * BYTES_PER_VALUE), "4 values, and two that are not there");
        assert_eq!(most_memory(br#""\/""#), Some(BYTES_PER_VALUE + 4), "and a copy of the string");
        assert_eq!(most_memory(list(MAX_VALUES).as_bytes()), None);
        assert!(parse(&list(MAX_VALUES - 1)).is_ok());
        assert_eq!(parse(&list(MAX_VALUES)).unwrap_err(), NoTree::TooManyValues);
        for text in
            ["", " ", "{", "[1", "{\"a\"", "{\"a\":", "\"a", "\"\\", "\"\\u12", "tru", "nul", "+x", "{1:2}", "[1}"]
        {
            let _ = parse(text);
        }
        assert_eq!(parse("{a:1}").unwrap_err(), NoTree::NotJson);
    }

    #[test]
    fn one_value_takes_no_more_memory_than_is_counted_for_it() {
        // Two values: an object with a vector for four members, and its one member.
        assert!(size_of::<Tree<'_>>() * 2 + 4 * size_of::<Member<'_>>() <= 2 * BYTES_PER_VALUE);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,10}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((".{0,4}", inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_tree_is_what_serde_json_reads(value in any_value()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let parsed = parse(&text).unwrap();
                let same: Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(parsed.tree.to_json(), same.clone());
                prop_assert!(equals(&parsed.tree, &same));
                prop_assert!(!parsed.has_duplicates);
            }
        }
    }
}
