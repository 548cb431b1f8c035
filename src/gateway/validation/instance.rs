//! Trees, as jsonschema reads them.
//!
//! jsonschema has two passes. The first says whether a body is valid, and most bodies are. The second collects all errors
//! before it returns the first of them, and each error has the names on the way to its place.
//!
//! The hard case is a body with many errors below a long name: 50,000 errors below a name of 1 MiB would take 50 GiB. So
//! the second pass sees names that are cut at [`MAX_NAME`], and after [`MAX_ERRORS`] errors every array and object looks
//! empty to it. The errors before that are not affected.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::ControlFlow;

use jsonschema::json::{Array, Json, JsonNumber, Node, NodeIdentity, Object};
use jsonschema::{JsonType, ValidationError, Validator};
use serde_json::{Number, Value};

use super::tree::{Member, Text, Tree};

/// The errors of one body that are collected. Many have the same pointer and rule, so more are collected than are kept.
const MAX_ERRORS: usize = 200;

/// The bytes of a member's name in the place of an error. No documented name is longer.
const MAX_NAME: usize = 100;

pub(super) fn is_valid(schema: &Validator<Trees>, tree: &Tree<'_>) -> bool {
    schema.is_valid(Instance { tree, errors_left: None })
}

/// Calls `read` with the errors of a tree, about [`MAX_ERRORS`] at most.
pub(super) fn with_errors<T>(
    schema: &Validator<Trees>,
    tree: &Tree<'_>,
    read: impl FnOnce(&mut dyn Iterator<Item = ValidationError<'_>>) -> T,
) -> T {
    let errors_left = Cell::new(MAX_ERRORS);
    read(&mut schema.iter_errors(Instance { tree, errors_left: Some(&errors_left) }))
}

/// The beginning of a name, as the place of an error has it.
pub(super) fn cut(name: &str) -> &str {
    let end = (0..=MAX_NAME.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    &name[..end.unwrap_or_default()]
}

/// Trees, as instances of jsonschema.
pub(super) struct Trees;

/// A value of a tree, in one of the passes.
#[derive(Clone, Copy)]
pub(super) struct Instance<'a> {
    tree: &'a Tree<'a>,
    /// In the pass that collects errors.
    errors_left: Option<&'a Cell<usize>>,
}

impl<'a> Instance<'a> {
    fn at(self, tree: &'a Tree<'a>) -> Self {
        Self { tree, ..self }
    }

    fn has_enough_errors(self) -> bool {
        self.errors_left.is_some_and(|left| left.get() == 0)
    }
}

impl Json for Trees {
    type Node<'a> = Instance<'a>;
    type PreparedKey = Box<str>;
    type StringBuffer = ();

    const KEYS_PER_LOOKUP: usize = 4;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> Box<str> {
        key.into()
    }

    fn with_string_node<T>((): &mut (), string: &str, f: impl FnOnce(Self::Node<'_>) -> T) -> T {
        f(Instance { tree: &Tree::String(Text::Slice(string)), errors_left: None })
    }
}

/// A number as it is written.
pub(super) struct Written<'a>(pub(super) &'a str);

impl JsonNumber for Written<'_> {
    fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// Infinite for a number beyond `f64`, so that it is above every maximum.
    fn as_f64(&self) -> Option<f64> {
        self.0.parse().ok()
    }

    fn as_str(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.0)
    }

    fn to_number(&self) -> Cow<'_, Number> {
        let largest = || if self.0.starts_with('-') { Number::from(i64::MIN) } else { Number::from(u64::MAX) };
        Cow::Owned(self.0.parse().unwrap_or_else(|_| largest()))
    }

    fn is_integer(&self) -> bool {
        let is_digits = !self.0.contains(['.', 'e', 'E']);
        // A number beyond `f64` has a large exponent, so it is whole.
        is_digits || self.as_f64().is_some_and(|number| number.is_infinite() || number.fract() == 0.0)
    }
}

