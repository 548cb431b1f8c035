//! Loans, credit lines and confirming lines (advances on invoices) with their transactions.
//!
//! The balance is what is still owed. A payment is negative. The balance after a transaction is the balance
//! before it, plus the amount, plus the interest and the commission that a payment contains.

use jiff::ToSpan;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::accounts::Account;
use super::decimal::{Decimal, Money, Precise};
use super::holders::{Holder, People, Shared};
use super::origin::{Ids, Origin, digits, money};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct Liability {
    name: String,
    #[serde(rename = "type")]
    pub(super) kind: LiabilityKind,
    pub(super) balance: Money,
    currency: String,
    /// Only of a credit.
    #[serde(rename = "availableBalance", skip_serializing_if = "Option::is_none")]
    pub(super) available_balance: Option<Money>,
    /// Only of a loan.
    #[serde(rename = "initialCapital", skip_serializing_if = "Option::is_none")]
    pub(super) initial_capital: Option<Money>,
    /// Only of a loan.
    #[serde(rename = "initialCapitalCurrency", skip_serializing_if = "Option::is_none")]
    pub(super) initial_capital_currency: Option<String>,
    #[serde(rename = "openingDate")]
    opening_date: Option<Date>,
    #[serde(rename = "expirationDate")]
    expiration_date: Option<Date>,
    entity: String,
    #[serde(rename = "_id")]
    pub(super) id: String,
    external_id: Option<String>,
    /// Only of a confirming line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<Money>,
    periodicity: Option<String>,
    subtype: Option<String>,
    interest: Option<LiabilityInterest>,
    #[serde(rename = "contractNumber")]
    contract_number: Option<String>,
    updated_at_timestamp: i64,
}

