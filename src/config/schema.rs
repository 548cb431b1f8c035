//! The JSON Schema of the configuration file, for editors and for checks before a deployment.
//!
//! It is not a second list of the settings. The reader of the file runs over [`DOCUMENTS`], and a [`Recorder`] notes each
//! table and each setting with its [`Kind`](super::values::Kind) and its default. Descriptions come from the table in
//! `docs/configuration.md`.
//!
//! The hard case is a setting that is read only if another one has a certain value. The documents must therefore lead
//! the reader into every branch. A key that the reader knows but reads in no document fails a test.
//!
//! A required setting that a flag can set is not required here, because the file is valid without it.
//!
//! Rejected: schemars, because the file is read key by key, without a type that has the form of the file.

use std::cell::RefCell;

use serde_json::{Map, Value, json};

use super::environment::Environment;
use super::file::{ConfigFile, Context, Given};
use super::overrides::{FLAGS, Overrides};
use super::report::Reporter;

/// Together they lead the reader into every branch. The faults of these documents do not matter.
const DOCUMENTS: [&str; 2] = [
    "caller = [{}]",
    r#"
    caller = [{}]
    listen = { address = "unix:/gateway.sock", tls = {} }
    admin = { address = "unix:/admin.sock" }
    [[upstream]]
    keys = { url = "https://provider.invalid/keys" }
    credentials = { kind = "static" }
    "#,
];

/// The documentation of the settings. Its table has a description of each.
const DOCUMENTATION: &str = include_str!("../../docs/configuration.md");

/// Returns the schema, in the dialect of 2020-12.
pub(crate) fn schema() -> Value {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of jwe-gateway",
    });
    if let (Some(schema), Value::Object(root)) = (schema.as_object_mut(), record().schema("")) {
        schema.extend(root);
    }
    schema
}

/// Runs the reader over the documents.
fn record() -> Table {
    let environment = Environment::looked_up(|_| None);
    let recorder = Recorder::default();
    for text in DOCUMENTS {
        let report = Reporter::default();
        let given = Given::collect(&Overrides::default(), &environment, &report);
        let context = Context { given: &given, environment: &environment, report: &report, recorder: Some(&recorder) };
        // A document that is not TOML has no root. A test shows that each of them is TOML.
        if let Ok(root) = ConfigFile::of(text).root(context) {
            super::read(root);
        }
    }
    recorder.0.into_inner()
}

/// Notes what the reader reads. Paths and keys are those of the file, such as `upstream.keys` and `pin`.
#[derive(Default)]
pub(super) struct Recorder(RefCell<Table>);

/// A table of the file. Members are in the order of reading.
#[derive(Default)]
struct Table {
    is_array: bool,
    readings: usize,
    members: Vec<(String, Member)>,
}

#[derive(Default)]
struct Member {
    table: Option<Table>,
    /// `None` if the reader knows the key and has not read it.
    schema: Option<Value>,
    default: Printed,
    /// In how many readings it was required.
    required: usize,
}

/// The default of a setting, as it is printed.
#[derive(Default, PartialEq)]
enum Printed {
    #[default]
    None,
    Constant(String),
    /// It depends on other settings.
    Derived,
}

impl Recorder {
    /// Notes that the reader begins with a table. `is_array`: it is written `[[path]]`.
    pub(super) fn table(&self, path: &str, is_array: bool) {
        let mut root = self.0.borrow_mut();
        let table = root.at(path);
        table.is_array = is_array;
        table.readings += 1;
    }

    /// Notes that the reader knows a key.
    pub(super) fn known(&self, path: &str, key: &str) {
        self.0.borrow_mut().at(path).member(key);
    }

    pub(super) fn setting(&self, path: &str, key: &str, schema: Value) {
        self.0.borrow_mut().at(path).member(key).schema = Some(schema);
    }

    /// Notes a default as it is printed.
    pub(super) fn fallback(&self, path: &str, key: &str, printed: String) {
        let mut root = self.0.borrow_mut();
        let default = &mut root.at(path).member(key).default;
        *default = match &default {
            Printed::None => Printed::Constant(printed),
            Printed::Constant(earlier) if *earlier == printed => Printed::Constant(printed),
            _ => Printed::Derived,
        };
    }

