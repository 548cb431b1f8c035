//! Portfolios. The balance of a portfolio is the sum of its investments, which have the same currency.

use serde::{Deserialize, Serialize};

use super::accounts::Account;
use super::decimal::Money;
use super::holders::{Holder, People, Shared, names};
use super::origin::{Origin, digits};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct Portfolio {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    pub(super) currency: String,
    #[serde(rename = "_id")]
    pub(super) id: String,
    /// The bank's number of the portfolio.
    #[serde(rename = "refValores")]
    pub(super) ref_valores: Option<String>,
    /// The IBAN of its main cash account.
    #[serde(rename = "refAccount")]
    pub(super) ref_account: Option<String>,
    #[serde(rename = "refAccounts")]
    pub(super) ref_accounts: Option<Vec<String>>,
    pub(super) owners: Vec<String>,
    pub(super) balance: Money,
    entity: String,
    external_id: Option<String>,
    updated_at_timestamp: i64,
}

/// Two portfolios that have no balance yet, and who holds them.
pub(super) fn seeded(origin: &Origin<'_>, people: &People, account: &Account) -> (Vec<Portfolio>, Vec<Holder>) {
    let rng = &mut origin.rng("portfolios");
    let mut holders = Vec::new();
    let kinds = [("Cartera gestionada", "managed", Shared::Owned), ("Cartera asesorada", "advised", Shared::No)];
    let portfolios = kinds.into_iter().enumerate().map(|(number, (name, kind, shared))| {
        let ids = origin.ids("portfolio", number);
        let held_by = people.holders(&ids, name, shared);
        let owners = names(&held_by);
        holders.extend(held_by);
        Portfolio {
            name: name.to_owned(),
            kind: kind.to_owned(),
            currency: account.currency.clone(),
            id: ids.id,
            ref_valores: Some(digits(rng, 12)),
            ref_account: Some(account.iban.clone()),
            ref_accounts: Some(vec![account.iban.clone()]),
            owners,
            balance: Money::ZERO,
            entity: origin.bank.to_owned(),
            external_id: ids.external_id,
            updated_at_timestamp: origin.updated_at(),
        }
    });
    (portfolios.collect(), holders)
}
