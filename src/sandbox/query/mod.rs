//! The `query` of a request: which of the extracted objects the response contains.
//!
//! A query names fields. Each field has a list of filters, and an object passes a field if at least one filter
//! matches. An object must pass all fields. A text is filtered by a regular expression, which may match
//! anywhere in it; a number by an interval; a date by either. An object without the field does not pass.
//!
//! The expressions come from outside. The crate `regex` matches in time linear in the text, and the limits here
//! keep expressions small, so that no query can hang the sandbox. Look-around and back-references, which other
//! engines have, need more than linear time and are refused.

mod page;

use regex::{RegexSet, RegexSetBuilder};
use serde_json::{Map, Value};

pub(super) use self::page::Page;

/// The limits of a query. The provider documents none.
const MAX_FILTERS: usize = 100;
const MAX_EXPRESSION_BYTES: usize = 1_000;
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// What the values of a field are.
#[derive(Clone, Copy)]
enum FieldType {
    Text,
    Number,
    Date,
}

/// The documented fields.
const FIELDS: [(&str, FieldType); 13] = [
    ("_id", FieldType::Text),
    ("description", FieldType::Text),
    ("amount", FieldType::Number),
    ("operationDate", FieldType::Date),
    ("valueDate", FieldType::Date),
    ("category", FieldType::Text),
    ("currency", FieldType::Text),
    ("shop", FieldType::Text),
    ("account_id", FieldType::Text),
    ("card_id", FieldType::Text),
    ("investment_id", FieldType::Text),
    ("liability_id", FieldType::Text),
    ("portfolio_id", FieldType::Text),
];

/// A query. Without conditions every object passes.
#[derive(Debug, Default)]
pub(super) struct Query {
    conditions: Vec<(&'static str, Filters)>,
}

/// The filters of one field. One match is enough.
#[derive(Debug)]
enum Filters {
    Number(Vec<Interval<f64>>),
    /// A date is a text, and dates of four-digit years are ordered like their texts.
    Text {
        expressions: RegexSet,
        intervals: Vec<Interval<String>>,
    },
}

/// Both ends are included.
#[derive(Debug)]
struct Interval<T> {
    gte: Option<T>,
    lte: Option<T>,
}

impl Query {
    /// Reads the member `query` of a request body, which may be missing.
    ///
    /// # Errors
    /// A sentence that says which part of the query is wrong.
    pub(super) fn parse(body: &Value) -> Result<Self, String> {
        let query = match body.get("query") {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Object(query)) => query,
            Some(_) => return Err("query must be an object of fields with lists of filters".to_owned()),
        };
        let conditions = query.iter().map(|(name, filters)| {
            let Some((field, field_type)) = FIELDS.iter().find(|(field, _)| field == name) else {
                let known = FIELDS.map(|(field, _)| field).join(", ");
                return Err(format!("query.{} is not a known field: the fields are {known}", shortened(name)));
            };
            Ok((*field, Filters::parse(field, *field_type, filters)?))
        });
        Ok(Self { conditions: conditions.collect::<Result<_, _>>()? })
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        self.conditions.iter().all(|(field, filters)| object.get(field).is_some_and(|value| filters.match_one(value)))
    }
}

