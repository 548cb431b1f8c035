//! Cards and their transactions.
//!
//! Every credential has a debit card and a credit card. The purchases with the debit card are transactions of
//! the current account too: [`super::accounts`] makes them, and this module copies them.

use jiff::ToSpan;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::accounts::{AccountTransaction, CURRENCY};
use super::decimal::Money;
use super::holders::{Holder, People, Shared};
use super::origin::{Origin, digits, money};

const CREDIT_LIMIT: Money = Money::whole(3_000);

const SHOPS: [(&str, &str); 6] = [
    ("CAFETERIA EJEMPLO", "restaurants"),
    ("GASOLINERA ENSAYO", "transport"),
    ("LIBRERIA FICTICIA", "leisure"),
    ("RESERVA TRIVAGO", "travel"),
    ("SUPERMERCADO MUESTRA", "groceries"),
    ("TIENDA DE PRUEBA", "shopping"),
];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct Card {
    #[serde(rename = "_id")]
    pub(super) id: String,
    external_id: Option<String>,
    product: Option<String>,
    #[serde(rename = "contractNumber")]
    contract_number: Option<String>,
    /// Only the last four digits can be read.
    pub(super) pan: String,
    #[serde(rename = "emissionDate")]
    emission_date: Option<Date>,
    #[serde(rename = "expirationDate")]
    expiration_date: Option<Date>,
    #[serde(rename = "availableBalance")]
    available_balance: Option<Money>,
    #[serde(rename = "cardType")]
    card_type: CardType,
    entity: String,
    updated_at_timestamp: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CardType {
    Credit,
    Debit,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct CardTransaction {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) card_id: String,
    #[serde(rename = "operationDate")]
    pub(super) operation_date: Date,
    #[serde(rename = "valueDate")]
    value_date: Date,
    pub(super) amount: Money,
    commission: Option<Money>,
    currency: String,
    shop: Option<String>,
    category: Option<String>,
    external_id: Option<String>,
    entity: String,
}

/// The cards of one credential, and who holds them.
pub(super) struct Cards {
    pub(super) debit: Card,
    pub(super) credit: Card,
    pub(super) holders: Vec<Holder>,
}

pub(super) fn seeded(origin: &Origin<'_>, people: &People) -> Cards {
    let rng = &mut origin.rng("cards");
    let mut holders = Vec::new();
    let mut card = |number, product: &str, card_type, shared| {
        let ids = origin.ids("card", number);
        holders.extend(people.holders(&ids, product, shared));
        let emission_date = origin.today.saturating_sub(rng.i32(800..1200).days());
        Card {
            id: ids.id,
            external_id: ids.external_id,
            product: Some(product.to_owned()),
            contract_number: Some(digits(rng, 12)),
            pan: format!("************{}", digits(rng, 4)),
            emission_date: Some(emission_date),
            expiration_date: Some(emission_date.saturating_add(5.years())),
            available_balance: None,
            card_type,
            entity: origin.bank.to_owned(),
            updated_at_timestamp: origin.updated_at(),
        }
    };
    let debit = card(0, "Tarjeta de debito", CardType::Debit, Shared::No);
    let credit = card(1, "Tarjeta de credito", CardType::Credit, Shared::Used);
    Cards { debit, credit, holders }
}

/// Copies the purchases of the debit card from the account, and makes those of the credit card, which is
/// settled at the end of each month. Sets what is left of its limit.
pub(super) fn transactions(
    origin: &Origin<'_>,
    cards: &mut Cards,
    account: &[AccountTransaction],
) -> Vec<CardTransaction> {
    let rng = &mut origin.rng("card transactions");
    let mut transactions: Vec<_> = account
        .iter()
        .filter(|bought| bought.card_number.as_ref() == Some(&cards.debit.pan))
        .map(|bought| CardTransaction {
            id: String::new(),
            card_id: cards.debit.id.clone(),
            operation_date: bought.operation_date,
            value_date: bought.value_date,
            amount: bought.amount,
            commission: None,
            currency: bought.currency.clone(),
            shop: Some(bought.description.clone()),
            category: bought.category.clone(),
            external_id: None,
            entity: origin.bank.to_owned(),
        })
        .collect();
    for _ in 0..3 {
        for date in origin.monthly(|| rng.i8(1..=28)) {
            let (shop, category) = rng.choice(SHOPS).unwrap_or_default();
            transactions.push(CardTransaction {
                id: String::new(),
                card_id: cards.credit.id.clone(),
                operation_date: date,
                value_date: date,
                amount: -money(rng, 250, 18_000),
                commission: Some(Money::ZERO),
                currency: CURRENCY.to_owned(),
                shop: Some(shop.to_owned()),
                category: Some(category.to_owned()),
                external_id: None,
                entity: origin.bank.to_owned(),
            });
        }
    }
    transactions.sort_by_key(|one| one.operation_date);
    for (number, one) in transactions.iter_mut().enumerate() {
        let ids = origin.ids("card transaction", number);
        (one.id, one.external_id) = (ids.id, ids.external_id);
    }
    let this_month = origin.today.first_of_month();
    let spent: Money = transactions
        .iter()
        .filter(|one| one.card_id == cards.credit.id && one.operation_date >= this_month)
        .map(|one| one.amount)
        .sum();
    cards.credit.available_balance = Some(CREDIT_LIMIT + spent);
    transactions
}
