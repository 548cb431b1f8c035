//! Values of settings: how they are parsed and printed.
//!
//! A value in the file has a type; a value of a flag or a variable is text. A [`Kind`] parses both. A message
//! repeats the value only if its kind cannot contain a secret: never a URL, which can contain a password, and
//! never free text.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use jiff::fmt::friendly::{SpanParser, SpanPrinter};
use toml::de::DeValue;
use url::Url;

use super::shapes;
use crate::gateway::access_log::SampleRatio;

/// A value before it is parsed.
pub(super) enum Raw<'a> {
    /// The text of a flag or a variable.
    Given(&'a str),
    /// A value in the file.
    Written(&'a DeValue<'a>),
}

/// How a setting of type `T` is parsed, printed and described.
pub(super) struct Kind<T> {
    pub(super) parse: fn(&Raw<'_>) -> Result<T, String>,
    pub(super) show: fn(&T) -> String,
    /// The JSON Schema of its values in the file.
    pub(super) schema: fn() -> serde_json::Value,
}

/// One year. A longer duration is a typing error, and could overflow when it is added to a time.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// 1 TiB: more than the memory of any gateway.
const MAX_SIZE: u64 = 1 << 40;

/// More connections or requests than one process can serve.
const MAX_COUNT: u64 = 1_000_000;

/// A duration that may be zero.
pub(super) const DURATION: Kind<Duration> = Kind { parse: duration, show: show_duration, schema: shapes::duration };
/// A duration above zero. A timeout of zero would refuse every request; an interval of zero would loop.
pub(super) const DEADLINE: Kind<Duration> = Kind { parse: deadline, show: show_duration, schema: shapes::deadline };
/// A number of bytes above zero.
pub(super) const SIZE: Kind<usize> = Kind { parse: size, show: show_size, schema: || shapes::size(MAX_SIZE) };
/// A whole number above zero.
pub(super) const COUNT: Kind<usize> =
    Kind { parse: count, show: usize::to_string, schema: || shapes::count(MAX_COUNT) };
/// A number above 0, and at most 1.
pub(super) const SAMPLE_RATIO: Kind<SampleRatio> =
    Kind { parse: sample_ratio, show: |ratio| ratio.value().to_string(), schema: shapes::sample_ratio };
/// An IP address and a port.
pub(super) const ADDRESS: Kind<SocketAddr> =
    Kind { parse: address, show: SocketAddr::to_string, schema: shapes::address };
/// An http or https URL without user, password or fragment.
pub(super) const URL: Kind<Url> = Kind { parse: url, show: show_url, schema: shapes::url };
/// The same without a query, because paths are appended to it.
pub(super) const BASE_URL: Kind<Url> = Kind { parse: base_url, show: show_url, schema: shapes::base_url };
/// `true` or `false`.
pub(super) const BOOL: Kind<bool> = Kind { parse: boolean, show: bool::to_string, schema: shapes::boolean };
/// A path, relative to the working directory.
pub(super) const PATH: Kind<PathBuf> =
    Kind { parse: path, show: |path| path.display().to_string(), schema: shapes::text };
/// Text with at least one character and no control characters.
pub(super) const TEXT: Kind<String> = Kind { parse: text, show: String::clone, schema: shapes::text };
/// The same, or empty text.
pub(super) const ANY_TEXT: Kind<String> =
    Kind { parse: any_text, show: |text| format!("{text:?}"), schema: shapes::any_text };
/// A name, as it is used in log lines and metric labels.
pub(super) const NAME: Kind<String> = Kind { parse: name, show: String::clone, schema: shapes::name };
/// Several texts.
pub(super) const TEXTS: Kind<Vec<String>> =
    Kind { parse: texts, show: |texts| format!("{texts:?}"), schema: shapes::texts };
/// Statuses from 400 to 499 except 401, which is about the credential.
pub(super) const REFUSALS: Kind<Vec<StatusCode>> =
    Kind { parse: refusals, show: |statuses| show_statuses(statuses), schema: shapes::refusals };
/// A table of texts. Only the names are printed, because a value may be a secret.
pub(super) const MEMBERS: Kind<Vec<(String, String)>> =
    Kind { parse: members, show: |members| show_names(members), schema: shapes::members };

/// Parses one of the words of `choices`.
pub(super) fn one_of<T: Copy>(raw: &Raw<'_>, choices: &[(&str, T)]) -> Result<T, String> {
    let text = raw.text()?;
    if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*choice);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let known = words.join(", ");
    Err(match closest(text, words.iter().copied()) {
        Some(word) => format!("{text:?} is not one of {known}; did you mean {word:?}?"),
        None => format!("{text:?} is not one of {known}"),
    })
}

