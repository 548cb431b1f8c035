//! `search-letters`: a letter is found if it matches all filters; the result is returned in pages.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::create_signed::is_object_of_texts;
use super::letter::{Letter, LetterStatus};
use crate::sandbox::api_response::FieldError;

/// The documented default and maximum of `page_size`.
const PAGE_SIZE: u64 = 20;
const MAX_PAGE_SIZE: u64 = 100;

/// A search request. A filter that is absent matches every letter.
#[derive(Debug)]
pub(super) struct Search {
    connector_id_in: Option<Vec<String>>,
    status_in: Option<Vec<LetterStatus>>,
    id_in: Option<Vec<Uuid>>,
    labels: Option<Map<String, Value>>,
    creation_date: Option<DateRange>,
    last_update: Option<DateRange>,
    page: u64,
    page_size: u64,
}

impl Search {
    /// Returns each field that is missing or invalid as an error.
    pub(super) fn parse(body: &Value) -> Result<Self, Vec<FieldError>> {
        let query = match body.get("query") {
            Some(Value::Object(query)) => query,
            None | Some(Value::Null) => return Err(vec![("query", "RequiredField")]),
            Some(_) => return Err(vec![("query", "InvalidValue")]),
        };
        let mut errors = Vec::new();
        let search = Self {
            connector_id_in: field(query, "connector_id_in", list, &mut errors),
            status_in: field(query, "status_in", list, &mut errors),
            id_in: field(query, "id_in", uuids, &mut errors),
            labels: field(query, "labels", labels, &mut errors),
            creation_date: field(query, "creation_date", DateRange::parse, &mut errors),
            last_update: field(query, "last_update", DateRange::parse, &mut errors),
            page: number(body, "page", 1, u64::MAX, &mut errors),
            page_size: number(body, "page_size", PAGE_SIZE, MAX_PAGE_SIZE, &mut errors),
        };
        if errors.is_empty() { Ok(search) } else { Err(errors) }
    }

    /// The requested page. It is empty if it lies beyond the last page.
    pub(super) fn page(&self, letters: &[Letter]) -> Value {
        let found: Vec<_> = letters.iter().filter(|letter| self.matches(letter)).collect();
        let total = found.len() as u64;
        let skipped = (self.page - 1).saturating_mul(self.page_size);
        let items: Vec<_> = found
            .into_iter()
            .skip(usize::try_from(skipped).unwrap_or(usize::MAX))
            .take(usize::try_from(self.page_size).unwrap_or(usize::MAX))
            .map(Letter::document)
            .collect();
        json!({
            "items": items,
            "page": self.page,
            "page_size": self.page_size,
            "pages": total.div_ceil(self.page_size),
            "total": total,
        })
    }

    fn matches(&self, letter: &Letter) -> bool {
        passes(&self.connector_id_in, |ids| ids.contains(&letter.connector_id))
            && passes(&self.status_in, |statuses| statuses.contains(&letter.status))
            && passes(&self.id_in, |ids| ids.contains(&letter.id))
            && passes(&self.labels, |labels| labels.iter().all(|(key, value)| letter.labels.get(key) == Some(value)))
            && passes(&self.creation_date, |range| range.contains(letter.created_at))
            && passes(&self.last_update, |range| range.contains(letter.updated_at))
    }
}

fn passes<T>(filter: &Option<T>, test: impl Fn(&T) -> bool) -> bool {
    filter.as_ref().is_none_or(test)
}

/// A range of dates, both ends included. A date without a time stands for the whole day in UTC.
#[derive(Debug, Default)]
struct DateRange {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl DateRange {
    fn parse(value: &Value) -> Option<Self> {
        let range = value.as_object()?;
        let edge = |name: &str, of: fn(DateSpan) -> Timestamp| match range.get(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => Some(Some(of(DateSpan::parse(value.as_str()?)?))),
        };
        Some(Self { start: edge("start", |span| span.first)?, end: edge("end", |span| span.last)? })
    }

    fn contains(&self, moment: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= moment) && self.end.is_none_or(|end| moment <= end)
    }
}

/// The first and the last instant of a date, or twice the same instant.
struct DateSpan {
    first: Timestamp,
    last: Timestamp,
}

impl DateSpan {
    /// Parses an ISO 8601 date, or date and time. Without an offset it is in UTC.
    fn parse(text: &str) -> Option<Self> {
        let moment = |first| Self { first, last: first };
        let utc = |local: DateTime| TimeZone::UTC.to_timestamp(local).ok();
        if let Ok(exact) = text.parse::<Timestamp>() {
            return Some(moment(exact));
        }
        if text.contains(['T', 't', ' ']) {
            return utc(text.parse().ok()?).map(moment);
        }
        let day: Date = text.parse().ok()?;
        Some(Self { first: utc(day.at(0, 0, 0, 0))?, last: utc(day.at(23, 59, 59, 999_999_999))? })
    }
}

fn field<T>(
    query: &Map<String, Value>,
    name: &'static str,
    parse: impl Fn(&Value) -> Option<T>,
    errors: &mut Vec<FieldError>,
) -> Option<T> {
    let value = query.get(name).filter(|value| !value.is_null())?;
    let parsed = parse(value);
    if parsed.is_none() {
        errors.push((name, "InvalidValue"));
    }
    parsed
}

