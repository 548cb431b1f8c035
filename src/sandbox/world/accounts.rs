//! Cash accounts and their transactions.
//!
//! Every credential has a current account and a savings account. The balance of an account is its opening
//! balance plus the sum of its transactions, and each transaction shows the balance after it. The descriptions
//! suit the examples of the provider's quickstart: every month has one that starts with `TRANSFERENCIA`, one
//! that contains `TRIVAGO`, one that is `INGRESO CAJERO`, and one between 10 and 20.

use fastrand::Rng;
use jiff::ToSpan;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::decimal::Money;
use super::holders::{Holder, People, Shared, names, owners};
use super::origin::{Origin, digits, iban, money};

pub(super) const CURRENCY: &str = "EUR";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct Account {
    pub(super) iban: String,
    pub(super) entity: String,
    pub(super) alias: String,
    pub(super) balance: Money,
    pub(super) currency: String,
    pub(super) description: Option<String>,
    #[serde(rename = "isOwner")]
    pub(super) is_owner: Option<bool>,
    /// The number of holders who own the account.
    #[serde(rename = "numOwners")]
    pub(super) num_owners: usize,
    /// The names of all holders.
    pub(super) owners: Vec<String>,
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) external_id: Option<String>,
    pub(super) updated_at_timestamp: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct AccountTransaction {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) external_id: Option<String>,
    pub(super) entity: String,
    pub(super) account_id: String,
    pub(super) amount: Money,
    /// The balance of the account after the transaction.
    pub(super) balance: Option<Money>,
    #[serde(rename = "cardNumber")]
    pub(super) card_number: Option<String>,
    pub(super) category: Option<String>,
    pub(super) flanks_category: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) currency: String,
    #[serde(rename = "operationDate")]
    pub(in crate::sandbox) operation_date: Date,
    #[serde(rename = "valueDate")]
    pub(super) value_date: Date,
    pub(super) description: String,
    #[serde(rename = "productDescription")]
    pub(super) product_description: String,
    pub(super) transaction_id: Option<String>,
    pub(super) transfer: Transfer,
    /// A code of the Spanish format for statements.
    pub(super) norma43: Option<String>,
    pub(super) order_id: Option<String>,
    pub(super) pair_transaction_id: Option<String>,
}

/// Payer and beneficiary of a transfer. All members are null for other transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::sandbox) struct Transfer {
    beneficiary: Option<String>,
    iban_beneficiary: Option<String>,
    iban_ordenant: Option<String>,
    ordenant: Option<String>,
}

/// What happens once in each month.
struct Event {
    description: &'static str,
    category: &'static str,
    kind: &'static str,
    norma43: &'static str,
    /// The first and the last day of the month on which it can happen.
    days: (i8, i8),
    /// The least and the greatest amount in cents.
    cents: (i64, i64),
}

const fn event(
    description: &'static str,
    category: &'static str,
    kind: &'static str,
    norma43: &'static str,
    days: (i8, i8),
    cents: (i64, i64),
) -> Event {
    Event { description, category, kind, norma43, days, cents }
}

const TRANSFER: &str = "transfer";
const CARD: &str = "card";

/// The savings account gets what leaves the current account by this event.
const TO_SAVINGS: &str = "TRASPASO A CUENTA DE AHORRO";

const CURRENT: [Event; 9] = [
    event("TRANSFERENCIA NOMINA EMPRESA DE PRUEBA", "salary", TRANSFER, "15", (24, 28), (210_000, 390_000)),
    event("TRANSFERENCIA ALQUILER VIVIENDA", "housing", TRANSFER, "04", (1, 5), (-115_000, -65_000)),
    event("RECIBO ENERGIA MUESTRA", "utilities", "direct_debit", "03", (6, 12), (-12_000, -3_500)),
    event("COMPRA SUPERMERCADO MUESTRA", "groceries", CARD, "12", (1, 28), (-14_000, -1_200)),
    event("COMPRA CAFETERIA EJEMPLO", "restaurants", CARD, "12", (1, 28), (-4_800, -500)),
    event("RESERVA HOTEL TRIVAGO ONLINE", "travel", CARD, "12", (8, 20), (-28_000, -6_000)),
    event("INGRESO CAJERO", "cash", "cash", "02", (10, 18), (2_000, 20_000)),
    event("DEVOLUCION COMPRA", "refunds", CARD, "14", (14, 22), (1_000, 2_000)),
    event(TO_SAVINGS, "savings", TRANSFER, "04", (28, 28), (-30_000, -5_000)),
];

const INTEREST: Event = event("INTERESES CUENTA DE AHORRO", "interest", "interest", "17", (2, 2), (10, 999));

