//! The faults of a configuration, each with the place where it was written.

use std::fmt;

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingOrigin {
    /// A position in the configuration file. Line and column count from 1, in characters.
    File {
        /// The path, as on the command line.
        file: String,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// The configuration file as a whole.
    WholeFile(String),
    /// A flag, with its dashes.
    Flag(String),
    /// An environment variable.
    Environment(String),
    /// Not written: the default applies.
    Default,
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::WholeFile(name) | Self::Flag(name) | Self::Environment(name) => f.write_str(name),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One fault. Its text never contains a secret, nor a URL, because a URL may contain one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigFault {
    origin: SettingOrigin,
    key: String,
    message: String,
}

impl ConfigFault {
    pub(super) fn new(origin: SettingOrigin, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { origin, key: key.into(), message: message.into() }
    }

    /// Where the faulty setting was written.
    #[must_use]
    pub fn origin(&self) -> &SettingOrigin {
        &self.origin
    }

    /// The path of the setting in the file, such as `limits.max_body`; empty if the fault is not about one
    /// setting.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong, what is allowed, and what to do.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// `file:line:column: key: message`, `--flag: message`, `VARIABLE: message` or `key: message`.
impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != SettingOrigin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        // The name of a flag or a variable already identifies the setting.
        if !self.key.is_empty() && !matches!(self.origin, SettingOrigin::Flag(_) | SettingOrigin::Environment(_)) {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// All faults of a configuration: one line each, in the order of the file. The warnings follow, because one
/// may name the reason for a fault: a misspelt variable, for example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFaults {
    faults: Vec<ConfigFault>,
    warnings: Vec<String>,
}

impl ConfigFaults {
    pub(super) fn of(mut faults: Vec<ConfigFault>, warnings: Vec<String>) -> Self {
        faults.sort();
        faults.dedup();
        Self { faults, warnings }
    }

    /// The faults of the file in its order, then those of flags, then those of variables.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigFault> {
        self.faults.iter()
    }

    /// Settings that work but should be changed, one line each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        self.warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}

impl std::error::Error for ConfigFaults {}
