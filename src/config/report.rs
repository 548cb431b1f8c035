//! Collects faults, warnings and the settings in effect while a configuration is read.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use super::faults::{ConfigFault, ConfigFaults, SettingOrigin};

/// Every setting in effect, in the order of the documentation: `key = value  (origin)`.
///
/// It is collected while reading, from the same values as the [`Config`](super::Config), so the two cannot
/// differ. A secret is shown by its file or variable, never by its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary(Vec<SummaryLine>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct SummaryLine {
    key: String,
    value: String,
    origin: SettingOrigin,
}

impl Summary {
    /// Key, value and origin of each setting.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&str, &str, String)> {
        self.0.iter().map(|line| (line.key.as_str(), line.value.as_str(), line.origin.to_string()))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, SummaryLine { key, value, origin }) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{key} = {value}  ({origin})")?;
        }
        Ok(())
    }
}

/// The names of the flags and variables that set something, sorted, without their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origins {
    pub(crate) flags: Vec<String>,
    pub(crate) variables: Vec<String>,
}

impl Summary {
    pub(crate) fn origins(&self) -> Origins {
        let (mut flags, mut variables) = (BTreeSet::new(), BTreeSet::new());
        for SummaryLine { origin, .. } in &self.0 {
            match origin {
                SettingOrigin::Flag(name) => drop(flags.insert(name.clone())),
                SettingOrigin::Environment(name) => drop(variables.insert(name.clone())),
                SettingOrigin::File { .. } | SettingOrigin::WholeFile(_) | SettingOrigin::Default => {}
            }
        }
        Origins { flags: flags.into_iter().collect(), variables: variables.into_iter().collect() }
    }
}

/// Collects while sections are read. Uses cells, because several sections are open at a time.
#[derive(Default)]
pub(super) struct Reporter {
    faults: RefCell<Vec<ConfigFault>>,
    warnings: RefCell<Vec<String>>,
    lines: RefCell<Vec<SummaryLine>>,
}

impl Reporter {
    pub(super) fn fault(&self, fault: ConfigFault) {
        if !self.faults.borrow().contains(&fault) {
            self.faults.borrow_mut().push(fault);
        }
    }

    /// Adds a warning about a setting that works but should be changed. It has the form of a fault.
    pub(super) fn warn(&self, origin: &SettingOrigin, key: &str, message: &str) {
        let warning = ConfigFault::new(origin.clone(), key, message).to_string();
        // A variable is read once for each upstream.
        if !self.warnings.borrow().contains(&warning) {
            self.warnings.borrow_mut().push(warning);
        }
    }

    pub(super) fn show(&self, key: impl Into<String>, value: impl Into<String>, origin: SettingOrigin) {
        self.lines.borrow_mut().push(SummaryLine { key: key.into(), value: value.into(), origin });
    }

    /// The faults and warnings reported until now.
    pub(super) fn faults(&self) -> ConfigFaults {
        ConfigFaults::of(self.faults.borrow().clone(), self.warnings.borrow().clone())
    }

    /// Returns the settings in effect and the warnings.
    ///
    /// # Errors
    /// If a fault was reported.
    pub(super) fn finish(self) -> Result<(Summary, Vec<String>), ConfigFaults> {
        if self.faults.borrow().is_empty() {
            Ok((Summary(self.lines.into_inner()), self.warnings.into_inner()))
        } else {
            Err(self.faults())
        }
    }
}
