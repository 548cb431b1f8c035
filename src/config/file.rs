//! The file as written: tables are read key by key, and what nobody asked for is a fault.
//!
//! Rejected: serde's derive with `deny_unknown_fields`. It stops at the first fault, so a file
//! with five of them takes five runs to mend; and it cannot know that a flag or a variable
//! takes a key's place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::faults::{ConfigFault, ConfigFaults, SettingOrigin};
use super::overrides::{FLAGS, Overrides};
use super::report::Reporter;
use super::values::{Kind, Raw, closest, unexpected};

/// A configuration file; no file at all is an empty one.
pub(super) struct ConfigFile {
    name: String,
    text: String,
}

impl ConfigFile {
    pub(super) fn read(path: &Path) -> Result<Self, ConfigFault> {
        let name = path.display().to_string();
        let fault = |message: String| ConfigFault::new(SettingOrigin::WholeFile(name.clone()), "", message);
        let bytes = std::fs::read(path).map_err(|error| fault(format!("cannot be read: {}", error.kind())))?;
        let text = String::from_utf8(bytes).map_err(|_| fault("is not UTF-8".to_owned()))?;
        Ok(Self { name, text })
    }

    pub(super) fn empty() -> Self {
        Self { name: String::new(), text: String::new() }
    }

    /// The table of the whole file. A key given twice is a fault, and reading goes on with the
    /// first.
    ///
    /// # Errors
    /// The faults of a file that is not TOML: what it was meant to say would be a guess.
    pub(super) fn root<'a>(&'a self, context: Context<'a>) -> Result<Section<'a>, ConfigFaults> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        let mut is_toml = true;
        for error in &errors {
            let span = error.span().unwrap_or_default();
            let is_duplicate = error.message() == "duplicate key";
            let key = if is_duplicate { self.text.get(span.clone()).unwrap_or_default() } else { "" };
            context.report.fault(ConfigFault::new(self.place(&span), key, error.message()));
            is_toml &= is_duplicate;
        }
        if !is_toml {
            return Err(context.report.faults());
        }
        let at =
            if self.name.is_empty() { SettingOrigin::Default } else { SettingOrigin::WholeFile(self.name.clone()) };
        Ok(Section::new(self, context, String::new(), at, table.into_inner()))
    }

    fn place(&self, span: &Range<usize>) -> SettingOrigin {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |index| index + 1);
        SettingOrigin::File {
            file: self.name.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// What flags and variables give, by key.
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

    /// Those whose key begins with `prefix`.
    pub(super) fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'static str, &'a SettingOrigin)> {
        let under = self.0.iter().filter(move |(key, _)| key.starts_with(prefix));
        under.map(|(key, (origin, _))| (*key, origin))
    }
}

/// What every section is read with.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) given: &'a Given,
    pub(super) environment: &'a Environment,
    pub(super) report: &'a Reporter,
}

/// One table of the file, with the flags and variables that stand for its keys.
pub(super) struct Section<'a> {
    pub(super) context: Context<'a>,
    document: &'a ConfigFile,
    /// As shown: `upstream[1].keys`.
    path: String,
    /// As the flags name it: `upstream.keys`. `None` when no flag can mean this table.
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

/// A value in effect, and who set it.
#[derive(Clone, Debug)]
pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) origin: SettingOrigin,
    /// Where its table is written: the place to write it, when nobody did.
    table: SettingOrigin,
    /// Its full path.
    pub(super) key: String,
    /// What was written is a fault, reported already; `value` is the default. Nothing more
    /// can be said about it.
    is_faulty: bool,
}

impl<T> Setting<T> {
    pub(super) fn is_faulty(&self) -> bool {
        self.is_faulty
    }

    /// The same setting, faulty if `other` is: it was made from it.
    pub(super) fn unless_faulty<U>(self, other: &Setting<U>) -> Self {
        Self { is_faulty: self.is_faulty || other.is_faulty, ..self }
    }

    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> Setting<U> {
        let Self { value, origin, table, key, is_faulty } = self;
        Setting { value: f(value), origin, table, key, is_faulty }
    }

    /// Reports a fault of this setting, unless it has one already.
    pub(super) fn fault(&self, report: &Reporter, message: impl Into<String>) {
        if !self.is_faulty {
            let place = if self.origin == SettingOrigin::Default { &self.table } else { &self.origin };
            report.fault(ConfigFault::new(place.clone(), self.key.as_str(), message));
        }
    }

    /// Reports a fault of this setting and `other` together, unless one has a fault already.
    /// It is put where somebody wrote one of the two.
    pub(super) fn fault_with<U>(&self, other: &Setting<U>, report: &Reporter, message: impl Into<String>) {
        if self.is_faulty || other.is_faulty {
            return;
        }
        if self.origin == SettingOrigin::Default && other.origin != SettingOrigin::Default {
            other.fault(report, message);
        } else {
            self.fault(report, message);
        }
    }
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
            let at = document.place(&name.span());
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