/// The word for `choice`.
pub(super) fn word<T: PartialEq>(choices: &[(&str, T)], choice: T) -> String {
    let found = choices.iter().find(|(_, candidate)| *candidate == choice);
    found.map(|(word, _)| (*word).to_owned()).unwrap_or_default()
}

/// The candidate that `word` most likely misspells: at most two edits away, and not more than half of it.
/// An edit adds, removes or changes a letter, or swaps two neighbours.
pub(super) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= 2 && edits * 2 <= candidate.chars().count())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

impl Raw<'_> {
    pub(super) fn text(&self) -> Result<&str, String> {
        match self {
            Self::Given(text) => Ok(text),
            Self::Written(DeValue::String(text)) => Ok(text),
            Self::Written(other) => Err(unexpected("text in quotes", other)),
        }
    }
}

pub(super) fn unexpected(wanted: &str, found: &DeValue<'_>) -> String {
    let found = match found {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    format!("expected {wanted}, found {found}")
}

fn duration(raw: &Raw<'_>) -> Result<Duration, String> {
    if let Raw::Written(DeValue::Integer(number)) = raw {
        return Err(bare_number(number.as_str()));
    }
    let text = raw.text()?;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bare_number(text));
    }
    let duration = SpanParser::new()
        .parse_unsigned_duration(text)
        .map_err(|_| format!("{text:?} is not a duration: use the units h, m, s and ms, such as \"1m30s\""))?;
    if duration > MAX_DURATION {
        return Err(format!("{text:?} is longer than the maximum of one year"));
    }
    Ok(duration)
}

fn bare_number(number: &str) -> String {
    format!("{number} has no unit: write \"{number}s\" for seconds, or ms, m, h")
}

fn deadline(raw: &Raw<'_>) -> Result<Duration, String> {
    let duration = duration(raw)?;
    if duration.is_zero() { Err("must be longer than 0s".into()) } else { Ok(duration) }
}

fn show_duration(duration: &Duration) -> String {
    SpanPrinter::new().unsigned_duration_to_string(duration)
}

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

fn size(raw: &Raw<'_>) -> Result<usize, String> {
    let written = match raw {
        Raw::Written(DeValue::Integer(number)) => number.to_string(),
        _ => raw.text()?.to_owned(),
    };
    let wrong = || format!("{written:?} is not a size: use bytes, KiB, MiB or GiB, such as \"32MiB\"");
    let bytes = if let Raw::Written(DeValue::Integer(number)) = raw {
        u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| wrong())?
    } else {
        let digits = written.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = written.split_at(digits);
        let unit = match unit.trim_start() {
            "" => 1,
            unit => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes).ok_or_else(wrong)?,
        };
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)?
    };
    within(bytes, MAX_SIZE, "1TiB")
}

fn show_size(bytes: &usize) -> String {
    let bytes = *bytes as u64;
    let whole = UNITS.iter().find(|(_, unit)| bytes.is_multiple_of(*unit));
    whole.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

fn count(raw: &Raw<'_>) -> Result<usize, String> {
    let number = match raw {
        Raw::Written(DeValue::Integer(number)) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        Raw::Written(other) => return Err(unexpected("a whole number", other)),
        Raw::Given(text) => text.parse().ok(),
    };
    within(number.ok_or("not a whole number above zero")?, MAX_COUNT, "1000000")
}

fn within(number: u64, max: u64, shown: &str) -> Result<usize, String> {
    match usize::try_from(number) {
        Ok(0) => Err("must be above zero".into()),
        Ok(fits) if number <= max => Ok(fits),
        _ => Err(format!("must not be above {shown}")),
    }
}

fn sample_ratio(raw: &Raw<'_>) -> Result<SampleRatio, String> {
    let text = match raw {
        Raw::Written(DeValue::Float(number)) => number.as_str(),
        Raw::Written(DeValue::Integer(number)) => number.as_str(),
        Raw::Written(other) => return Err(unexpected("a number such as 0.1", other)),
        Raw::Given(text) => text,
    };
    let ratio = text.parse().ok().and_then(SampleRatio::new);
    ratio.ok_or_else(|| format!("{text:?} is not a number above 0 and at most 1, such as 0.1"))
}

fn address(raw: &Raw<'_>) -> Result<SocketAddr, String> {
    let text = raw.text()?;
    if text.starts_with("unix:") {
        return Err("a unix socket is not possible here: use an IP address and a port".into());
    }
    text.parse().map_err(|_| format!("{text:?} is not an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080"))
}

fn url(raw: &Raw<'_>) -> Result<Url, String> {
    let text = raw.text()?;
    // The parser silently drops line breaks and tabs, and repairs other characters.
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("a URL must not contain spaces, line breaks or backslashes".into());
    }
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => "not a URL: it must begin with https:// or http://".to_owned(),
        other => format!("not a URL: {other}"),
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the URL must begin with https:// or http://".into());
    }
    if url.host().is_none() {
        return Err("the URL has no host".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL must not contain a user or a password: use [upstream.credentials]".into());
    }
    if url.fragment().is_some() {
        return Err("the URL must not have a fragment (#...), because fragments are never sent".into());
    }
    Ok(url)
}

