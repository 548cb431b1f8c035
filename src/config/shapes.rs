//! The JSON Schema of each kind of value, for `jwe-gateway schema`.
//!
//! A schema accepts what the documentation describes, and refuses what its kind refuses by form. What needs more than a
//! pattern is left to `check`: files, and settings that depend on each other.
//!
//! The patterns use neither look-around nor back references, so that every engine accepts them.

use serde_json::{Value, json};

/// Nothing: the value does not come from the file.
pub(super) fn nothing() -> Value {
    json!(false)
}

pub(super) fn duration() -> Value {
    let pattern = r"^([0-9]+(\.[0-9]+)? ?(h|m|s|ms) ?)+$";
    json!({ "type": "string", "pattern": pattern, "examples": ["30s", "1m30s", "500ms"] })
}

pub(super) fn deadline() -> Value {
    let mut schema = duration();
    schema["allOf"] = json!([{ "pattern": "[1-9]" }]);
    schema
}

/// `max` in bytes.
pub(super) fn size(max: u64) -> Value {
    let text = json!({
        "type": "string",
        "pattern": "^0*[1-9][0-9]* ?(B|KiB|MiB|GiB)?$",
        "examples": ["32MiB", "64KiB", "1GiB"],
    });
    json!({ "anyOf": [text, { "type": "integer", "minimum": 1, "maximum": max }] })
}

pub(super) fn count(max: u64) -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": max })
}

pub(super) fn sample_ratio() -> Value {
    json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 })
}

const SOCKET_ADDRESS: &str = r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$";

pub(super) fn address() -> Value {
    json!({ "type": "string", "pattern": SOCKET_ADDRESS, "examples": ["127.0.0.1:8080", "[::1]:8080"] })
}

pub(super) fn listen_address() -> Value {
    let unix = "^unix:.*[^/]$";
    json!({ "type": "string", "anyOf": [{ "pattern": SOCKET_ADDRESS }, { "pattern": unix }] })
}

/// Permission bits in octal.
pub(super) fn file_mode() -> Value {
    json!({ "type": "string", "pattern": "^0?[0-7]{3}$" })
}

pub(super) fn url() -> Value {
    json!({ "type": "string", "pattern": r"^https?://[^\s\\#/?]+[^\s\\#]*$" })
}

/// A URL without a query.
pub(super) fn base_url() -> Value {
    json!({ "type": "string", "pattern": r"^https?://[^\s\\#/?]+[^\s\\#?]*$" })
}

pub(super) fn boolean() -> Value {
    json!({ "type": "boolean" })
}

pub(super) fn text() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

pub(super) fn any_text() -> Value {
    json!({ "type": "string" })
}

pub(super) fn name() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9._:-]+$" })
}

pub(super) fn prefix() -> Value {
    json!({ "type": "string", "pattern": r"^(/|(/[^/?#%\\*;\s]+)+)$" })
}

pub(super) fn header_name() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" })
}

pub(super) fn texts() -> Value {
    json!({ "type": "array", "items": text() })
}

pub(super) fn host_names() -> Value {
    json!({ "type": "array", "items": { "type": "string", "pattern": "^[^:/]+$" } })
}

/// `METHOD /path`.
pub(super) fn rules() -> Value {
    let rule = json!({ "type": "string", "pattern": r"^(\*|[A-Z]+) /[^?#%\\\s]*$" });
    json!({ "type": "array", "items": rule })
}

/// Statuses from 400 to 499 except 401.
pub(super) fn refusals() -> Value {
    json!({ "type": "array", "items": { "type": "integer", "minimum": 400, "maximum": 499, "not": { "const": 401 } } })
}

/// A table of texts.
pub(super) fn members() -> Value {
    json!({ "type": "object", "additionalProperties": any_text() })
}

/// Tables of JSON Pointers, each with a text or `{ except = [...] }`.
pub(super) fn ordinary_refusals() -> Value {
    let except = json!({
        "type": "object",
        "properties": { "except": texts() },
        "required": ["except"],
        "additionalProperties": false,
    });
    let table = json!({
        "type": "object",
        "minProperties": 1,
        "patternProperties": { "^/([^~]|~[01])*$": { "anyOf": [any_text(), except] } },
        "additionalProperties": false,
    });
    json!({ "type": "array", "items": table })
}

/// One of the words of `choices`.
pub(super) fn words<T>(choices: &[(&str, T)]) -> Value {
    json!({ "enum": choices.iter().map(|(word, _)| *word).collect::<Vec<_>>() })
}
