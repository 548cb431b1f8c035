use super::*;
use crate::sandbox::world::decimal::{Money, Precise};
use jiff::civil::Date;
use proptest::prelude::*;
use std::collections::HashMap;

fn now() -> Timestamp {
    "2026-11-30T10:00:00Z".parse().unwrap()
}

fn products(seed: u64, now: Timestamp) -> Products {
    Products::seeded(seed, "sandbox-credentials-1", Some("customer-1"), "sandbox-bank-1", now)
}

#[test]
fn the_document_can_be_written_and_read_back_unchanged() {
    let state = ApiState::seeded(7, now());
    let document = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<ApiState>(&document).unwrap(), state);
    assert_eq!(state.check(), Vec::<String>::new());
}

#[test]
fn the_document_is_smaller_than_3_mib() {
    let bytes = serde_json::to_string(&ApiState::seeded(1, now())).unwrap().len();
    assert!(bytes < 3 << 20, "{bytes} bytes");
}

#[test]
fn the_same_seed_and_day_give_the_same_data() {
    let evening = "2026-11-30T23:59:59Z".parse().unwrap();
    assert_eq!(products(5, now()), products(5, evening));
    assert_ne!(products(5, now()), products(6, now()));
    // The generator's numbers are part of the promise: a new version of its crate must not change the data.
    let iban = &products(1, now()).accounts[0].iban;
    assert_eq!(iban, "XX0090546897208172438812");
}

#[test]
fn credentials_without_an_external_id_have_no_external_ids() {
    let products = Products::seeded(1, "token", None, "bank", now());
    assert!(products.accounts.iter().all(|one| one.external_id.is_none()));
    assert!(products.account_transactions.iter().all(|one| one.external_id.is_none()));
}

/// Checks that the balance after each transaction is the one before it plus the change. Returns the last ones.
fn running<'a, T: Copy + std::ops::Add<Output = T> + PartialEq + std::fmt::Debug>(
    transactions: impl Iterator<Item = (&'a str, T, T)>,
    opening: Option<T>,
) -> HashMap<&'a str, T> {
    let mut balances: HashMap<&str, T> = HashMap::new();
    for (product, change, balance) in transactions {
        if let Some(before) = balances.get(product).copied().or(opening) {
            assert_eq!(before + change, balance);
        }
        balances.insert(product, balance);
    }
    balances
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn everything_adds_up_for_every_seed_and_day(seed in any::<u64>(), day in 0..40_000_i64) {
        let now = Timestamp::from_second(day * 86_400).unwrap();
        let all = products(seed, now);
        let today: Date = now.to_string()[..10].parse().unwrap();
        let state = ApiState::seeded(seed, now);
        prop_assert_eq!(state.check(), Vec::<String>::new());

        let balances = running(
            all.account_transactions.iter().map(|one| (one.account_id.as_str(), one.amount, one.balance.unwrap())),
            None,
        );
        for account in &all.accounts {
            prop_assert_eq!(balances[account.id.as_str()], account.balance);
            let holders: Vec<_> = all.holders.iter().filter(|holder| holder.product_id == account.id).collect();
            prop_assert_eq!(&account.owners, &holders.iter().map(|holder| holder.name.clone()).collect::<Vec<_>>());
            prop_assert_eq!(account.num_owners, holders.iter().filter(|holder| holder.rel == holders::OWNER).count());
        }

        let shares = running(
            all.investment_transactions
                .iter()
                .map(|one| (one.investment_id.as_str(), one.amount, one.balance.unwrap())),
            Some(Precise::ZERO),
        );
        for investment in &all.investments {
            prop_assert_eq!(shares[investment.id.as_str()], investment.amount);
            prop_assert!(investment.amount > Precise::ZERO && investment.balance > Money::ZERO);
        }
        for portfolio in &all.portfolios {
            let own = all.investments.iter().filter(|one| one.portfolio_id == portfolio.id);
            prop_assert_eq!(own.map(|one| one.balance).sum::<Money>(), portfolio.balance);
            let holders = all.holders.iter().filter(|holder| holder.product_id == portfolio.id);
            prop_assert_eq!(&portfolio.owners, &holders.map(|holder| holder.name.clone()).collect::<Vec<_>>());
        }

        let owed = running(
            all.liability_transactions.iter().map(|one| {
                let change = one.amount + one.interest.unwrap() + one.commission.unwrap();
                (one.liability_id.as_str(), change, one.balance)
            }),
            None,
        );
        for liability in &all.liabilities {
            prop_assert_eq!(owed[liability.id.as_str()], liability.balance);
            prop_assert!(liability.balance >= Money::ZERO);
        }

        let dates = all.account_transactions.iter().map(|one| one.operation_date);
        let dates = dates.chain(all.card_transactions.iter().map(|one| one.operation_date));
        let dates = dates.chain(all.investment_transactions.iter().map(|one| one.operation_date));
        let dates = dates.chain(all.liability_transactions.iter().map(|one| one.operation_date));
        let first = today.saturating_sub(jiff::Span::new().months(24));
        for date in dates {
            prop_assert!(first <= date && date <= today, "{first} {date} {today}");
        }
        prop_assert!(all.account_transactions.is_sorted_by_key(|one| one.operation_date));
    }
}
