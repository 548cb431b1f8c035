//! The banks that end users have credentials at.

use serde::{Deserialize, Serialize};

/// A bank, as `/v0/bank/available` spells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct Bank {
    pub(in crate::sandbox) id: String,
    pub(in crate::sandbox) name: String,
    /// The VAT number.
    pub(in crate::sandbox) cif: String,
    /// Whether each login needs a second factor.
    #[serde(rename = "alwaysManualRefresh")]
    pub(in crate::sandbox) always_manual_refresh: bool,
}

pub(super) fn seeded() -> Vec<Bank> {
    [
        ("sandbox-bank-1", "First Sandbox Bank", "X00000001", false),
        ("sandbox-bank-2", "Second Sandbox Bank", "X00000002", true),
        ("sandbox-bank-3", "Third Sandbox Bank", "X00000003", false),
    ]
    .map(|(id, name, cif, always_manual_refresh)| Bank {
        id: id.to_owned(),
        name: name.to_owned(),
        cif: cif.to_owned(),
        always_manual_refresh,
    })
    .to_vec()
}
