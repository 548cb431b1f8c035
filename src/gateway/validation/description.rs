//! An OpenAPI 3.1 document, compiled once: its operations with the rules for body and query.
//!
//! The schemas are compiled by jsonschema in the dialect 2020-12, which OpenAPI 3.1 uses. `format` is an annotation there and
//! is not checked. A `pattern` is compiled by an engine with linear time, which has neither look-around nor back
//! references, so no body can make it slow. References lead into the document only: nothing is fetched.
//!
//! All faults of a document are found in one run.
//!
//! The extension `x-never-in-query: true` of a property or of a parameter, or of the schema that it refers to, marks a name
//! that must not occur in a query.

use std::collections::{HashMap, HashSet};
use std::error::Error;

use http::Method;
use jsonschema::{Draft, PatternOptions, Registry, ValidationOptions, Validator};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::instance::Trees;
use super::path_template::PathTemplate;

/// The address of the document for references inside of it.
const BASE: &str = "https://document.invalid/openapi.json";

/// The members of a path item that are operations.
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "patch", "head", "options"];

const NEVER_IN_QUERY: &str = "x-never-in-query";

/// The characters that a fragment must escape (RFC 3986 section 3.5).
const NOT_IN_FRAGMENTS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// References that lead to a reference, at most.
const MAX_REFERENCES: usize = 16;

/// The API as its document describes it.
#[derive(Debug)]
pub(crate) struct Description {
    /// Those with fewer parameters in their paths first.
    operations: Vec<Operation>,
    /// As the description writes them, by their lower case.
    never_in_query: HashMap<Box<str>, Box<str>>,
    /// All names of members in the schemas.
    member_names: HashSet<Box<str>>,
}

/// An operation of one [`Description`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OperationId(usize);

/// What is checked of requests for one operation.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: PathTemplate,
    /// None if the document describes no body.
    pub(super) body: Option<BodyRules>,
    pub(super) query: Vec<Parameter>,
}

#[derive(Debug)]
pub(super) struct BodyRules {
    pub(super) is_required: bool,
    /// None if the document has no schema for JSON.
    pub(super) schema: Option<Validator<Trees>>,
}

/// A parameter in the query.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: Box<str>,
    pub(super) is_required: bool,
    pub(super) schema: Option<Validator<Trees>>,
}

impl Description {
    /// Compiles a document.
    ///
    /// # Errors
    /// All faults of the document, at least one.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<String>> {
        let document: Value = serde_json::from_str(text).map_err(|error| vec![format!("not JSON: {error}")])?;
        let version = document["openapi"].as_str().unwrap_or_default();
        if version != "3.1" && !version.starts_with("3.1.") {
            let fault = "not an OpenAPI 3.1 document: the member `openapi` is not \"3.1\" or \"3.1.x\"";
            return Err(vec![fault.to_owned()]);
        }
        let Some(paths) = document["paths"].as_object() else {
            return Err(vec!["the document has no `paths`, so no request would be known".to_owned()]);
        };
        let registry = Registry::new().draft(Draft::Draft202012).retriever(Nowhere).add(BASE, &document);
        let registry = registry.and_then(|registry| registry.prepare()).map_err(|error| vec![error.to_string()])?;
        let mut compiler = Compiler { document: &document, registry: &registry, faults: Vec::new() };
        compiler.check_components();
        let mut operations = Vec::new();
        for (path, item) in paths {
            compiler.add_path(path, item, &mut operations);
        }
        if !compiler.faults.is_empty() {
            return Err(compiler.faults);
        }
        operations.sort_by_key(|operation| operation.path.parameters());
        let mut names = Names { document: &document, members: HashSet::new(), never_in_query: HashMap::new() };
        names.collect(&document);
        Ok(Self { operations, never_in_query: names.never_in_query, member_names: names.members })
    }

    /// The operation of a request. `path` is the one that the provider receives, after the base path of its URL.
    ///
    /// HEAD is GET without a body in the response, so a description need not list it.
    pub(super) fn operation(&self, method: &Method, path: &str) -> Option<OperationId> {
        let find = |method: &Method| {
            let is_meant = |operation: &Operation| operation.method == *method && operation.path.matches(path);
            self.operations.iter().position(is_meant).map(OperationId)
        };
        find(method).or_else(|| if *method == Method::HEAD { find(&Method::GET) } else { None })
    }

    pub(super) fn get(&self, OperationId(index): OperationId) -> &Operation {
        &self.operations[index]
    }

    /// The name as the description writes it, if it must not be in a query.
    pub(super) fn never_in_query(&self, name: &str) -> Option<&str> {
        self.never_in_query.get(&*name.to_ascii_lowercase()).map(|name| &**name)
    }

    /// The name of a member, if the description has it.
    pub(super) fn member_name(&self, name: &str) -> Option<&str> {
        self.member_names.get(name).map(|name| &**name)
    }
}

