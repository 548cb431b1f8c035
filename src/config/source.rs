//! Where a configuration is read from, so that it can be read again.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::{ConfigFaults, Environment, Loaded, Origins, Overrides};

/// The flags and variables of a process, and the file that they name.
#[derive(Debug)]
pub struct ConfigSource {
    overrides: Overrides,
    environment: Environment,
    /// Of the configuration in use. None before the first configuration was read.
    origins: ArcSwapOption<Origins>,
}

impl ConfigSource {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(overrides: Overrides, environment: Environment) -> Self {
        Self { overrides, environment, origins: ArcSwapOption::empty() }
    }

    /// Reads the configuration as it is now: see [`Loaded::read`]. The first one that has no fault counts as in use.
    ///
    /// # Errors
    /// All faults of the configuration.
    pub fn read(&self) -> Result<Loaded, ConfigFaults> {
        let loaded = Loaded::read(&self.overrides, &self.environment)?;
        if self.origins.load().is_none() {
            self.came_into_use(loaded.summary.origins());
        }
        Ok(loaded)
    }

    /// Takes note of the flags and variables that set something in the configuration that has come into use.
    pub(crate) fn came_into_use(&self, origins: Origins) {
        self.origins.store(Some(Arc::new(origins)));
    }

    /// Returns the flags and variables that set something in the configuration in use.
    #[must_use]
    pub(crate) fn origins(&self) -> Origins {
        self.origins.load().as_deref().cloned().unwrap_or_default()
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
