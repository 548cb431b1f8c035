//! Checks requests against the description of the provider's API, before their bodies are sealed.
//!
//! A sealed body can be read by the provider only. So nobody between the service and the provider can say why a body was
//! refused, and this gateway is the last that can. `report` counts and logs where requests differ from the description, and
//! forwards them. `enforce` refuses them.
//!
//! A finding names a place and a rule, and never the value ([`finding`]). Members that the description does not list are
//! no fault, because providers add fields.
//!
//! The hard case is a body that two parsers read differently: a member that occurs twice. The check would see one of the
//! values, and the provider perhaps the other. Such a body has a finding of its own, so `enforce` forwards none.
//!
//! Bounds: a small body is checked at once, one per thread. A larger one is checked on a thread for blocking work, and the
//! memory of its tree is taken from the upstream's budget for buffered bodies. A body with more values than
//! [`MAX_VALUES`] is not checked, and counted as such.
//!
//! Rejected: a check of responses. The gateway streams them.

pub(crate) mod counters;
mod description;
mod dialect;
mod finding;
mod path_template;
mod query;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use http::Method;
use http::uri::PathAndQuery;
use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::Location;
use tokio::task::spawn_blocking;

pub(crate) use self::counters::Outcome;
pub(crate) use self::description::Description;
use self::description::{BodyRules, OperationId};
pub(crate) use self::dialect::InvalidRequest;
pub(crate) use self::finding::{Finding, MAX_FINDINGS, Rule};
use self::finding::{Place, Pointer};
use self::tree::{BYTES_PER_VALUE, MAX_VALUES, Tree};
use crate::gateway::access_log::RecordHandle;
use crate::gateway::metrics::counters::UpstreamCounters;
use crate::gateway::request::body::{BodyError, Budget};
use crate::gateway::response::refusal::{Refusal, Sent};
use crate::jose::Plaintext;
use crate::openapi;

/// Larger bodies are checked on a thread for blocking work, because the check would delay all other requests of this core.
pub(crate) const MAX_INLINE: usize = 16 * 1024;

/// `validate`: what happens to a request that differs from the description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validate {
    /// Requests are not compared.
    #[default]
    Off,
    /// It is counted, logged and forwarded.
    Report,
    /// It is refused.
    Enforce,
}

/// `validation_errors`: the format of a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValidationErrors {
    /// That of the gateway's other refusals.
    #[default]
    Problem,
    /// That of the provider's own errors.
    Provider,
}

/// `identifiers_in_query`: what happens to a request whose query has an identifier of a person or of a credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentifiersInQuery {
    /// It is forwarded.
    #[default]
    Allow,
    /// It is refused.
    Refuse,
}

/// `openapi`: the description of the provider's API.
#[derive(Clone, Debug, Default)]
pub enum Document {
    /// The built-in one of Flanks.
    #[default]
    Flanks,
    /// The built-in one of Flinks.
    Flinks,
    /// A file.
    File(OwnDocument),
}

/// The document of a file. Two are the same if their files and texts are.
#[derive(Clone)]
pub struct OwnDocument {
    path: PathBuf,
    text: Arc<str>,
    description: Arc<Description>,
}

impl OwnDocument {
    /// Compiles the text of a file.
    ///
    /// # Errors
    /// All faults of the document.
    pub fn new(path: PathBuf, text: &str) -> Result<Self, Vec<String>> {
        let description = Description::parse(text)?;
        Ok(Self { path, text: text.into(), description: Arc::new(description) })
    }
}

impl PartialEq for OwnDocument {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.text == other.text
    }
}

impl fmt::Debug for OwnDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnDocument").field(&self.path).finish()
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Flanks, Self::Flanks) | (Self::Flinks, Self::Flinks) => true,
            (Self::File(one), Self::File(other)) => one == other,
            _ => false,
        }
    }
}

