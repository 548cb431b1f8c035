//! `credentials/all`: the union of the other endpoints, for one or several tokens.
//!
//! Each product contains its transactions, and its owners with their relation. The query of the request applies
//! to products and transactions alike, as it does in the endpoint of each.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{Kind, list};
use crate::sandbox::bank_credentials::BankCredential;
use crate::sandbox::query::Query;

/// The lists of investments by their type. A list without a type is always empty, as documented.
const INVESTMENTS: [(&str, Option<&str>); 13] = [
    ("fixedIncome", Some("FI")),
    ("funds", Some("F")),
    ("pensionPlans", Some("PP")),
    ("stocks", Some("VI")),
    ("etfs", Some("ETF")),
    ("deposits", None),
    ("others", Some("O")),
    ("liquidity", Some("L")),
    ("cryptoCurrencies", Some("C")),
    ("contractForDifferences", Some("CFD")),
    ("derivatives", Some("DV")),
    ("bankProducts", Some("BP")),
    ("alternativeEmergingProducts", Some("AEP")),
];

pub(super) fn document(credentials: &[&BankCredential], query: &Query) -> Value {
    let mut document = Map::new();
    for name in ["cards", "accounts", "portfolios", "liabilities", "identity"] {
        document.insert(name.to_owned(), json!([]));
    }
    for (name, _) in INVESTMENTS {
        document.insert(name.to_owned(), json!([]));
    }
    for credential in credentials {
        let of = |kind| list(credential, kind, query);
        let owners = owners(list(credential, Kind::Holders, &Query::default()));
        let own = |products| with_member("owners", products, &owners);
        let cards = with_transactions(of(Kind::Cards), of(Kind::CardTransactions), "card_id");
        append(&mut document, "cards", own(cards));
        let accounts = with_transactions(of(Kind::Accounts), of(Kind::AccountTransactions), "account_id");
        append(&mut document, "accounts", own(accounts));
        append(&mut document, "portfolios", own(of(Kind::Portfolios)));
        let liabilities = with_transactions(of(Kind::Liabilities), of(Kind::LiabilityTransactions), "liability_id");
        append(&mut document, "liabilities", own(liabilities));
        append(&mut document, "identity", of(Kind::Identity));
        let transactions = of(Kind::InvestmentTransactions);
        for investment in with_transactions(of(Kind::Investments), transactions, "investment_id") {
            let kind = investment.get("type").and_then(Value::as_str);
            if let Some((name, _)) = INVESTMENTS.iter().find(|(_, of)| of.is_some() && *of == kind) {
                append(&mut document, name, vec![investment]);
            }
        }
    }
    Value::Object(document)
}

fn append(document: &mut Map<String, Value>, name: &str, products: Vec<Value>) {
    if let Some(Value::Array(list)) = document.get_mut(name) {
        list.extend(products);
    }
}

fn with_transactions(products: Vec<Value>, transactions: Vec<Value>, reference: &str) -> Vec<Value> {
    let mut by_product: HashMap<String, Vec<Value>> = HashMap::new();
    for transaction in transactions {
        if let Some(id) = transaction.get(reference).and_then(Value::as_str) {
            by_product.entry(id.to_owned()).or_default().push(transaction);
        }
    }
    with_member("transaction", products, &by_product)
}

/// Name and relation of the holders, by product.
fn owners(holders: Vec<Value>) -> HashMap<String, Vec<Value>> {
    let mut owners: HashMap<String, Vec<Value>> = HashMap::new();
    for holder in holders {
        if let Some(id) = holder.get("product_id").and_then(Value::as_str) {
            let owner = json!({ "name": holder["name"], "rel": holder["rel"] });
            owners.entry(id.to_owned()).or_default().push(owner);
        }
    }
    owners
}

/// Adds to each product its entry of `by_product`.
fn with_member(name: &str, products: Vec<Value>, by_product: &HashMap<String, Vec<Value>>) -> Vec<Value> {
    products
        .into_iter()
        .map(|mut product| {
            let id = product.get("_id").and_then(Value::as_str).unwrap_or_default();
            let entries = by_product.get(id).cloned().unwrap_or_default();
            product[name] = Value::Array(entries);
            product
        })
        .collect()
}
