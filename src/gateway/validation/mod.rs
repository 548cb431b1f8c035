//! Checks requests against the description of the provider's API, before their bodies are sealed.
//!
//! Only the provider can read a sealed body, and its answer to a wrong one is often just "400". The gateway that seals the
//! body is the last program that can say what is wrong with it. `report` counts and logs where requests differ from the
//! description, and forwards them. `enforce` refuses them.
//!
//! A finding names a place and a rule, and never the value ([`finding`]). Members that the description does not list are
//! no fault, because providers add fields.
//!
//! The hard case is a body that two parsers read differently: a member that occurs twice. The check would see one of the
//! values, and the provider perhaps the other. Such a body has a finding of its own, so `enforce` forwards none.
//!
//! Bounds: a small body is checked at once. A larger one is checked on a thread for blocking work, and the memory of its
//! tree is taken from the upstream's budget for buffered bodies. A body with more values than [`tree::MAX_VALUES`] is not
//! checked, and its request is counted as `partial`. The errors of a body are bounded too: see [`instance`].
//!
//! Rejected: a check of responses. The gateway streams them.

mod config;
pub(crate) mod counters;
mod description;
mod dialect;
mod finding;
mod findings;
mod instance;
mod path_template;
mod query;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;

use http::Method;
use http::uri::PathAndQuery;
use tokio::task::spawn_blocking;

pub use self::config::{Config, Document, IdentifiersInQuery, OwnDocument, Validate, ValidationErrors};
pub(crate) use self::counters::Outcome;
pub(crate) use self::description::Description;
use self::description::OperationId;
pub(crate) use self::dialect::InvalidRequest;
pub(crate) use self::finding::Rule;
use self::finding::{Finding, Place, Pointer};
use self::findings::Findings;
use crate::gateway::access_log::RecordHandle;
use crate::gateway::metrics::counters::UpstreamCounters;
use crate::gateway::request::body::{BodyError, Budget};
use crate::gateway::response::refusal::{Refusal, Sent};
use crate::jose::Plaintext;

/// Larger bodies are checked on a thread for blocking work, because the check would delay all other requests of this core.
pub(crate) const MAX_INLINE: usize = 16 * 1024;

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

    /// Checks a request whose body is complete. `target` is what the provider receives after the base path of its URL. The
    /// budget is that of the upstream's buffered bodies.
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
                    let (Some(rules), Some(memory)) =
                        (&description.get(operation).body, tree::most_memory(body.content()))
                    else {
                        return Ok((false, Vec::new()));
                    };
                    let _permit = budget.acquire(memory)?;
                    Ok((rules.check(&body, &mut findings), findings.found))
                });
                match checked.await {
                    // `report` refuses nothing.
                    Ok(Err(BodyError::BudgetExhausted)) if self.validate == Validate::Report => Ok(false),
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

/// Logs where a forwarded request differs from the description.
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