impl Document {
    /// In how many places a request differs from this description, at most 20. `None` if the body has too many values to
    /// be checked. For tools and benchmarks.
    #[must_use]
    pub fn differences(&self, method: &Method, target: &PathAndQuery, body: &Plaintext) -> Option<usize> {
        let description = self.description();
        let mut findings = Findings::new(&description);
        let Some(operation) = description.operation(method, target.path()) else { return Some(1) };
        let operation = description.get(operation);
        query::check_parameters(&operation.query, target.query().unwrap_or_default(), &mut findings);
        let is_checked = operation.body.as_ref().is_none_or(|rules| rules.check(body, &mut findings));
        is_checked.then_some(findings.found.len())
    }

    /// Compiles a built-in document at its first use.
    fn description(&self) -> Arc<Description> {
        match self {
            Self::Flanks => flanks(),
            Self::Flinks => flinks(),
            Self::File(own) => Arc::clone(&own.description),
        }
    }
}

/// The settings of one upstream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// What happens to a request that differs from the description.
    pub validate: Validate,
    /// The description.
    pub openapi: Document,
    /// The format of a refusal.
    pub validation_errors: ValidationErrors,
    /// What happens to identifiers in a query.
    pub identifiers_in_query: IdentifiersInQuery,
}

/// The checks of one upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Checks {
    validate: Validate,
    refuses_identifiers: bool,
    dialect: Option<dialect::Dialect>,
    description: Arc<Description>,
}

/// The body of a request, as far as this gateway can read it.
#[derive(Debug)]
pub(crate) enum CheckedBody<'a> {
    Nothing,
    Json(&'a Plaintext),
    /// Another gateway, or the caller, has sealed it.
    Sealed,
}

impl Checks {
    /// The checks that `config` asks for. None if it asks for none. Compiles a built-in document at its first use.
    #[must_use]
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let refuses_identifiers = config.identifiers_in_query == IdentifiersInQuery::Refuse;
        if config.validate == Validate::Off && !refuses_identifiers {
            return None;
        }
        let dialect = match (&config.openapi, config.validation_errors) {
            (Document::Flanks, ValidationErrors::Provider) => Some(dialect::Dialect::Flanks),
            (Document::Flinks, ValidationErrors::Provider) => Some(dialect::Dialect::Flinks),
            (Document::File(_), _) | (_, ValidationErrors::Problem) => None,
        };
        Some(Self {
            validate: config.validate,
            refuses_identifiers,
            dialect,
            description: config.openapi.description(),
        })
    }

    /// Checks a request whose body is complete. `path` is the path that the provider receives, after the base path of its
    /// URL. The budget is that of the upstream's buffered bodies.
    ///
    /// # Errors
    /// `invalid_request`, and `overloaded` if the budget has no memory for the check.
    pub(crate) async fn check(
        &self,
        method: &Method,
        target: &PathAndQuery,
        body: CheckedBody<'_>,
        budget: &Budget,
        (record, counters): (&RecordHandle, &UpstreamCounters),
    ) -> Result<(), Refusal> {
        let mut findings = Findings::new(&self.description);
        if self.refuses_identifiers {
            query::check_identifiers(&self.description, target.query().unwrap_or_default(), &mut findings);
        }
        let has_identifiers = !findings.is_empty();
        let (mut operation, mut is_partial) = (None, false);
        if self.validate != Validate::Off {
            operation = self.description.operation(method, target.path());
            match operation {
                None => findings.add(Place::Path, Pointer::default(), Rule::Operation),
                Some(operation) => {
                    let parameters = &self.description.get(operation).query;
                    query::check_parameters(parameters, target.query().unwrap_or_default(), &mut findings);
                    is_partial = !self.check_body(operation, body, budget, &mut findings).await?;
                }
            }
        } else if !has_identifiers {
            return Ok(());
        }
        let found = findings.found;
        let is_refused = has_identifiers || self.validate == Validate::Enforce && !found.is_empty();
        let outcome = match (found.is_empty(), is_refused) {
            (_, true) => Outcome::Refused,
            (false, false) => Outcome::Reported,
            (true, false) if is_partial => Outcome::Partial,
            (true, false) => Outcome::Valid,
        };
        counters.validation.add(outcome, &found);
        if found.is_empty() {
            return Ok(());
        }
        record.findings(found.len());
        if is_refused {
            return Err(Refusal::InvalidRequest(Box::new(InvalidRequest::new(found, self.dialect, target.path()))));
        }
        report(&found, operation.map(|operation| self.description.get(operation).path.as_str()), record);
        Ok(())
    }

    /// Returns whether the body was checked, or there was nothing to check.
    async fn check_body(
        &self,
        operation: OperationId,
        body: CheckedBody<'_>,
        budget: &Budget,
        findings: &mut Findings<'_>,
    ) -> Result<bool, Refusal> {
        let Some(rules) = &self.description.get(operation).body else { return Ok(true) };
        match body {
            CheckedBody::Nothing => {
                if rules.is_required {
                    findings.add(Place::Body, Pointer::default(), Rule::Required);
                }
                Ok(true)
            }
            CheckedBody::Sealed => Ok(false),
            CheckedBody::Json(body) if body.len() <= MAX_INLINE => Ok(rules.check(body, findings)),
            CheckedBody::Json(body) => {
                let (description, body, budget) = (Arc::clone(&self.description), body.clone(), budget.clone());
                let checked = spawn_blocking(move || -> Result<_, BodyError> {
                    let mut findings = Findings::new(&description);
                    let values = tree::most_values(body.content());
                    let rules = description.get(operation).body.as_ref();
                    let Some(rules) = rules.filter(|_| values <= MAX_VALUES) else { return Ok((false, Vec::new())) };
                    let _permit = budget.acquire(values * BYTES_PER_VALUE)?;
                    Ok((rules.check(&body, &mut findings), findings.found))
                });
                match checked.await {
                    Ok(checked) => {
                        let (is_checked, found) = checked?;
                        findings.extend(found);
                        Ok(is_checked)
                    }
                    Err(failed) => match failed.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        // The runtime is shutting down.
                        Err(_) => Err(Refusal::Draining(Sent::Nothing)),
                    },
                }
            }
        }
    }
}

