//! The products of one credential.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use super::accounts::{self, Account, AccountTransaction};
use super::cards::{self, Card, CardTransaction};
use super::holders::{self, Holder, Identity, MifidAnswer};
use super::investments::{self, Investment, InvestmentTransaction};
use super::liabilities::{self, Liability, LiabilityTransaction};
use super::origin::Origin;
use super::portfolios::{self, Portfolio};

/// The days that a bank shows before the end user has allowed more.
const SHORT_HISTORY_DAYS: i32 = 90;

/// Everything that was extracted from one bank for one end user. Transactions are listed oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct Products {
    pub(in crate::sandbox) identity: Identity,
    pub(in crate::sandbox) accounts: Vec<Account>,
    /// Account transactions before this day are not shown. `None` shows all.
    pub(in crate::sandbox) account_transactions_from: Option<Date>,
    pub(in crate::sandbox) account_transactions: Vec<AccountTransaction>,
    pub(in crate::sandbox) cards: Vec<Card>,
    pub(in crate::sandbox) card_transactions: Vec<CardTransaction>,
    pub(in crate::sandbox) portfolios: Vec<Portfolio>,
    pub(in crate::sandbox) investments: Vec<Investment>,
    pub(in crate::sandbox) investment_transactions: Vec<InvestmentTransaction>,
    pub(in crate::sandbox) liabilities: Vec<Liability>,
    pub(in crate::sandbox) liability_transactions: Vec<LiabilityTransaction>,
    pub(in crate::sandbox) holders: Vec<Holder>,
    pub(in crate::sandbox) mifid: Vec<MifidAnswer>,
}

impl Products {
    /// The data for credentials with this token at this bank. `now` counts only as a day.
    pub(in crate::sandbox) fn seeded(
        seed: u64,
        credentials_token: &str,
        external_id: Option<&str>,
        bank: &str,
        now: Timestamp,
    ) -> Self {
        let origin = Origin { seed, credentials_token, external_id, bank, today: day(now) };
        let people = holders::people(&origin);
        let mut cards = cards::seeded(&origin, &people);
        let accounts = accounts::seeded(&origin, &people, &cards.debit.pan);
        let card_transactions = cards::transactions(&origin, &mut cards, &accounts.transactions);
        let mut products = Self {
            card_transactions,
            cards: vec![cards.debit, cards.credit],
            account_transactions: accounts.transactions,
            accounts: accounts.accounts,
            holders: [accounts.holders, cards.holders].concat(),
            mifid: holders::mifid(&origin),
            ..Self::default()
        };
        if let Some(current) = products.accounts.first() {
            let (mut portfolios, portfolio_holders) = portfolios::seeded(&origin, &people, current);
            let investments = investments::seeded(&origin, &mut portfolios);
            let liabilities = liabilities::seeded(&origin, &people, current);
            products.portfolios = portfolios;
            products.investments = investments.investments;
            products.investment_transactions = investments.transactions;
            products.liabilities = liabilities.liabilities;
            products.liability_transactions = liabilities.transactions;
            products.holders.extend(portfolio_holders);
            products.holders.extend(liabilities.holders);
        }
        products.identity = people.identity;
        products
    }

    /// The day of the newest transaction. `None` if there are no transactions.
    pub(in crate::sandbox) fn last_transaction_date(&self) -> Option<Date> {
        let accounts = self.account_transactions.iter().map(|one| one.operation_date);
        let cards = self.card_transactions.iter().map(|one| one.operation_date);
        let investments = self.investment_transactions.iter().map(|one| one.operation_date);
        let liabilities = self.liability_transactions.iter().map(|one| one.operation_date);
        accounts.chain(cards).chain(investments).chain(liabilities).max()
    }

    /// Hides the account transactions that are older than 90 days, as for credentials that are new at `now`.
    pub(in crate::sandbox) fn shorten_account_history(&mut self, now: Timestamp) {
        self.account_transactions_from = Some(day(now).saturating_sub(SHORT_HISTORY_DAYS.days()));
    }

    /// Shows all account transactions, as after the flow `transaction`.
    pub(in crate::sandbox) fn extend_account_history(&mut self) {
        self.account_transactions_from = None;
    }
}

fn day(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}