struct Compiler<'d> {
    document: &'d Value,
    registry: &'d Registry<'d>,
    faults: Vec<String>,
}

impl<'d> Compiler<'d> {
    /// Reports each schema under `components` that is not a JSON Schema.
    fn check_components(&mut self) {
        let schemas = self.document.pointer("/components/schemas").and_then(Value::as_object);
        for (name, schema) in schemas.into_iter().flatten() {
            let at = pointer("/components/schemas", name);
            self.check_form(&at, schema);
        }
    }

    fn check_form(&mut self, at: &str, schema: &Value) {
        if let Err(error) = jsonschema::draft202012::meta::validate(schema) {
            let place = error.instance_path().as_str().to_owned();
            self.faults
                .push(format!("{at}{place}: not a JSON Schema: the rule {} is violated", error.kind().keyword()));
        }
    }

    fn add_path(&mut self, path: &str, item: &'d Value, operations: &mut Vec<Operation>) {
        let at = pointer("/paths", path);
        let Some(template) = PathTemplate::new(path) else {
            self.faults.push(format!("{at}: the path does not begin with /"));
            return;
        };
        let Some((item_at, item)) = self.resolve(at, item) else { return };
        let shared = self.parameters(&item_at, item);
        for name in METHODS {
            let Some(operation) = item.get(name) else { continue };
            let at = format!("{item_at}/{name}");
            // A parameter of the operation replaces the one of the path with the same name.
            let mut query = self.parameters(&at, operation);
            let replaced: Vec<_> = query.iter().map(|(name, _)| *name).collect();
            query.extend(shared.iter().filter(|(name, _)| !replaced.contains(name)).cloned());
            let query = query.into_iter().filter_map(|(name, at)| self.parameter(name, &at)).collect();
            let body = operation.get("requestBody").and_then(|body| self.body(format!("{at}/requestBody"), body));
            let Ok(method) = name.to_ascii_uppercase().parse() else { continue };
            operations.push(Operation { method, path: template.clone(), body, query });
        }
    }

    /// The parameters in the query: their names and places.
    fn parameters(&mut self, at: &str, owner: &'d Value) -> Vec<(&'d str, String)> {
        let mut found = Vec::new();
        for (index, parameter) in owner["parameters"].as_array().into_iter().flatten().enumerate() {
            let Some((at, parameter)) = self.resolve(format!("{at}/parameters/{index}"), parameter) else { continue };
            match (parameter["in"].as_str(), parameter["name"].as_str()) {
                (Some("query"), Some(name)) => found.push((name, at)),
                (Some(_), Some(_)) => {}
                _ => self.faults.push(format!("{at}: a parameter needs `name` and `in`")),
            }
        }
        found
    }

    fn parameter(&mut self, name: &str, at: &str) -> Option<Parameter> {
        let parameter = self.document.pointer(at)?;
        let is_required = parameter["required"] == true;
        let schema = parameter.get("schema").and_then(|schema| self.compile(&format!("{at}/schema"), schema));
        Some(Parameter { name: name.into(), is_required, schema })
    }

