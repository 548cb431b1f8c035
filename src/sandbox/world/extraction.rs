//! Which parts of the data were extracted from the bank, and which of them failed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One flag for each part of the data, as `created` and `errored` of a status spell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct Extraction {
    pub(in crate::sandbox) product: ProductFlags,
    pub(in crate::sandbox) transactions: TransactionFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct ProductFlags {
    pub(in crate::sandbox) auth: bool,
    pub(in crate::sandbox) account: bool,
    pub(in crate::sandbox) card: bool,
    pub(in crate::sandbox) portfolio: bool,
    pub(in crate::sandbox) investment: bool,
    pub(in crate::sandbox) liability: bool,
    pub(in crate::sandbox) holders: bool,
    pub(in crate::sandbox) mifid: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct TransactionFlags {
    pub(in crate::sandbox) account: bool,
    pub(in crate::sandbox) card: bool,
    pub(in crate::sandbox) investment: bool,
    pub(in crate::sandbox) investmentincome: bool,
    pub(in crate::sandbox) liability: bool,
}

impl Extraction {
    /// The same flag for every part.
    pub(in crate::sandbox) fn of(flag: bool) -> Self {
        Self {
            product: ProductFlags {
                auth: flag,
                account: flag,
                card: flag,
                portfolio: flag,
                investment: flag,
                liability: flag,
                holders: flag,
                mifid: flag,
            },
            transactions: TransactionFlags {
                account: flag,
                card: flag,
                investment: flag,
                investmentincome: flag,
                liability: flag,
            },
        }
    }

    /// Replaces the flags that `change` names: `{"product": {"card": true}}`.
    pub(in crate::sandbox) fn merged(&self, change: &Value) -> Result<Self, serde_json::Error> {
        let mut merged = serde_json::to_value(self)?;
        match (merged.as_object_mut(), change.as_object()) {
            (Some(groups), Some(changes)) => {
                for (name, flags) in changes {
                    match (groups.get_mut(name).and_then(Value::as_object_mut), flags.as_object()) {
                        (Some(group), Some(flags)) => group.extend(flags.clone()),
                        // Deserialising reports it.
                        _ => drop(groups.insert(name.clone(), flags.clone())),
                    }
                }
            }
            _ => merged = change.clone(),
        }
        serde_json::from_value(merged)
    }
}