impl<'a> Node<'a, Trees> for Instance<'a> {
    type Object = Members<'a>;
    type Array = Items<'a>;
    type Number = Written<'a>;

    fn as_object(&self) -> Option<Members<'a>> {
        match self.tree {
            Tree::Object(members) if !self.has_enough_errors() => Some(Members { object: *self, members }),
            _ => None,
        }
    }

    fn as_array(&self) -> Option<Items<'a>> {
        match self.tree {
            Tree::Array(items) if !self.has_enough_errors() => Some(Items { array: *self, items }),
            _ => None,
        }
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        if let Tree::String(text) = self.tree { Some(Cow::Borrowed(text)) } else { None }
    }

    fn as_number(&self) -> Option<Written<'a>> {
        if let Tree::Number(text) = self.tree { Some(Written(text)) } else { None }
    }

    fn as_boolean(&self) -> Option<bool> {
        if let Tree::Bool(value) = self.tree { Some(*value) } else { None }
    }

    fn is_null(&self) -> bool {
        matches!(self.tree, Tree::Null)
    }

    fn json_type(&self) -> JsonType {
        match self.tree {
            Tree::Null => JsonType::Null,
            Tree::Bool(_) => JsonType::Boolean,
            Tree::Number(_) => JsonType::Number,
            Tree::String(_) => JsonType::String,
            Tree::Array(_) => JsonType::Array,
            Tree::Object(_) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        equals(self.tree, expected)
    }

    /// Null, because no code reads the values of errors. jsonschema calls this once for each error, and for nothing else:
    /// the other uses are replaced above and below.
    fn to_value(&self) -> Cow<'a, Value> {
        if let Some(left) = self.errors_left {
            left.set(left.get().saturating_sub(1));
        }
        Cow::Owned(Value::Null)
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref(self.tree).addr()))
    }
}

/// Numbers are compared by their values.
pub(super) fn equals(tree: &Tree<'_>, expected: &Value) -> bool {
    match (tree, expected) {
        (Tree::Null, Value::Null) => true,
        (Tree::Bool(one), Value::Bool(other)) => one == other,
        (Tree::String(one), Value::String(other)) => **one == **other,
        (Tree::Number(one), Value::Number(other)) => jsonschema::json::cmp::equal_numbers(&Written(one), other),
        (Tree::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equals(one, other))
        }
        (Tree::Object(one), Value::Object(other)) => {
            let is_same = |(name, value): &Member<'_>| other.get(&**name).is_some_and(|other| equals(value, other));
            one.len() == other.len() && one.iter().all(is_same)
        }
        _ => false,
    }
}

pub(super) struct Members<'a> {
    object: Instance<'a>,
    members: &'a [Member<'a>],
}

impl<'a> Object<'a, Trees> for Members<'a> {
    type Node = Instance<'a>;
    type MemberName = &'a str;
    type MembersIter = MembersIter<'a>;

    fn len(&self) -> usize {
        self.members.len()
    }

    fn get(&self, key: &Box<str>) -> Option<Instance<'a>> {
        self.members.iter().find(|(name, _)| **name == **key).map(|(_, value)| self.object.at(value))
    }

    fn members(&self) -> MembersIter<'a> {
        MembersIter { object: self.object, members: self.members.iter() }
    }

    fn try_for_each_name_node<B>(
        &self,
        (): &mut (),
        mut f: impl FnMut(Instance<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.members().try_for_each(|(name, _)| {
            f(Instance { tree: &Tree::String(Text::Slice(name)), errors_left: self.object.errors_left })
        })
    }
}

pub(super) struct MembersIter<'a> {
    object: Instance<'a>,
    members: std::slice::Iter<'a, Member<'a>>,
}

impl<'a> Iterator for MembersIter<'a> {
    type Item = (&'a str, Instance<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.object.has_enough_errors() {
            return None;
        }
        let (name, value) = self.members.next()?;
        let name = if self.object.errors_left.is_some() { cut(name) } else { name };
        Some((name, self.object.at(value)))
    }
}

pub(super) struct Items<'a> {
    array: Instance<'a>,
    items: &'a [Tree<'a>],
}

