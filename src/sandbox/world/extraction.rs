//! Which parts of the data were extracted from the bank, and which of them failed.

use serde::{Deserialize, Serialize};

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
}