    fn body(&mut self, at: String, body: &'d Value) -> Option<BodyRules> {
        let (at, body) = self.resolve(at, body)?;
        // Several media types can include JSON. The most specific one is meant.
        let specificity = |media_type: &str| {
            let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            match &*essence {
                "application/json" => 3,
                "application/*" => 1,
                "*/*" => 0,
                essence if essence.ends_with("+json") => 2,
                _ => -1,
            }
        };
        let media_types = body["content"].as_object().into_iter().flatten();
        let media_types = media_types.map(|media_type| (specificity(media_type.0), media_type));
        let json = media_types.filter(|(specificity, _)| *specificity >= 0).max_by_key(|(specificity, _)| *specificity);
        let json = json.map(|(_, media_type)| media_type);
        let schema = json.and_then(|(media_type, content)| {
            let at = pointer(&format!("{at}/content"), media_type);
            content.get("schema").and_then(|schema| self.compile(&format!("{at}/schema"), schema))
        });
        Some(BodyRules { is_required: body["required"] == true, schema })
    }

    /// Compiles the schema at a pointer.
    fn compile(&mut self, at: &str, schema: &Value) -> Option<Validator<Trees>> {
        self.check_form(at, schema);
        let escaped = utf8_percent_encode(at, NOT_IN_FRAGMENTS);
        let reference = json!({ "$ref": format!("{BASE}#{escaped}") });
        let options: ValidationOptions<'_, _, Trees> = jsonschema::options_for();
        let compiled = options
            .with_draft(Draft::Draft202012)
            .with_registry(self.registry)
            .with_pattern_options(PatternOptions::regex())
            .offline()
            .build(&reference);
        compiled.map_err(|error| self.faults.push(format!("{at}: the schema does not compile: {error}"))).ok()
    }

    /// Follows the references of an object that is not a schema. Returns its place and the object.
    fn resolve(&mut self, mut at: String, mut value: &'d Value) -> Option<(String, &'d Value)> {
        for _ in 0..MAX_REFERENCES {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return Some((at, value)) };
            let Some((target, found)) = follow(self.document, reference) else {
                self.faults.push(format!("{at}: the reference {reference:?} leads to nothing in this document"));
                return None;
            };
            (at, value) = (target, found);
        }
        self.faults.push(format!("{at}: the references lead in a circle"));
        None
    }
}

/// What `reference` leads to, with its pointer.
fn follow<'d>(document: &'d Value, reference: &str) -> Option<(String, &'d Value)> {
    let target = percent_decode_str(reference.strip_prefix('#')?).decode_utf8().ok()?;
    document.pointer(&target).map(|found| (target.into_owned(), found))
}

/// `parent` followed by a member.
fn pointer(parent: &str, member: &str) -> String {
    format!("{parent}/{}", member.replace('~', "~0").replace('/', "~1"))
}

/// Collects names from the whole document.
struct Names<'d> {
    document: &'d Value,
    members: HashSet<Box<str>>,
    never_in_query: HashMap<Box<str>, Box<str>>,
}

impl<'d> Names<'d> {
    fn collect(&mut self, value: &'d Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            Value::Object(members) => {
                for (name, schema) in members.get("properties").and_then(Value::as_object).into_iter().flatten() {
                    self.members.insert(name.as_str().into());
                    self.add_if_marked(name, schema);
                }
                if let (Some(name), Some(_)) = (text(members, "name"), text(members, "in")) {
                    self.add_if_marked(name, value);
                    if let Some(schema) = members.get("schema") {
                        self.add_if_marked(name, schema);
                    }
                }
                members.values().for_each(|value| self.collect(value));
            }
            _ => {}
        }
    }

    /// Adds `name` if `value`, or what it refers to, is marked.
    fn add_if_marked(&mut self, name: &str, mut value: &'d Value) {
        for _ in 0..MAX_REFERENCES {
            if value[NEVER_IN_QUERY] == true {
                self.never_in_query.insert(name.to_ascii_lowercase().into(), name.into());
                return;
            }
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return };
            let Some((_, found)) = follow(self.document, reference) else { return };
            value = found;
        }
    }
}

fn text<'v>(members: &'v Map<String, Value>, name: &str) -> Option<&'v str> {
    members.get(name)?.as_str()
}

/// Retrieves nothing.
struct Nowhere;

impl jsonschema::Retrieve for Nowhere {
    fn retrieve(&self, _: &jsonschema::Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        Err("references must lead into this document".into())
    }
}