    /// The table `name` inside this one; an empty one when it is not written.
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
        section
    }

    /// The tables written `[[name]]`, or one empty table when there is none, which flags and
    /// variables can fill.
    pub(super) fn tables_or_one(&mut self, name: &'static str) -> Vec<Self> {
        let tables = self.tables(name);
        if tables.is_empty() { vec![self.empty(join(&self.path, name))] } else { tables }
    }

    /// The tables written `[[name]]`. Flags and variables belong to the table only if there is
    /// exactly one.
    pub(super) fn tables(&mut self, name: &'static str) -> Vec<Self> {
        let tables = match self.take(name) {
            None => Vec::new(),
            Some(WrittenKey { at, value, .. }) => match value.into_inner() {
                DeValue::Array(items) => items.into_iter().filter_map(|item| self.element(name, item)).collect(),
                DeValue::Table(table) => {
                    self.fault_at(&at, name, format!("write [[{name}]], with two brackets"));
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
            section
        });
        tables.collect()
    }

    /// Whether `key` was given by flag, variable or file.
    pub(super) fn has(&self, key: &str) -> bool {
        self.given(key).is_some() || self.entries.iter().any(|entry| entry.name == key)
    }

    /// What a flag or a variable says for `key`.
    pub(super) fn given(&self, key: &str) -> Option<(&'a SettingOrigin, &'a str)> {
        let path = join(self.given_as.as_ref()?, key);
        let (origin, text) = self.context.given.0.get(path.as_str())?;
        Some((origin, text))
    }

    /// Whether flags and variables can mean this table.
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
                self.context.report.show(join(&self.path, key), (kind.show)(&default), SettingOrigin::Default);
                self.default(key, default, false)
            }
        }
    }

    /// The setting `key`, which has no default; its absence is a fault and `advice` says what to do.
    /// `stand_in` takes its place where it is missing or faulty, so that reading can go on.
    pub(super) fn required<T>(&mut self, key: &'static str, kind: &Kind<T>, advice: &str, stand_in: T) -> Setting<T> {
        if !self.has(key) {
            self.refuse_absence(key, advice);
        }
        self.optional(key, kind).unwrap_or_else(|| self.default(key, stand_in, true))
    }

    /// The setting `key`. `None` when it is not given, and when it is faulty (which is reported).
    pub(super) fn optional<T>(&mut self, key: &'static str, kind: &Kind<T>) -> Option<Setting<T>> {
        let written = self.take(key);
        self.given_only(key, kind).or_else(|| {
            let entry = written.filter(|_| self.given(key).is_none())?;
            let value = (kind.parse)(&Raw::Written(entry.value.get_ref()));
            self.judge(key, kind, entry.at, value)
        })
    }

    /// The same, of flags and variables alone.
    pub(super) fn given_only<T>(&self, key: &str, kind: &Kind<T>) -> Option<Setting<T>> {
        let (origin, text) = self.given(key)?;
        self.judge(key, kind, origin.clone(), (kind.parse)(&Raw::Given(text)))
    }

    /// A setting that nobody gave under its own name.
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

    /// Takes `key` unread.
    pub(super) fn skip(&mut self, key: &'static str) {
        drop(self.take(key));
    }

    /// Takes `key` and, when it is given, reports it as a fault.
    pub(super) fn refuse(&mut self, key: &'static str, message: &str) {
        let written = self.take(key).map(|entry| entry.at);
        if let Some(origin) = self.given(key).map(|(origin, _)| origin.clone()).or(written) {
            self.fault_at(&origin, key, message);
        }
    }

    /// Reports that `key` is not given, and ought to be.
    pub(super) fn refuse_absence(&self, key: &'static str, message: &str) {
        self.fault_at(&self.at, key, format!("missing: {message}"));
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        for entry in &self.entries {
            let message = match entry.name.as_ref() {
                "client_secret" | "secret" => "a secret is not written here: name a file that holds it".to_owned(),
                name => match closest(name, self.known.iter().copied()) {
                    Some(known) => format!("unknown key; did you mean {known}?"),
                    None => format!("unknown key; known are {}", self.known.join(", ")),
                },
            };
            self.fault_at(&entry.at, &entry.name, message);
        }
    }

    fn judge<T>(
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
        }
        let index = self.entries.iter().position(|entry| entry.name == key)?;
        Some(self.entries.remove(index))
    }

    fn element(&self, name: &str, item: Spanned<DeValue<'a>>) -> Option<(SettingOrigin, DeTable<'a>)> {
        let at = self.document.place(&item.span());
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