fn base_url(raw: &Raw<'_>) -> Result<Url, String> {
    let url = url(raw)?;
    if url.query().is_some() {
        return Err("the provider's URL must not have a query (?...), because paths are appended to it".into());
    }
    Ok(url)
}

/// Without the query, which may contain a key.
fn show_url(url: &Url) -> String {
    let mut url = url.clone();
    let query = url.query().map_or("", |_| "?...");
    url.set_query(None);
    format!("{url}{query}")
}

fn boolean(raw: &Raw<'_>) -> Result<bool, String> {
    match raw {
        Raw::Written(DeValue::Boolean(value)) => Ok(*value),
        Raw::Written(other) => Err(unexpected("true or false without quotes", other)),
        Raw::Given("true" | "1") => Ok(true),
        Raw::Given("false" | "0") => Ok(false),
        Raw::Given(_) => Err("must be true or false".into()),
    }
}

fn path(raw: &Raw<'_>) -> Result<PathBuf, String> {
    text(raw).map(PathBuf::from)
}

fn text(raw: &Raw<'_>) -> Result<String, String> {
    let text = any_text(raw)?;
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text) }
}

fn any_text(raw: &Raw<'_>) -> Result<String, String> {
    let text = raw.text()?;
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".into());
    }
    Ok(text.to_owned())
}

fn texts(raw: &Raw<'_>) -> Result<Vec<String>, String> {
    match raw {
        Raw::Written(DeValue::Array(items)) => items.iter().map(|item| text(&Raw::Written(item.get_ref()))).collect(),
        Raw::Written(other) => Err(unexpected("an array of texts in quotes", other)),
        Raw::Given(text) => Ok(vec![(*text).to_owned()]),
    }
}

fn name(raw: &Raw<'_>) -> Result<String, String> {
    let name = raw.text()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err("a name consists of letters, digits, '.', '_', '-' and ':'".into());
    }
    Ok(name.to_owned())
}

fn refusals(raw: &Raw<'_>) -> Result<Vec<StatusCode>, String> {
    let Raw::Written(DeValue::Array(items)) = raw else {
        return Err("expected an array of statuses, such as [400]".into());
    };
    let status =
        |item: &DeValue<'_>| {
            let number = item.as_integer().and_then(|number| u16::from_str_radix(number.as_str(), number.radix()).ok());
            match number.and_then(|number| StatusCode::from_u16(number).ok()) {
                Some(StatusCode::UNAUTHORIZED) => {
                    Err("401 is about the credential, not about the key: remove it".to_owned())
                }
                Some(status) if status.is_client_error() => Ok(status),
                _ => Err("expected statuses from 400 to 499, because a request is never resent after another status"
                    .to_owned()),
            }
        };
    items.iter().map(|item| status(item.get_ref())).collect()
}

fn show_statuses(statuses: &[StatusCode]) -> String {
    let statuses: Vec<_> = statuses.iter().map(StatusCode::as_str).collect();
    format!("[{}]", statuses.join(", "))
}

fn members(raw: &Raw<'_>) -> Result<Vec<(String, String)>, String> {
    let Raw::Written(DeValue::Table(table)) = raw else {
        return Err("expected a table of texts in quotes, such as { scope = \"...\" }".into());
    };
    let mut members: Vec<_> = table.iter().collect();
    members.sort_by_key(|(name, _)| name.span().start);
    let member = |name: &str, value: &DeValue<'_>| match any_text(&Raw::Written(value)) {
        Ok(value) => Ok((name.to_owned(), value)),
        Err(message) => Err(format!("{name}: {message}")),
    };
    members.into_iter().map(|(name, value)| member(name.get_ref(), value.get_ref())).collect()
}

fn show_names(members: &[(String, String)]) -> String {
    let names: Vec<_> = members.iter().map(|(name, _)| format!("{name} = ...")).collect();
    if names.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", names.join(", ")) }
}
