//! The data of the provider: banks, credentials with their products, link codes and letters, as one document.
//!
//! The same seed and the same day give the same data, on every platform. Each credential owns its products, so
//! deleting it removes them everywhere. The management interface hands out the document and takes another one:
//! [`ApiState::check`] reports what is wrong with it in plain text.

mod accounts;
mod bank;
mod cards;
mod check;
mod decimal;
mod extraction;
mod holders;
mod investments;
mod liabilities;
mod origin;
mod portfolios;
mod products;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::bank_credentials::BankCredentials;
use super::letters::Letters;
use super::links::Links;

pub(super) use self::bank::Bank;
pub(super) use self::extraction::Extraction;
pub(super) use self::holders::Identity;
pub(super) use self::investments::is_income;
pub(super) use self::products::Products;

/// The data that API calls read and change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiState {
    /// The products of new credentials depend on it.
    pub(super) seed: u64,
    pub(super) banks: Vec<Bank>,
    pub(super) credentials: BankCredentials,
    pub(super) links: Links,
    pub(super) letters: Letters,
}

impl ApiState {
    pub(super) fn seeded(seed: u64, now: Timestamp) -> Self {
        let (letters, connection) = Letters::seeded(seed, now);
        let mut state = Self {
            seed,
            banks: bank::seeded(),
            credentials: BankCredentials::seeded(seed, now),
            links: Links::seeded(),
            letters,
        };
        state.connect(connection);
        state
    }

    /// Returns one sentence for each fault of a document that came from outside. No sentence: no fault.
    pub(super) fn check(&self) -> Vec<String> {
        check::faults(self)
    }
}

#[cfg(test)]
mod tests;
