//! The settings of the checks, and the documents that they name.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use http::Method;
use http::uri::PathAndQuery;

use super::description::Description;
use super::findings::Findings;
use super::query;
use crate::jose::Plaintext;
use crate::openapi;

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
    pub(super) fn description(&self) -> Arc<Description> {
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

/// Each built-in document is compiled once, at its first use.
pub(super) fn flanks() -> Arc<Description> {
    static DESCRIPTION: OnceLock<Arc<Description>> = OnceLock::new();
    Arc::clone(DESCRIPTION.get_or_init(|| built_in(openapi::FLANKS)))
}

pub(super) fn flinks() -> Arc<Description> {
    static DESCRIPTION: OnceLock<Arc<Description>> = OnceLock::new();
    Arc::clone(DESCRIPTION.get_or_init(|| built_in(openapi::FLINKS)))
}

#[expect(clippy::expect_used, reason = "called with two constants, both in a test")]
fn built_in(text: &str) -> Arc<Description> {
    Arc::new(Description::parse(text).expect("a valid document"))
}
