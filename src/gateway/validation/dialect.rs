//! The response to a request that differs from the description: where, and which rule.
//!
//! The `problem` format has them in the member `errors`. The formats of the providers have them in the places that their
//! clients read already, so a client needs no code for the gateway. The status is 422 in every format.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Value, json};

use super::finding::{Finding, Place, Rule};

/// The paths of Flanks whose errors have a code and details. All others have one text.
const LETTERS: &str = "/letters/";

/// The format of a provider's own errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Flanks,
    Flinks,
}

/// A refused request.
#[derive(Debug)]
pub(crate) struct InvalidRequest {
    findings: Vec<Finding>,
    format: Format,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Problem,
    FlanksLetters,
    Flanks,
    Flinks,
}

impl InvalidRequest {
    pub(super) fn new(findings: Vec<Finding>, dialect: Option<Dialect>, path: &str) -> Self {
        let format = match dialect {
            None => Format::Problem,
            Some(Dialect::Flanks) if path.starts_with(LETTERS) => Format::FlanksLetters,
            Some(Dialect::Flanks) => Format::Flanks,
            Some(Dialect::Flinks) => Format::Flinks,
        };
        Self { findings, format }
    }

    /// The member `errors` of a problem.
    pub(crate) fn errors(&self) -> Value {
        let error = |Finding { place, pointer, rule }: &Finding| json!({ "in": place.as_str(), "pointer": pointer, "rule": rule.as_str() });
        self.findings.iter().map(error).collect()
    }

    /// One sentence for the caller.
    pub(crate) fn detail(&self) -> String {
        let has = |rule: Rule| self.findings.iter().any(|finding| finding.rule == rule);
        if has(Rule::Operation) {
            "the description of the API has no such method and path".to_owned()
        } else if has(Rule::Identifier) {
            "the query has an identifier, and a query is not sealed: send it in the body".to_owned()
        } else {
            let places = if self.findings.len() == 1 { "place" } else { "places" };
            format!("the request differs from the description of the API in {} {places}", self.findings.len())
        }
    }

    /// The body in the provider's format, and its type. None if the format is that of the gateway's other refusals.
    pub(crate) fn in_dialect(&self, status: u16, request_id: &str) -> Option<(Bytes, HeaderValue)> {
        let text = || format!("{}: {}", self.detail(), listed(&self.findings));
        let body = match self.format {
            Format::Problem => return None,
            Format::Flanks => json!({ "error": text() }),
            Format::FlanksLetters => {
                let details: Vec<_> = self.findings.iter().map(letters_detail).collect();
                let error = json!({ "code": "VALIDATION_ERROR", "details": details });
                json!({ "success": false, "error": error, "trace_id": trace_id(request_id) })
            }
            Format::Flinks => json!({ "HttpStatusCode": status, "Message": text(), "FlinksCode": "INVALID_REQUEST" }),
        };
        Some((Bytes::from(body.to_string()), HeaderValue::from_static("application/json")))
    }
}

/// The cause, for the log.
impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request differs from the description of the API: {}", listed(&self.findings))
    }
}

impl std::error::Error for InvalidRequest {}

/// All findings in one line.
pub(super) fn listed(findings: &[Finding]) -> String {
    findings.iter().map(Finding::to_string).collect::<Vec<_>>().join(", ")
}

/// The documented members, and the rule.
fn letters_detail(Finding { place, pointer, rule }: &Finding) -> Value {
    let field = pointer.trim_start_matches('/').replace('/', ".");
    let field = match place {
        Place::Body | Place::Query if !field.is_empty() => field,
        place => place.as_str().to_owned(),
    };
    // The provider documents only the first one.
    let error_type = if *rule == Rule::Required { "RequiredField" } else { "InvalidValue" };
    json!({ "field": field, "error_type": error_type, "in": place.as_str(), "rule": rule.as_str() })
}

/// 32 hexadecimal digits: those of the request id, if it is a UUID.
fn trace_id(request_id: &str) -> String {
    let digits: String = request_id.chars().filter(|c| *c != '-').collect();
    let is_uuid = digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_uuid { digits } else { "0".repeat(32) }
}