impl<'a> Array<'a, Trees> for Items<'a> {
    type Node = Instance<'a>;
    type ElementsIter = ItemsIter<'a>;

    fn len(&self) -> usize {
        self.items.len()
    }

    fn elements(&self) -> ItemsIter<'a> {
        ItemsIter { array: self.array, items: self.items.iter() }
    }

    fn is_unique(&self) -> bool {
        let values: Vec<_> = self.items.iter().map(Tree::to_json).collect();
        jsonschema::json::unique::is_unique(&values)
    }
}

pub(super) struct ItemsIter<'a> {
    array: Instance<'a>,
    items: std::slice::Iter<'a, Tree<'a>>,
}

impl<'a> Iterator for ItemsIter<'a> {
    type Item = Instance<'a>;

    fn next(&mut self) -> Option<Instance<'a>> {
        if self.array.has_enough_errors() { None } else { self.items.next().map(|item| self.array.at(item)) }
    }
}

#[cfg(test)]
mod tests {
    use jsonschema::error::ValidationErrorKind;
    use serde_json::json;

    use super::super::tree::parse;
    use super::*;

    #[test]
    fn jsonschema_reads_a_tree() {
        let schema = json!({
            "type": "object",
            "required": ["a"],
            "properties": { "a": { "type": "integer", "maximum": 5 }, "b": { "enum": ["x", 1.5] } },
        });
        let validator = jsonschema::options_for::<Trees>().build(&schema).unwrap();
        for (text, expected) in [
            (r#"{"a":1}"#, true),
            (r#"{"a":1.0,"b":15e-1,"c":{}}"#, true),
            (r#"{"a":1e400}"#, false),
            (r#"{"a":-1e400}"#, true),
            (r#"{"a":1,"b":"y"}"#, false),
            ("{}", false),
        ] {
            assert_eq!(is_valid(&validator, &parse(text).unwrap().tree), expected, "{text}");
        }
    }

    #[test]
    fn a_number_beyond_f64_is_infinite_and_whole() {
        let number = |text| Written(text);
        assert!(number("1e400").is_integer() && number("1e400").as_f64() == Some(f64::INFINITY));
        assert!(number("-1e400").as_f64() == Some(f64::NEG_INFINITY));
        assert!(number("1.0").is_integer() && number("1e2").is_integer() && !number("1.5").is_integer());
        assert!(number("123456789012345678901234567890").is_integer());
    }

    #[test]
    fn the_errors_of_a_body_and_the_names_in_them_are_bounded() {
        let strings = json!({ "type": "array", "items": { "anyOf": [{ "type": "string" }, { "type": "null" }] } });
        let nested = json!({ "$ref": "#/$defs/T", "$defs": { "T": { "anyOf": [
            { "required": ["b"], "properties": { "a": { "$ref": "#/$defs/T" } } },
            { "required": ["c"], "properties": { "a": { "$ref": "#/$defs/T" } } },
        ] } } });
        let name = "é".repeat(100_000);
        let many = format!("{{\"{name}\":[{}]}}", vec!["7"; 40_000].join(","));
        let deep = format!("{}{{}}{}", "{\"a\":".repeat(100), "}".repeat(100));
        for (schema, text) in [
            (json!({ "additionalProperties": strings }), &many),
            (json!({ "additionalProperties": { "anyOf": [strings, { "type": "object" }] } }), &many),
            (json!({ "propertyNames": { "maxLength": 3 } }), &many),
            (nested, &deep),
        ] {
            let validator = jsonschema::options_for::<Trees>().build(&schema).unwrap();
            let parsed = parse(text).unwrap();
            assert!(!is_valid(&validator, &parsed.tree));
            with_errors(&validator, &parsed.tree, |errors| {
                let (mut number, mut bytes) = (0, 0);
                for error in errors {
                    add_size(&error, &mut number, &mut bytes);
                }
                assert!((1..2 * MAX_ERRORS).contains(&number), "{number} {schema}");
                assert!(bytes < 100 * 1024, "{bytes} {schema}");
            });
        }
    }

    fn add_size(error: &ValidationError<'_>, number: &mut usize, bytes: &mut usize) {
        *number += 1;
        *bytes += error.instance_path().as_str().len();
        if let ValidationErrorKind::AnyOf { context } = error.kind() {
            context.iter().flatten().for_each(|error| add_size(error, number, bytes));
        }
    }
}