    pub(super) fn required(&self, path: &str, key: &str) {
        self.0.borrow_mut().at(path).member(key).required += 1;
    }
}

impl Table {
    /// The table at `path`; the empty path means this one.
    fn at(&mut self, path: &str) -> &mut Self {
        let names = path.split('.').filter(|name| !name.is_empty());
        names.fold(self, |table, name| table.member(name).table.get_or_insert_default())
    }

    fn member(&mut self, name: &str) -> &mut Member {
        let index = self.members.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.members.push((name.to_owned(), Member::default()));
            self.members.len() - 1
        });
        &mut self.members[index].1
    }

    fn schema(&self, path: &str) -> Value {
        let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let members = self.members.iter().map(|(name, member)| (name.clone(), member.schema(&join(name))));
        let properties: Map<String, Value> = members.collect();
        let has_flag = |name: &str| FLAGS.iter().any(|flag| flag.key == join(name));
        let required = self.members.iter().filter(|(name, member)| member.required == self.readings && !has_flag(name));
        let required: Vec<_> = required.map(|(name, _)| name).collect();
        let mut table = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        if !required.is_empty() {
            table["required"] = json!(required);
        }
        if self.is_array { json!({ "type": "array", "items": table }) } else { table }
    }
}

impl Member {
    fn schema(&self, path: &str) -> Value {
        let mut schema = match (&self.table, &self.schema) {
            (Some(table), _) => table.schema(path),
            (None, Some(schema)) => schema.clone(),
            (None, None) => json!({}),
        };
        if let Some(members) = schema.as_object_mut() {
            if let Some(description) = description(path) {
                members.insert("description".to_owned(), Value::String(description));
            }
            if let Printed::Constant(printed) = &self.default {
                members.insert("default".to_owned(), json_of(printed));
            }
        }
        schema
    }
}

/// The JSON value of a printed setting. What is not a TOML value is printed without quotes.
fn json_of(printed: &str) -> Value {
    let table = toml::from_str::<Map<String, Value>>(&format!("value = {printed}"));
    let value = table.ok().and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| Value::String(printed.to_owned()))
}

/// The description of a setting in the documentation, without links.
fn description(path: &str) -> Option<String> {
    let row = documented().find(|row| row.paths.iter().any(|documented| documented == path))?;
    let [_, meaning] = row.default_and_meaning;
    let mut text = meaning.to_owned();
    while let Some(middle) = text.find("](") {
        let open = text[..middle].rfind('[')?;
        let close = middle + text[middle..].find(')')?;
        text.replace_range(middle..=close, "");
        text.remove(open);
    }
    Some(text)
}

/// A row of the table of settings in `docs/configuration.md`.
pub(super) struct DocumentedRow {
    /// The settings of the row, such as `upstream.keys.pin`.
    pub(super) paths: Vec<String>,
    /// The columns default and meaning.
    pub(super) default_and_meaning: [&'static str; 2],
}

/// The rows of the table of settings. The section is in the first row of its group only.
pub(super) fn documented() -> impl Iterator<Item = DocumentedRow> {
    let mut section = "";
    let rows = DOCUMENTATION.lines().skip_while(|line| !line.starts_with("| section |")).skip(2);
    rows.take_while(|row| row.starts_with('|')).map(move |row| {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let mut cell = || cells.next().unwrap_or_default();
        match cell().trim_matches(['`', '[', ']']) {
            "" => {}
            "(static)" => section = "upstream.credentials",
            name => section = name,
        }
        let paths = cell().split(", ").map(|key| format!("{section}.{}", key.trim_matches('`'))).collect();
        DocumentedRow { paths, default_and_meaning: [cell(), cell()] }
    })
}

#[cfg(test)]
impl Recorder {
    /// The keys that the reader knows, and has read in none of the documents.
    pub(super) fn never_read() -> Vec<String> {
        let mut found = Vec::new();
        collect("", &record(), &mut found);
        return found;

        fn collect(path: &str, table: &Table, found: &mut Vec<String>) {
            for (name, member) in &table.members {
                let path = format!("{path}.{name}");
                match (&member.table, &member.schema) {
                    (Some(table), _) => collect(&path, table, found),
                    (None, Some(_)) => {}
                    (None, None) => found.push(path),
                }
            }
        }
    }
}