/// The accounts of one credential with their transactions, oldest first, and who holds the accounts.
pub(super) struct Accounts {
    pub(super) accounts: Vec<Account>,
    pub(super) transactions: Vec<AccountTransaction>,
    pub(super) holders: Vec<Holder>,
}

/// The purchases are made with the card of this `pan`.
pub(super) fn seeded(origin: &Origin<'_>, people: &People, pan: &str) -> Accounts {
    let rng = &mut origin.rng("accounts");
    let (mut current, current_holders) = account(origin, people, rng, 0, "Cuenta corriente", Shared::Owned);
    let (mut savings, savings_holders) = account(origin, people, rng, 1, "Cuenta de ahorro", Shared::No);

    let mut transactions = Vec::new();
    for event in &CURRENT {
        for date in origin.monthly(|| rng.i8(event.days.0..=event.days.1)) {
            let mut one = transaction(origin, rng, event, &current, date);
            if event.kind == CARD {
                one.card_number = Some(pan.to_owned());
            } else if event.kind == TRANSFER {
                one.transfer = transfer(rng, people, &one, &current, &savings);
            }
            if event.description == TO_SAVINGS {
                let mut other = transaction(origin, rng, event, &savings, date);
                other.amount = -one.amount;
                other.transfer = one.transfer.clone();
                transactions.push(other);
            }
            transactions.push(one);
        }
    }
    for date in origin.monthly(|| INTEREST.days.0) {
        transactions.push(transaction(origin, rng, &INTEREST, &savings, date));
    }
    transactions.sort_by_key(|one| one.operation_date);
    current.balance = money(rng, 80_000, 400_000);
    savings.balance = money(rng, 200_000, 2_000_000);
    for (number, one) in transactions.iter_mut().enumerate() {
        let ids = origin.ids("account transaction", number);
        (one.id, one.external_id) = (ids.id, ids.external_id);
        let account = if one.account_id == current.id { &mut current } else { &mut savings };
        account.balance += one.amount;
        one.balance = Some(account.balance);
    }
    let holders = [current_holders, savings_holders].concat();
    Accounts { accounts: vec![current, savings], transactions, holders }
}

fn account(
    origin: &Origin<'_>,
    people: &People,
    rng: &mut Rng,
    number: usize,
    alias: &str,
    shared: Shared,
) -> (Account, Vec<Holder>) {
    let ids = origin.ids("account", number);
    let holders = people.holders(&ids, alias, shared);
    let account = Account {
        iban: iban(rng),
        entity: origin.bank.to_owned(),
        alias: alias.to_owned(),
        balance: Money::ZERO,
        currency: CURRENCY.to_owned(),
        description: Some(format!("{} EN EUROS", alias.to_uppercase())),
        is_owner: Some(true),
        num_owners: owners(&holders),
        owners: names(&holders),
        id: ids.id,
        external_id: ids.external_id,
        updated_at_timestamp: origin.updated_at(),
    };
    (account, holders)
}

/// A transaction that has no identifiers and no balance yet.
fn transaction(origin: &Origin<'_>, rng: &mut Rng, event: &Event, account: &Account, date: Date) -> AccountTransaction {
    AccountTransaction {
        id: String::new(),
        external_id: None,
        entity: origin.bank.to_owned(),
        account_id: account.id.clone(),
        amount: money(rng, event.cents.0, event.cents.1),
        balance: None,
        card_number: None,
        category: Some(event.category.to_owned()),
        flanks_category: event.category.to_owned(),
        kind: event.kind.to_owned(),
        currency: CURRENCY.to_owned(),
        operation_date: date,
        value_date: date.saturating_add(rng.i32(0..=1).days()).min(origin.today),
        description: event.description.to_owned(),
        product_description: account.alias.clone(),
        transaction_id: Some(digits(rng, 10)),
        transfer: Transfer::default(),
        norma43: Some(event.norma43.to_owned()),
        order_id: None,
        pair_transaction_id: None,
    }
}

/// The parties of a transfer to or from the current account.
fn transfer(
    rng: &mut Rng,
    people: &People,
    one: &AccountTransaction,
    current: &Account,
    savings: &Account,
) -> Transfer {
    let own = (people.owner.clone(), current.iban.clone());
    let other = match one.description.as_str() {
        TO_SAVINGS => (people.owner.clone(), savings.iban.clone()),
        _ if one.amount > Money::ZERO => ("Empresa de Prueba".to_owned(), iban(rng)),
        _ => (people.second.clone(), iban(rng)),
    };
    let ((ordenant, from), (beneficiary, to)) = if one.amount > Money::ZERO { (other, own) } else { (own, other) };
    Transfer {
        beneficiary: Some(beneficiary),
        iban_beneficiary: Some(to),
        iban_ordenant: Some(from),
        ordenant: Some(ordenant),
    }
}
