//! A setting: its value, where it was written, and the report of its faults.

use super::faults::{ConfigFault, SettingOrigin};
use super::report::Reporter;

/// A value in effect, and its origin.
#[derive(Clone, Debug)]
pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) origin: SettingOrigin,
    /// Where its table is written. A fault of a setting that was not written is reported there.
    pub(super) table: SettingOrigin,
    /// Its full path.
    pub(super) key: String,
    /// The written value is faulty and was reported; `value` is the default. No other fault of this setting
    /// is reported.
    pub(super) is_faulty: bool,
}

impl<T> Setting<T> {
    pub(super) fn is_faulty(&self) -> bool {
        self.is_faulty
    }

    /// The same setting, faulty if `other` is faulty, because it is derived from `other`.
    pub(super) fn unless_faulty<U>(self, other: &Setting<U>) -> Self {
        Self { is_faulty: self.is_faulty || other.is_faulty, ..self }
    }

    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> Setting<U> {
        let Self { value, origin, table, key, is_faulty } = self;
        Setting { value: f(value), origin, table, key, is_faulty }
    }

    /// Reports a fault of this setting, unless it already has one.
    pub(super) fn fault(&self, report: &Reporter, message: impl Into<String>) {
        if !self.is_faulty {
            let origin = if self.origin == SettingOrigin::Default { &self.table } else { &self.origin };
            report.fault(ConfigFault::new(origin.clone(), self.key.as_str(), message));
        }
    }

    /// Reports a fault of this setting and `other` together, unless one of them already has a fault. The
    /// fault is reported at the one that was written.
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