fn number(body: &Value, name: &'static str, default: u64, most: u64, errors: &mut Vec<FieldError>) -> u64 {
    match body.get(name) {
        None | Some(Value::Null) => default,
        Some(value) => match value.as_u64() {
            Some(number) if (1..=most).contains(&number) => number,
            _ => {
                errors.push((name, "InvalidValue"));
                default
            }
        },
    }
}

fn labels(value: &Value) -> Option<Map<String, Value>> {
    value.as_object().filter(|_| is_object_of_texts(value)).cloned()
}

fn list<T: for<'de> Deserialize<'de>>(value: &Value) -> Option<Vec<T>> {
    Vec::deserialize(value).ok()
}

fn uuids(value: &Value) -> Option<Vec<Uuid>> {
    let texts: Vec<String> = list(value)?;
    texts.iter().map(|text| Uuid::try_parse(text).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::letters::Letters;

    /// A connected letter and three signed ones, one per day.
    fn letters() -> Letters {
        let day = |day| Timestamp::from_second(86_400 * day).unwrap();
        let first = Letter::new("connector-0".to_owned(), Map::new(), LetterStatus::Connected, day(0));
        let mut letters = Letters { letters: vec![first] };
        for number in 1..=3_i64 {
            let body = json!({
                "connector_id": format!("connector-{number}"),
                "data": "JVBERi0xLjcK",
                "labels": { "user": format!("u{number}"), "team": "a" },
            });
            assert_eq!(letters.create_signed(&body, day(number)).status, 200);
        }
        letters
    }

    fn found(letters: &Letters, body: Value) -> Vec<String> {
        let response = letters.search(&body);
        assert_eq!(response.status, 200, "{body}");
        let connector = |letter: &Value| letter["connector_id"].as_str().unwrap().to_owned();
        response.body["items"].as_array().unwrap().iter().map(connector).collect()
    }

    fn query(query: Value) -> Value {
        json!({ "query": query })
    }

    #[test]
    fn filters_can_be_combined() {
        let letters = letters();
        let all = found(&letters, query(json!({})));
        assert_eq!(all.len(), 4);
        let two = json!({ "connector_id_in": ["connector-1", "connector-3", "x"] });
        assert_eq!(found(&letters, query(two)), ["connector-1", "connector-3"]);
        let signed = json!({ "status_in": ["Signed"] });
        assert_eq!(found(&letters, query(signed)).len(), 3);
        let labels = json!({ "labels": { "team": "a", "user": "u2" } });
        assert_eq!(found(&letters, query(labels)), ["connector-2"]);
        let both = json!({ "labels": { "team": "a" }, "connector_id_in": ["connector-1"] });
        assert_eq!(found(&letters, query(both)), ["connector-1"]);
        let none = json!({ "status_in": [], "labels": null });
        assert!(found(&letters, query(none)).is_empty());
    }

    #[test]
    fn dates_are_instants_or_whole_days_and_ranges_include_both_ends() {
        let letters = letters();
        let created = |range: Value| found(&letters, query(json!({ "creation_date": range })));
        let from_second = json!({ "start": "1970-01-03T00:00:00Z" });
        assert_eq!(created(from_second), ["connector-2", "connector-3"]);
        let after_second = json!({ "start": "1970-01-03T00:00:01" });
        assert_eq!(created(after_second), ["connector-3"]);
        let until_second = json!({ "end": "1970-01-03", "start": "1970-01-02" });
        assert_eq!(created(until_second), ["connector-1", "connector-2"]);
        let offset = json!({ "end": "1970-01-01T23:00:00-01:00", "start": "1970-01-02" });
        assert_eq!(created(offset), ["connector-1"]);
        assert_eq!(created(json!({})).len(), 4);
        let updated = json!({ "last_update": { "start": "1970-01-04" } });
        assert_eq!(found(&letters, query(updated)), ["connector-3"]);
    }

    #[test]
    fn pages_continue_the_result_and_are_empty_after_its_end() {
        let letters = letters();
        let page = |page: u64| {
            let body = json!({ "query": {}, "page": page, "page_size": 3 });
            letters.search(&body).body
        };
        assert_eq!(page(1)["items"].as_array().unwrap().len(), 3);
        assert_eq!(page(2)["items"].as_array().unwrap().len(), 1);
        assert_eq!(page(u64::MAX)["items"], json!([]));
        for (member, value) in [("page", 2), ("page_size", 3), ("pages", 2), ("total", 4)] {
            assert_eq!(page(2)[member], value);
        }
        let response = letters.search(&query(json!({}))).body;
        assert_eq!((&response["page"], &response["page_size"]), (&json!(1), &json!(20)));
    }

    #[test]
    fn each_missing_or_invalid_field_is_reported() {
        let errors = |body: Value| Search::parse(&body).unwrap_err();
        assert_eq!(errors(json!({})), [("query", "RequiredField")]);
        assert_eq!(errors(json!([])), [("query", "RequiredField")]);
        assert_eq!(errors(json!({ "query": [] })), [("query", "InvalidValue")]);
        let body = json!({
            "query": {
                "connector_id_in": "one",
                "status_in": ["Signed", "Lost"],
                "id_in": ["not-a-uuid"],
                "labels": { "user": 1 },
                "creation_date": { "start": "yesterday" },
                "last_update": { "end": "2024-02-30" },
            },
            "page": 0,
            "page_size": 101,
        });
        let fields =
            ["connector_id_in", "status_in", "id_in", "labels", "creation_date", "last_update", "page", "page_size"];
        assert_eq!(errors(body), fields.map(|field| (field, "InvalidValue")));
    }
}
