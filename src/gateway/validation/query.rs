//! The parameters of a query.
//!
//! A parameter is text, and its schema may want a number, a boolean or a list. The text fits if one of its readings does:
//! as text, as a number, as `true` or `false`, or as a list of these, written with commas or as one parameter repeated. A
//! list is read as texts too, because `7` can be one.
//! Therefore no reading must be derived from the schema, which may hide its type behind references.

use url::form_urlencoded;

use super::Findings;
use super::description::{Description, Parameter};
use super::finding::{Place, Pointer, Rule};
use super::instance::with_errors;
use super::tree::{Text, Tree};

/// The pairs of documented parameters, at most. The rest is not checked, except for identifiers.
const MAX_PAIRS: usize = 200;

/// Adds a finding for each name that must not be in a query.
pub(super) fn check_identifiers(description: &Description, query: &str, findings: &mut Findings<'_>) {
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        // Many libraries write lists and members as `name[]=`, `name[0]=` or `parent[name]=`.
        let mut names = name.split(['[', ']', '.']);
        if let Some(identifier) = names.find_map(|name| description.never_in_query(name)) {
            let mut pointer = Pointer::default();
            pointer.name(Some(identifier));
            findings.add(Place::Query, pointer, Rule::Identifier);
        }
    }
}

/// Checks the documented parameters. Others are no fault.
pub(super) fn check_parameters(parameters: &[Parameter], query: &str, findings: &mut Findings<'_>) {
    if parameters.is_empty() {
        return;
    }
    let is_documented = |name: &str| parameters.iter().any(|parameter| *parameter.name == *name);
    let pairs = form_urlencoded::parse(query.as_bytes());
    let given: Vec<_> = pairs.filter(|(name, _)| is_documented(name)).take(MAX_PAIRS).collect();
    for parameter in parameters {
        let values: Vec<&str> =
            given.iter().filter(|(name, _)| **name == *parameter.name).map(|(_, value)| &**value).collect();
        let mut pointer = Pointer::default();
        pointer.name(Some(&parameter.name));
        if values.is_empty() {
            if parameter.is_required {
                findings.add(Place::Query, pointer, Rule::Required);
            }
            continue;
        }
        if let Some(rule) = violated_rule(parameter, &values) {
            findings.add(Place::Query, pointer, rule);
        }
    }
}

fn violated_rule(parameter: &Parameter, values: &[&str]) -> Option<Rule> {
    let schema = parameter.schema.as_ref()?;
    let mut violated = None;
    for reading in readings(values) {
        // A reading without an error fits.
        let rule = with_errors(schema, &reading, |errors| errors.next().map(|error| Rule::from(error.kind())))?;
        // A reading of the right type says more than the others.
        if violated.is_none_or(|violated| violated == Rule::Type) {
            violated = Some(rule);
        }
    }
    violated
}

/// The ways to read the values of one parameter.
fn readings<'t>(values: &[&'t str]) -> Vec<Tree<'t>> {
    let (mut readings, items) = match values {
        [value] => (vec![scalar(value), text(value)], value.split(',').collect()),
        values => (Vec::new(), values.to_vec()),
    };
    for read in [scalar, text] {
        readings.push(Tree::Array(items.iter().map(|item| read(item)).collect()));
    }
    readings
}

fn text(value: &str) -> Tree<'_> {
    Tree::String(Text::Slice(value))
}

fn scalar(value: &str) -> Tree<'_> {
    match value {
        "true" => Tree::Bool(true),
        "false" => Tree::Bool(false),
        value => Tree::number(value).unwrap_or_else(|| text(value)),
    }
}
