//! The configuration file: tables are read key by key, and each key that was not read is a fault.
//!
//! Rejected: serde's derive with `deny_unknown_fields`. It stops at the first fault, so a file with five
//! faults takes five runs to correct. It also cannot know that a flag or a variable replaces a key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::faults::{ConfigFault, ConfigFaults, SettingOrigin};
use super::files::reason;
use super::overrides::{FLAGS, Overrides};
use super::report::Reporter;
use super::schema::Recorder;
use super::setting::Setting;
use super::values::{Kind, Raw, closest, unexpected};

/// A configuration file. Without a file, an empty one.
pub(super) struct ConfigFile {
    name: String,
    text: String,
}

impl ConfigFile {
    pub(super) fn read(path: &Path) -> Result<Self, ConfigFault> {
        let name = path.display().to_string();
        let fault = |message: String| ConfigFault::new(SettingOrigin::WholeFile(name.clone()), "", message);
        let bytes = std::fs::read(path).map_err(|error| fault(format!("cannot be read: {}", reason(&error))))?;
        let text = String::from_utf8(bytes).map_err(|_| fault("not UTF-8 text".to_owned()))?;
        Ok(Self { name, text })
    }

    pub(super) fn empty() -> Self {
        Self::of("")
    }

    /// A file without a name.
    pub(super) fn of(text: &str) -> Self {
        Self { name: String::new(), text: text.to_owned() }
    }

    /// The table of the whole file. A key that occurs twice is a fault; reading continues with the first.
    ///
    /// # Errors
    /// The faults of a file that is not TOML. It is not read further, because its meaning would be a guess.
    pub(super) fn root<'a>(&'a self, context: Context<'a>) -> Result<Section<'a>, ConfigFaults> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        let mut is_toml = true;
        for error in &errors {
            let span = error.span().unwrap_or_default();
            let is_duplicate = error.message() == "duplicate key";
            let key = if is_duplicate { self.text.get(span.clone()).unwrap_or_default() } else { "" };
            context.report.fault(ConfigFault::new(self.position(&span), key, error.message()));
            is_toml &= is_duplicate;
        }
        if !is_toml {
            return Err(context.report.faults());
        }
        let at =
            if self.name.is_empty() { SettingOrigin::Default } else { SettingOrigin::WholeFile(self.name.clone()) };
        let root = Section::new(self, context, String::new(), at, table.into_inner());
        root.record(|recorder| recorder.table("", false));
        Ok(root)
    }

    fn position(&self, span: &Range<usize>) -> SettingOrigin {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |index| index + 1);
        SettingOrigin::File {
            file: self.name.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// The values of flags and variables, by key.
pub(super) struct Given(BTreeMap<&'static str, (SettingOrigin, String)>);

impl Given {
    pub(super) fn collect(overrides: &Overrides, environment: &Environment, report: &Reporter) -> Self {
        let mut given = BTreeMap::new();
        for flag in &FLAGS {
            match overrides.given(flag, environment) {
                Ok(Some(value)) => drop(given.insert(flag.key, value)),
                Ok(None) => {}
                Err(fault) => report.fault(fault),
            }
        }
        Self(given)
    }

    /// The keys that begin with `prefix`, each with its origin.
    pub(super) fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'static str, &'a SettingOrigin)> {
        let under = self.0.iter().filter(move |(key, _)| key.starts_with(prefix));
        under.map(|(key, (origin, _))| (*key, origin))
    }
}

/// The inputs and the report that all sections share.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) given: &'a Given,
    pub(super) environment: &'a Environment,
    pub(super) report: &'a Reporter,
    /// What is read, for the schema of the file.
    pub(super) recorder: Option<&'a Recorder>,
}

/// One table of the file, with the flags and variables for its keys.
pub(super) struct Section<'a> {
    pub(super) context: Context<'a>,
    document: &'a ConfigFile,
    /// The path in messages: `upstream[1].keys`.
    path: String,
    /// The path that flags use: `upstream.keys`. `None` if no flag can mean this table.
    given_as: Option<String>,
    at: SettingOrigin,
    entries: Vec<WrittenKey<'a>>,
    known: Vec<&'static str>,
}

struct WrittenKey<'a> {
    name: Cow<'a, str>,
    at: SettingOrigin,
    value: Spanned<DeValue<'a>>,
}