impl Liability {
    /// Whether it has exactly the members that the documentation gives to its type.
    pub(super) fn has_members_of_its_type(&self) -> bool {
        let of = |kind| self.kind == kind;
        self.available_balance.is_some() == of(LiabilityKind::Credit)
            && self.initial_capital.is_some() == of(LiabilityKind::Loan)
            && self.initial_capital_currency.is_some() == of(LiabilityKind::Loan)
            && self.limit.is_some() == of(LiabilityKind::Confirming)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sandbox) enum LiabilityKind {
    Credit,
    Loan,
    Confirming,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct LiabilityInterest {
    /// In per cent.
    rate: Option<Precise>,
    benchmark: Option<String>,
    spread: Option<String>,
    #[serde(rename = "type")]
    kind: Option<InterestKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum InterestKind {
    Fixed,
    Variable,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct LiabilityTransaction {
    pub(super) amount: Money,
    #[serde(rename = "currencyAmount")]
    currency_amount: String,
    /// What is owed after the transaction.
    pub(super) balance: Money,
    #[serde(rename = "currencyBalance")]
    currency_balance: String,
    description: String,
    #[serde(rename = "operationDate")]
    pub(super) operation_date: Date,
    #[serde(rename = "valueDate")]
    value_date: Date,
    pub(super) liability_id: String,
    credit_account: Option<String>,
    pub(super) interest: Option<Money>,
    pub(super) commission: Option<Money>,
    external_id: Option<String>,
    #[serde(rename = "_id")]
    pub(super) id: String,
    #[serde(rename = "type")]
    kind: String,
    entity: String,
    transaction_id: Option<String>,
    pair_transaction_id: Option<String>,
    order_id: Option<String>,
}

/// The liabilities of one credential with their transactions, oldest first, and who holds them.
pub(super) struct Liabilities {
    pub(super) liabilities: Vec<Liability>,
    pub(super) transactions: Vec<LiabilityTransaction>,
    pub(super) holders: Vec<Holder>,
}

/// What distinguishes the three types.
struct Kind {
    kind: LiabilityKind,
    name: &'static str,
    subtype: &'static str,
    shared: Shared,
    /// The capital of a loan, the limit of the others, in whole units.
    capital: (i64, i64),
    /// The rate of interest per year, in per mille.
    rate: i64,
    /// Texts of what increases the debt and of what decreases it.
    texts: [&'static str; 2],
}

const KINDS: [Kind; 3] = [
    Kind {
        kind: LiabilityKind::Loan,
        name: "Prestamo hipotecario",
        subtype: "mortgage",
        shared: Shared::Owned,
        capital: (80_000, 240_000),
        rate: 24,
        texts: ["DISPOSICION PRESTAMO", "CUOTA PRESTAMO"],
    },
    Kind {
        kind: LiabilityKind::Credit,
        name: "Linea de credito",
        subtype: "credit_line",
        shared: Shared::No,
        capital: (6_000, 20_000),
        rate: 60,
        texts: ["DISPOSICION CREDITO", "AMORTIZACION CREDITO"],
    },
    Kind {
        kind: LiabilityKind::Confirming,
        name: "Linea de confirming",
        subtype: "supplier_finance",
        shared: Shared::No,
        capital: (15_000, 60_000),
        rate: 36,
        texts: ["ANTICIPO FACTURA", "LIQUIDACION FACTURA"],
    },
];

pub(super) fn seeded(origin: &Origin<'_>, people: &People, account: &Account) -> Liabilities {
    let rng = &mut origin.rng("liabilities");
    let mut all = Liabilities { liabilities: Vec::new(), transactions: Vec::new(), holders: Vec::new() };
    for (number, kind) in KINDS.iter().enumerate() {
        let ids = origin.ids("liability", number);
        all.holders.extend(people.holders(&ids, kind.name, kind.shared));
        let capital = Money::whole(rng.i64(kind.capital.0..=kind.capital.1));
        let is_loan = kind.kind == LiabilityKind::Loan;
        let mut balance = capital.per_mille(if is_loan { 900 } else { rng.i64(100..400) });
        let payment = capital.per_mille(6);
        for (month, date) in origin.monthly(|| 5).into_iter().enumerate() {
            let draws = !is_loan && month % 2 == 0;
            let (amount, interest) = if draws {
                let most = (capital - balance).units() / 2;
                (money(rng, most / 4, most), Money::ZERO)
            } else if is_loan {
                (-payment, balance.per_mille(kind.rate).per_mille(1000 / 12))
            } else {
                (-balance.per_mille(rng.i64(200..600)), balance.per_mille(kind.rate).per_mille(1000 / 6))
            };
            balance += amount + interest;
            let [increase, decrease] = kind.texts;
            all.transactions.push(LiabilityTransaction {
                amount,
                currency_amount: account.currency.clone(),
                balance,
                currency_balance: account.currency.clone(),
                description: if draws { increase } else { decrease }.to_owned(),
                operation_date: date,
                value_date: date,
                liability_id: ids.id.clone(),
                credit_account: Some(account.iban.clone()),
                interest: Some(interest),
                commission: Some(Money::ZERO),
                external_id: None,
                id: String::new(),
                kind: if draws { "drawdown" } else { "payment" }.to_owned(),
                entity: origin.bank.to_owned(),
                transaction_id: Some(digits(rng, 10)),
                pair_transaction_id: None,
                order_id: None,
            });
        }
        let contract = digits(rng, 12);
        all.liabilities.push(liability(origin, kind, ids, capital, balance, &account.currency, contract));
    }
    all.transactions.sort_by_key(|one| one.operation_date);
    for (number, one) in all.transactions.iter_mut().enumerate() {
        let ids = origin.ids("liability transaction", number);
        (one.id, one.external_id) = (ids.id, ids.external_id);
    }
    all
}

fn liability(
    origin: &Origin<'_>,
    kind: &Kind,
    ids: Ids,
    capital: Money,
    balance: Money,
    currency: &str,
    contract_number: String,
) -> Liability {
    let only = |of: LiabilityKind, amount: Money| (kind.kind == of).then_some(amount);
    Liability {
        name: kind.name.to_owned(),
        kind: kind.kind,
        balance,
        currency: currency.to_owned(),
        available_balance: only(LiabilityKind::Credit, capital - balance),
        initial_capital: only(LiabilityKind::Loan, capital),
        initial_capital_currency: (kind.kind == LiabilityKind::Loan).then(|| currency.to_owned()),
        opening_date: Some(origin.first_day().saturating_sub(1.year())),
        expiration_date: Some(origin.today.saturating_add(12.years())),
        entity: origin.bank.to_owned(),
        id: ids.id,
        external_id: ids.external_id,
        limit: only(LiabilityKind::Confirming, capital),
        periodicity: Some("monthly".to_owned()),
        subtype: Some(kind.subtype.to_owned()),
        interest: Some(LiabilityInterest {
            rate: Some(Decimal::from_units(kind.rate * 1_000)),
            benchmark: (kind.kind == LiabilityKind::Loan).then(|| "SANDBOX 12M".to_owned()),
            spread: (kind.kind == LiabilityKind::Loan).then(|| "0.9".to_owned()),
            kind: Some(if kind.kind == LiabilityKind::Loan { InterestKind::Variable } else { InterestKind::Fixed }),
        }),
        contract_number: Some(contract_number),
        updated_at_timestamp: origin.updated_at(),
    }
}