/// Logs where a request differs from the description that is forwarded all the same.
fn report(found: &[Finding], path: Option<&str>, record: &RecordHandle) {
    let record = record.snapshot();
    let (request_id, method) = (record.request_id.as_str(), record.method.as_str());
    let (upstream, caller) = (record.upstream.as_deref(), record.caller.as_deref());
    let findings = dialect::listed(found);
    // The path as the document writes it: the one of the request may have an identifier in it.
    tracing::info!(
        request_id,
        upstream,
        caller,
        method,
        path,
        findings,
        "the request differs from the description of the API"
    );
}

impl BodyRules {
    /// Returns whether the body was checked.
    fn check(&self, body: &Plaintext, findings: &mut Findings<'_>) -> bool {
        let Ok(text) = std::str::from_utf8(body.content()) else { return false };
        let Ok(parsed) = tree::parse(text) else { return false };
        if parsed.has_duplicates {
            findings.add_duplicates(&parsed.tree, &mut Vec::new());
        }
        if let Some(schema) = &self.schema
            && !schema.is_valid(&parsed.tree)
        {
            findings.add_errors(&parsed.tree, schema.iter_errors(&parsed.tree));
        }
        true
    }
}

/// The findings of a request in the making, at most [`MAX_FINDINGS`].
struct Findings<'d> {
    description: &'d Description,
    found: Vec<Finding>,
}

impl<'d> Findings<'d> {
    fn new(description: &'d Description) -> Self {
        Self { description, found: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    fn is_full(&self) -> bool {
        self.found.len() >= MAX_FINDINGS
    }

    fn add(&mut self, place: Place, pointer: Pointer, rule: Rule) {
        self.extend([Finding { place, pointer: pointer.into_text(), rule }]);
    }

    fn extend(&mut self, found: impl IntoIterator<Item = Finding>) {
        for finding in found {
            if !self.is_full() && !self.found.contains(&finding) {
                self.found.push(finding);
            }
        }
    }

    fn add_errors<'e>(&mut self, tree: &Tree<'_>, errors: impl Iterator<Item = ValidationError<'e>>) {
        // Some errors have the same pointer and rule, so more are read than kept.
        for error in errors.take(10 * MAX_FINDINGS) {
            if self.is_full() {
                return;
            }
            self.add_error(tree, &error);
        }
    }

    fn add_error(&mut self, tree: &Tree<'_>, error: &ValidationError<'_>) {
        let mut pointer = self.pointer(tree, error.instance_path());
        match error.kind() {
            // The place of the member that is missing.
            ValidationErrorKind::Required { property } => {
                pointer.name(property.as_str().and_then(|name| self.description.member_name(name)));
            }
            ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
                if let Some(meant) = meant_alternative(error.instance_path(), context) {
                    meant.iter().for_each(|error| self.add_error(tree, error));
                    return;
                }
            }
            _ => {}
        }
        self.add(Place::Body, pointer, error.kind().into());
    }