impl<'a> Section<'a> {
    fn new(
        document: &'a ConfigFile,
        context: Context<'a>,
        path: String,
        at: SettingOrigin,
        table: DeTable<'a>,
    ) -> Self {
        let entry = |(name, value): (Spanned<Cow<'a, str>>, _)| {
            let at = document.position(&name.span());
            WrittenKey { at, name: name.into_inner(), value }
        };
        let entries = table.into_iter().map(entry).collect();
        Self { context, document, given_as: Some(path.clone()), path, at, entries, known: Vec::new() }
    }

    fn empty(&self, path: String) -> Self {
        let at = self.at.clone();
        let given_as = Some(path.clone());
        let (context, document) = (self.context, self.document);
        Self { context, document, path, given_as, at, entries: Vec::new(), known: Vec::new() }
    }

    /// The table `name` inside this one, or an empty one.
    pub(super) fn section(&mut self, name: &'static str) -> Self {
        let path = join(&self.path, name);
        let mut section = match self.take(name) {
            None => self.empty(path),
            Some(WrittenKey { at, value, .. }) => match value.into_inner() {
                DeValue::Table(table) => Self::new(self.document, self.context, path, at, table),
                other => {
                    self.fault_at(&at, name, unexpected("a table", &other));
                    self.empty(path)
                }
            },
        };
        section.given_as = self.given_as.as_ref().map(|parent| join(parent, name));
        section.record(|recorder| recorder.table(&section.path, false));
        section
    }

    /// The tables written `[[name]]`. If there is none, one empty table that flags and variables can fill.
    pub(super) fn tables_or_one(&mut self, name: &'static str) -> Vec<Self> {
        let tables = self.tables(name);
        if !tables.is_empty() {
            return tables;
        }
        let table = self.empty(join(&self.path, name));
        table.record(|recorder| recorder.table(&table.path, true));
        vec![table]
    }

    /// The tables written `[[name]]`. Flags and variables apply only if there is exactly one.
    pub(super) fn tables(&mut self, name: &'static str) -> Vec<Self> {
        let tables = match self.take(name) {
            None => Vec::new(),
            Some(WrittenKey { at, value, .. }) => match value.into_inner() {
                DeValue::Array(items) => items.into_iter().filter_map(|item| self.element(name, item)).collect(),
                DeValue::Table(table) => {
                    self.fault_at(&at, name, format!("write [[{name}]] with two brackets"));
                    vec![(at, table)]
                }
                other => {
                    self.fault_at(&at, name, unexpected(&format!("[[{name}]] tables"), &other));
                    Vec::new()
                }
            },
        };
        let are_several = tables.len() > 1;
        let tables = tables.into_iter().enumerate().map(|(index, (at, table))| {
            let path = join(&self.path, name);
            let path = if are_several { format!("{path}[{index}]") } else { path };
            let mut section = Self::new(self.document, self.context, path, at, table);
            section.given_as = (!are_several).then(|| name.to_owned());
            section.record(|recorder| recorder.table(&section.path, true));
            section
        });
        tables.collect()
    }

