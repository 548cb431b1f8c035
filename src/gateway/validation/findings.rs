//! Collects the findings of one request.

use std::collections::HashSet;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::Location;

use super::description::{BodyRules, Description};
use super::finding::{Finding, MAX_FINDINGS, Place, Pointer, Rule};
use super::instance::{cut, is_valid, with_errors};
use super::tree::{self, Tree};
use crate::jose::Plaintext;

impl BodyRules {
    /// Returns whether the body was checked.
    pub(super) fn check(&self, body: &Plaintext, findings: &mut Findings<'_>) -> bool {
        let Ok(text) = std::str::from_utf8(body.content()) else { return false };
        let Ok(parsed) = tree::parse(text) else { return false };
        if parsed.has_duplicates {
            findings.add_duplicates(&parsed.tree, &mut Vec::new());
        }
        if let Some(schema) = &self.schema
            && !is_valid(schema, &parsed.tree)
        {
            with_errors(schema, &parsed.tree, |errors| findings.add_errors(&parsed.tree, errors));
        }
        true
    }
}

/// The findings of a request in the making, at most [`MAX_FINDINGS`].
pub(super) struct Findings<'d> {
    description: &'d Description,
    pub(super) found: Vec<Finding>,
}

impl<'d> Findings<'d> {
    pub(super) fn new(description: &'d Description) -> Self {
        Self { description, found: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    fn is_full(&self) -> bool {
        self.found.len() >= MAX_FINDINGS
    }

    pub(super) fn add(&mut self, place: Place, pointer: Pointer, rule: Rule) {
        self.extend([Finding { place, pointer: pointer.into_text(), rule }]);
    }

    pub(super) fn extend(&mut self, found: impl IntoIterator<Item = Finding>) {
        for finding in found {
            if !self.is_full() && !self.found.contains(&finding) {
                self.found.push(finding);
            }
        }
    }

    fn add_errors(&mut self, tree: &Tree<'_>, errors: &mut dyn Iterator<Item = ValidationError<'_>>) {
        for error in errors {
            if self.is_full() {
                return;
            }
            self.add_error(tree, &error);
        }
    }

    fn add_error(&mut self, tree: &Tree<'_>, error: &ValidationError<'_>) {
        let mut pointer = self.pointer(tree, error.instance_path());
        match error.kind() {
            // The place of the member that is missing. Its name comes from the schema.
            ValidationErrorKind::Required { property } => {
                pointer.name(property.as_str());
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
                    members.iter().find(|(one, _)| cut(one) == name).map(|(_, value)| value)
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
                let mut names = HashSet::with_capacity(members.len());
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
        !errors.is_empty() && !errors.iter().any(is_other_type)
    };
    let mut fitting = alternatives.iter().filter(fits);
    fitting.next().filter(|_| fitting.next().is_none())
}