    /// The pointer for a place in `tree`. Only the tree says whether `/7` is an index or a name.
    fn pointer(&self, mut tree: &Tree<'_>, location: &Location) -> Pointer {
        let mut pointer = Pointer::default();
        for segment in location.as_str().split('/').skip(1) {
            let next = match tree {
                Tree::Array(items) => segment.parse().ok().and_then(|index: usize| {
                    pointer.index(index);
                    items.get(index)
                }),
                Tree::Object(members) => {
                    let name = segment.replace("~1", "/").replace("~0", "~");
                    pointer.name(self.description.member_name(&name));
                    members.iter().find(|(one, _)| **one == *name).map(|(_, value)| value)
                }
                _ => None,
            };
            let Some(next) = next else { break };
            tree = next;
        }
        pointer
    }

    /// Adds the members that occur twice.
    fn add_duplicates<'t>(&mut self, tree: &'t Tree<'t>, path: &mut Vec<PathSegment<'t>>) {
        match tree {
            Tree::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(PathSegment::Index(index));
                    self.add_duplicates(item, path);
                    path.pop();
                }
            }
            Tree::Object(members) => {
                let mut names = std::collections::HashSet::with_capacity(members.len());
                for (name, value) in members {
                    path.push(PathSegment::Name(name));
                    if !names.insert(&**name) && !self.is_full() {
                        let mut pointer = Pointer::default();
                        for segment in path.iter() {
                            match segment {
                                PathSegment::Name(name) => pointer.name(self.description.member_name(name)),
                                PathSegment::Index(index) => pointer.index(*index),
                            }
                        }
                        self.add(Place::Body, pointer, Rule::Duplicate);
                    }
                    self.add_duplicates(value, path);
                    path.pop();
                }
            }
            Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::String(_) => {}
        }
    }
}

enum PathSegment<'t> {
    Name(&'t str),
    Index(usize),
}

/// The only alternative whose type fits the value at `place`. Its errors say more than "none of the alternatives".
fn meant_alternative<'c, 'e>(
    place: &Location,
    alternatives: &'c [Vec<ValidationError<'e>>],
) -> Option<&'c Vec<ValidationError<'e>>> {
    let fits = |errors: &&Vec<ValidationError<'_>>| {
        let is_other_type = |error: &ValidationError<'_>| {
            matches!(error.kind(), ValidationErrorKind::Type { .. }) && error.instance_path() == place
        };
        !errors.iter().any(is_other_type)
    };
    let mut fitting = alternatives.iter().filter(fits);
    fitting.next().filter(|_| fitting.next().is_none())
}

/// Each built-in document is compiled once, at its first use.
fn flanks() -> Arc<Description> {
    static DESCRIPTION: OnceLock<Arc<Description>> = OnceLock::new();
    Arc::clone(DESCRIPTION.get_or_init(|| built_in(openapi::FLANKS)))
}

fn flinks() -> Arc<Description> {
    static DESCRIPTION: OnceLock<Arc<Description>> = OnceLock::new();
    Arc::clone(DESCRIPTION.get_or_init(|| built_in(openapi::FLINKS)))
}

#[expect(clippy::expect_used, reason = "called with two constants, both in a test")]
fn built_in(text: &str) -> Arc<Description> {
    Arc::new(Description::parse(text).expect("a valid document"))
}