    /// Whether a flag, a variable or the file sets `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.given(key).is_some() || self.entries.iter().any(|entry| entry.name == key)
    }

    /// The value of a flag or a variable for `key`.
    pub(super) fn given(&self, key: &str) -> Option<(&'a SettingOrigin, &'a str)> {
        let path = join(self.given_as.as_ref()?, key);
        let (origin, text) = self.context.given.0.get(path.as_str())?;
        Some((origin, text))
    }

    /// Whether flags and variables apply to this table.
    pub(super) fn is_only_one(&self) -> bool {
        self.given_as.is_some()
    }

    /// The setting `key`, or its default.
    pub(super) fn setting<T>(&mut self, key: &'static str, kind: &Kind<T>, default: T) -> Setting<T> {
        let is_given = self.has(key);
        match self.optional(key, kind) {
            Some(setting) => setting,
            None if is_given => self.default(key, default, true),
            None => {
                self.record(|recorder| recorder.fallback(&self.path, key, (kind.show)(&default)));
                self.context.report.show(join(&self.path, key), (kind.show)(&default), SettingOrigin::Default);
                self.default(key, default, false)
            }
        }
    }

    /// The setting `key`, which has no default. If it is missing, that is a fault, and `advice` says what to
    /// do. If it is missing or faulty, `replacement` is returned, so that reading can continue.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        kind: &Kind<T>,
        advice: &str,
        replacement: T,
    ) -> Setting<T> {
        self.record(|recorder| recorder.required(&self.path, key));
        if !self.has(key) {
            self.refuse_absence(key, advice);
        }
        self.optional(key, kind).unwrap_or_else(|| self.default(key, replacement, true))
    }

    /// The setting `key`. `None` if it is not set, and if it is faulty (which is reported).
    pub(super) fn optional<T>(&mut self, key: &'static str, kind: &Kind<T>) -> Option<Setting<T>> {
        self.record(|recorder| recorder.setting(&self.path, key, (kind.schema)()));
        let written = self.take(key);
        self.given_only(key, kind).or_else(|| {
            let entry = written.filter(|_| self.given(key).is_none())?;
            let value = (kind.parse)(&Raw::Written(entry.value.get_ref()));
            self.setting_of(key, kind, entry.at, value)
        })
    }

    /// The setting `key` from flags and variables alone.
    pub(super) fn given_only<T>(&self, key: &str, kind: &Kind<T>) -> Option<Setting<T>> {
        let (origin, text) = self.given(key)?;
        self.setting_of(key, kind, origin.clone(), (kind.parse)(&Raw::Given(text)))
    }

    /// A setting that was not written, with a value derived from others.
    pub(super) fn derived<T>(
        &mut self,
        key: &'static str,
        kind: &Kind<T>,
        value: T,
        origin: SettingOrigin,
    ) -> Setting<T> {
        self.skip(key);
        let key = join(&self.path, key);
        self.context.report.show(key.as_str(), (kind.show)(&value), origin.clone());
        Setting { value, origin, table: self.at.clone(), key, is_faulty: false }
    }

    /// Marks `key` as known, and does not read it.
    pub(super) fn skip(&mut self, key: &'static str) {
        drop(self.take(key));
    }

    /// Reports `key` as a fault if it is set.
    pub(super) fn refuse(&mut self, key: &'static str, message: &str) {
        let written = self.take(key).map(|entry| entry.at);
        if let Some(origin) = self.given(key).map(|(origin, _)| origin.clone()).or(written) {
            self.fault_at(&origin, key, message);
        }
    }

    /// Reports that `key` is missing.
    pub(super) fn refuse_absence(&self, key: &'static str, message: &str) {
        self.fault_at(&self.at, key, format!("missing: {message}"));
    }

    /// Reports every key that was not read.
    pub(super) fn finish(self) {
        for entry in &self.entries {
            let message = match entry.name.as_ref() {
                "client_secret" | "secret" => "a secret must not be in this file: name a file that holds it".to_owned(),
                name => match closest(name, self.known.iter().copied()) {
                    Some(known) => format!("unknown key; did you mean {known}?"),
                    None => format!("unknown key; the known keys are {}", self.known.join(", ")),
                },
            };
            self.fault_at(&entry.at, &entry.name, message);
        }
    }

    fn setting_of<T>(
        &self,
        key: &str,
        kind: &Kind<T>,
        origin: SettingOrigin,
        value: Result<T, String>,
    ) -> Option<Setting<T>> {
        let key = join(&self.path, key);
        match value {
            Ok(value) => {
                self.context.report.show(key.as_str(), (kind.show)(&value), origin.clone());
                Some(Setting { value, origin, table: self.at.clone(), key, is_faulty: false })
            }
            Err(message) => {
                self.context.report.fault(ConfigFault::new(origin, key, message));
                None
            }
        }
    }

    fn take(&mut self, key: &'static str) -> Option<WrittenKey<'a>> {
        if !self.known.contains(&key) {
            self.known.push(key);
            self.record(|recorder| recorder.known(&self.path, key));
        }
        let index = self.entries.iter().position(|entry| entry.name == key)?;
        Some(self.entries.remove(index))
    }

    fn record(&self, note: impl FnOnce(&Recorder)) {
        if let Some(recorder) = self.context.recorder {
            note(recorder);
        }
    }

    fn element(&self, name: &str, item: Spanned<DeValue<'a>>) -> Option<(SettingOrigin, DeTable<'a>)> {
        let at = self.document.position(&item.span());
        match item.into_inner() {
            DeValue::Table(table) => Some((at, table)),
            other => {
                self.fault_at(&at, name, unexpected("a table", &other));
                None
            }
        }
    }

    fn default<T>(&self, key: &str, value: T, is_faulty: bool) -> Setting<T> {
        let (origin, table) = (SettingOrigin::Default, self.at.clone());
        Setting { value, origin, table, key: join(&self.path, key), is_faulty }
    }

    fn fault_at(&self, at: &SettingOrigin, key: &str, message: impl Into<String>) {
        self.context.report.fault(ConfigFault::new(at.clone(), join(&self.path, key), message));
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