impl Filters {
    fn parse(field: &str, field_type: FieldType, filters: &Value) -> Result<Self, String> {
        let Value::Array(filters) = filters else {
            return Err(format!("query.{field} must be a list of filters"));
        };
        if filters.len() > MAX_FILTERS {
            return Err(format!("query.{field} has more than {MAX_FILTERS} filters"));
        }
        if let FieldType::Number = field_type {
            let interval = |(index, filter): (usize, &Value)| {
                match filter {
                    Value::Object(edges) => Interval::parse(edges, "a number", Value::as_f64),
                    _ => Err("must be an object with gte or lte".to_owned()),
                }
                .map_err(|fault| format!("query.{field}[{index}] {fault}"))
            };
            return Ok(Self::Number(filters.iter().enumerate().map(interval).collect::<Result<_, _>>()?));
        }
        let (mut expressions, mut intervals) = (Vec::new(), Vec::new());
        for (index, filter) in filters.iter().enumerate() {
            let fault = match (field_type, filter) {
                (_, Value::String(text)) if text.len() <= MAX_EXPRESSION_BYTES => {
                    expressions.push((index, text.as_str()));
                    continue;
                }
                (_, Value::String(_)) => format!("is longer than {MAX_EXPRESSION_BYTES} bytes"),
                (FieldType::Date, Value::Object(edges)) => match Interval::parse(edges, "a date like 2024-01-31", date)
                {
                    Ok(interval) => {
                        intervals.push(interval);
                        continue;
                    }
                    Err(fault) => fault,
                },
                (FieldType::Date, _) => "must be an object with gte or lte, or a regular expression".to_owned(),
                _ => "must be a regular expression".to_owned(),
            };
            return Err(format!("query.{field}[{index}] {fault}"));
        }
        Ok(Self::Text { expressions: compile(field, &expressions)?, intervals })
    }

    fn match_one(&self, value: &Value) -> bool {
        match self {
            Self::Number(intervals) => {
                value.as_f64().is_some_and(|number| intervals.iter().any(|interval| interval.contains(&number)))
            }
            Self::Text { expressions, intervals } => value.as_str().is_some_and(|text| {
                expressions.is_match(text) || intervals.iter().any(|interval| interval.contains(text))
            }),
        }
    }
}

impl<T> Interval<T> {
    fn parse(edges: &Map<String, Value>, wanted: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Self, String> {
        let mut interval = Self { gte: None, lte: None };
        for (name, value) in edges {
            let edge = match name.as_str() {
                "gte" => &mut interval.gte,
                "lte" => &mut interval.lte,
                _ => return Err(format!("has the unknown member {}: it takes gte and lte", shortened(name))),
            };
            *edge = Some(read(value).ok_or_else(|| format!("must have {wanted} as {name}"))?);
        }
        match interval {
            Self { gte: None, lte: None } => Err("must have gte or lte".to_owned()),
            interval => Ok(interval),
        }
    }

    fn contains<V: PartialOrd + ?Sized>(&self, value: &V) -> bool
    where
        T: std::borrow::Borrow<V>,
    {
        self.gte.as_ref().is_none_or(|gte| gte.borrow() <= value)
            && self.lte.as_ref().is_none_or(|lte| value <= lte.borrow())
    }
}

/// Compiles the expressions, each with its index in the query. The error names the wrong one.
fn compile(field: &str, expressions: &[(usize, &str)]) -> Result<RegexSet, String> {
    let build = |texts: &[&str]| {
        RegexSetBuilder::new(texts)
            .size_limit(MAX_COMPILED_BYTES)
            .dfa_size_limit(MAX_COMPILED_BYTES)
            .nest_limit(50)
            .build()
    };
    let texts: Vec<_> = expressions.iter().map(|(_, text)| *text).collect();
    // The error of a set does not say which of its expressions is wrong.
    build(&texts).map_err(|_| {
        let wrong = expressions.iter().find_map(|(index, text)| Some((index, build(&[text]).err()?)));
        match wrong {
            Some((index, error)) => format!("query.{field}[{index}] {}", reason(&error)),
            None => format!("query.{field} has too large regular expressions"),
        }
    })
}

fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "is too large a regular expression".to_owned(),
        other => {
            // The text repeats the expression in several lines. The last one has the reason.
            let text = other.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("is not a valid regular expression: {reason}")
        }
    }
}

/// The text of a date, if it is one with a year of four digits.
fn date(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| text.len() == "YYYY-MM-DD".len())?;
    let date: jiff::civil::Date = text.parse().ok()?;
    Some(date.to_string())
}

/// A name from outside, short enough for an error.
fn shortened(name: &str) -> String {
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests;
