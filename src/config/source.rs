//! Where a configuration is read from, so that it can be read again.

use std::path::PathBuf;

use super::{ConfigFaults, Environment, Loaded, Overrides};

/// The flags and variables of a process, and the file that they name.
#[derive(Debug)]
pub struct ConfigSource {
    overrides: Overrides,
    environment: Environment,
}

impl ConfigSource {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(overrides: Overrides, environment: Environment) -> Self {
        Self { overrides, environment }
    }

    /// Reads the configuration as it is now: see [`Loaded::read`].
    ///
    /// # Errors
    /// All faults of the configuration.
    pub fn read(&self) -> Result<Loaded, ConfigFaults> {
        Loaded::read(&self.overrides, &self.environment)
    }

    /// Returns the variables.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Returns the configuration file, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        self.overrides.file(&self.environment)
    }
}
