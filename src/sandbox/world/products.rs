//! The products of one credential.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Everything that was extracted from one bank for one end user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct Products {}

impl Products {
    /// The data for credentials with this token at this bank. `now` counts only as a day.
    pub(in crate::sandbox) fn seeded(
        _seed: u64,
        _credentials_token: &str,
        _external_id: Option<&str>,
        _bank: &str,
        _now: Timestamp,
    ) -> Self {
        Self {}
    }
}
