//! The extracted data: one account and one portfolio for all credentials, so that a client has something to
//! parse. All other lists are empty.

use serde_json::{Value, json};

/// Returns the document of a data endpoint. `kind` is the path after `/v0/bank/credentials/`. `None` means
/// that the documentation has no such endpoint.
pub(super) fn document(kind: &str) -> Option<Value> {
    match kind {
        "account" => Some(json!([account()])),
        "portfolio" => Some(json!([portfolio()])),
        "auth" => Some(identity()),
        "all" => Some(all()),
        "data"
        | "investment"
        | "investment/transaction"
        | "investment/detail"
        | "liability"
        | "liability/transaction"
        | "mifid/raw"
        | "card"
        | "card/transaction"
        | "holder" => Some(json!([])),
        _ => None,
    }
}

fn account() -> Value {
    json!({
        "iban": "XX0000000000000000000001",
        "entity": "sandbox-bank-1",
        "alias": "Sandbox account",
        "balance": 1234.56,
        "currency": "EUR",
        "description": null,
        "isOwner": true,
        "numOwners": 1,
        "owners": ["Sandbox Person"],
        "_id": "sandbox-account-1",
        "external_id": null,
    })
}

fn portfolio() -> Value {
    json!({
        "name": "Sandbox portfolio",
        "type": "portfolio",
        "currency": "EUR",
        "_id": "sandbox-portfolio-1",
        "refValores": null,
        "refAccount": "XX0000000000000000000001",
        "owners": ["Sandbox Person"],
        "balance": 98765.43,
        "entity": "sandbox-bank-1",
        "external_id": null,
    })
}

fn identity() -> Value {
    json!({
        "_id": "sandbox-identity-1",
        "name": "Sandbox",
        "fullName": "Sandbox Person",
        "surname1": "Person",
        "surname2": null,
        "birthDate": null,
        "address": null,
        "contactInfo": [],
        "identityDocument": null,
        "gender": null,
        "occupation": null,
        "sector": null,
    })
}

fn all() -> Value {
    json!({
        "cards": [],
        "accounts": [account()],
        "portfolios": [portfolio()],
        "fixedIncome": [],
        "funds": [],
        "liabilities": [],
        "pensionPlans": [],
        "stocks": [],
        "etfs": [],
        "deposits": [],
        "others": [],
        "identity": [identity()],
        "liquidity": [],
        "cryptoCurrencies": [],
        "contractForDifferences": [],
        "derivatives": [],
        "bankProducts": [],
        "alternativeEmergingProducts": [],
    })
}
