//! Where a configuration is read from, so that it can be read again.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{ConfigFaults, Environment, Loaded, Origins, Overrides};

/// The flags and variables of a process, and the file that they name.
#[derive(Debug)]
pub struct ConfigSource {
    overrides: Overrides,
    environment: Environment,
    /// Of the last configuration without a fault.
    origins: ArcSwap<Origins>,
}

impl ConfigSource {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(overrides: Overrides, environment: Environment) -> Self {
        Self { overrides, environment, origins: ArcSwap::default() }
    }

    /// Reads the configuration as it is now: see [`Loaded::read`].
    ///
    /// # Errors
    /// All faults of the configuration.
    pub fn read(&self) -> Result<Loaded, ConfigFaults> {
        let loaded = Loaded::read(&self.overrides, &self.environment)?;
        self.origins.store(Arc::new(loaded.summary.origins()));
        Ok(loaded)
    }

    /// Returns the flags and variables that set something when the configuration was last read without a fault.
    #[must_use]
    pub(crate) fn origins(&self) -> Origins {
        self.origins.load().as_ref().clone()
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
