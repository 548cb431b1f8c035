//! The endpoints that return extracted data.
//!
//! Each returns what was extracted for one credentials token, filtered by the query of the request. A part that
//! was not extracted, or whose extraction failed, is empty: the documentation tells clients to look at the
//! status for the reason.

mod all;

use http::Uri;
use serde::Serialize;
use serde_json::{Value, json};

use super::api_response::{ApiResponse, bad_request};
use super::bank_credentials::BankCredential;
use super::query::{Page, Query};
use super::world::{ApiState, Identity, is_income};

/// The kind of data that an endpoint returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Accounts,
    AccountTransactions,
    Portfolios,
    Investments,
    InvestmentTransactions,
    InvestmentDetails,
    Liabilities,
    LiabilityTransactions,
    Cards,
    CardTransactions,
    Identity,
    Holders,
    Mifid,
    All,
}

impl Kind {
    /// The documentation spells the path of `mifid` in two ways.
    pub(super) fn at(path: &str) -> Option<Self> {
        if path == "/v0/bank/credencial/mifid/raw" {
            return Some(Self::Mifid);
        }
        Some(match path.strip_prefix("/v0/bank/credentials/")? {
            "account" => Self::Accounts,
            "data" => Self::AccountTransactions,
            "portfolio" => Self::Portfolios,
            "investment" => Self::Investments,
            "investment/transaction" => Self::InvestmentTransactions,
            "investment/detail" => Self::InvestmentDetails,
            "liability" => Self::Liabilities,
            "liability/transaction" => Self::LiabilityTransactions,
            "card" => Self::Cards,
            "card/transaction" => Self::CardTransactions,
            "auth" => Self::Identity,
            "holder" => Self::Holders,
            "mifid/raw" => Self::Mifid,
            "all" => Self::All,
            _ => return None,
        })
    }

    pub(super) fn respond(self, api: &ApiState, uri: &Uri, body: &Value) -> ApiResponse {
        let tokens = match self.tokens(body) {
            Ok(tokens) => tokens,
            Err(fault) => return bad_request(&fault),
        };
        let query = match Query::parse(body) {
            Ok(query) => query,
            Err(fault) => return bad_request(&fault),
        };
        let page = match self {
            Self::AccountTransactions => Page::parse(uri),
            _ => Ok(Page::All),
        };
        let page = match page {
            Ok(page) => page,
            Err(fault) => return bad_request(&fault),
        };
        let Some(credentials) = find(api, &tokens) else {
            return bad_request("You are not allowed to access to this credentials");
        };
        ApiResponse::ok(match (self, credentials.as_slice()) {
            (Self::All, credentials) => all::document(credentials, &query),
            (_, []) => json!([]),
            (Self::Identity, [credential, ..]) => {
                let mut found = list(credential, self, &query);
                if found.is_empty() {
                    json!(Identity::unknown(&credential.credentials_token))
                } else {
                    found.swap_remove(0)
                }
            }
            (_, [credential, ..]) => Value::Array(page.of(list(credential, self, &query))),
        })
    }

    /// The tokens of the body. Only `all` takes a list.
    fn tokens(self, body: &Value) -> Result<Vec<&str>, String> {
        let allowed = if self == Self::All { "a string or a non-empty list of strings" } else { "a string" };
        let wrong = || format!("credentials_token must be {allowed}");
        match body.get("credentials_token") {
            None | Some(Value::Null) => Err("credentials_token is required".to_owned()),
            Some(Value::String(token)) => Ok(vec![token]),
            Some(Value::Array(tokens)) if self == Self::All && !tokens.is_empty() => {
                tokens.iter().map(|token| token.as_str().ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }
}

/// Returns the credentials with these tokens, each once. `None` if one of them does not exist.
fn find<'a>(api: &'a ApiState, tokens: &[&str]) -> Option<Vec<&'a BankCredential>> {
    let mut found: Vec<&BankCredential> = Vec::new();
    for token in tokens {
        let credential = api.credentials.all.iter().find(|one| one.credentials_token == *token)?;
        if found.iter().all(|other| other.credentials_token != *token) {
            found.push(credential);
        }
    }
    Some(found)
}

/// The extracted objects of one kind that the query selects.
fn list(credential: &BankCredential, kind: Kind, query: &Query) -> Vec<Value> {
    let products = &credential.products;
    let (created, errored) = (&credential.created, &credential.errored);
    macro_rules! extracted {
        ($part:ident . $flag:ident) => {
            created.$part.$flag && !errored.$part.$flag
        };
    }
    let shown = match kind {
        Kind::Accounts => extracted!(product.account),
        Kind::AccountTransactions => extracted!(transactions.account),
        Kind::Portfolios => extracted!(product.portfolio),
        Kind::Investments | Kind::InvestmentDetails => extracted!(product.investment),
        // Incomes have a flag of their own.
        Kind::InvestmentTransactions => {
            extracted!(transactions.investment) || extracted!(transactions.investmentincome)
        }
        Kind::Liabilities => extracted!(product.liability),
        Kind::LiabilityTransactions => extracted!(transactions.liability),
        Kind::Cards => extracted!(product.card),
        Kind::CardTransactions => extracted!(transactions.card),
        Kind::Identity => extracted!(product.auth),
        Kind::Holders => extracted!(product.holders),
        Kind::Mifid => extracted!(product.mifid),
        Kind::All => false,
    };
    if !shown {
        return Vec::new();
    }
    match kind {
        Kind::Accounts => select(&products.accounts, query),
        Kind::AccountTransactions => {
            let from = products.account_transactions_from;
            let visible = products.account_transactions.iter();
            select(visible.filter(|one| from.is_none_or(|from| from <= one.operation_date)), query)
        }
        Kind::Portfolios => select(&products.portfolios, query),
        Kind::Investments => select(&products.investments, query),
        Kind::InvestmentTransactions => {
            let (trades, incomes) = (extracted!(transactions.investment), extracted!(transactions.investmentincome));
            let transactions = products.investment_transactions.iter();
            select(transactions.filter(|one| if is_income(one) { incomes } else { trades }), query)
        }
        Kind::InvestmentDetails => {
            let investments = select(&products.investments, query);
            let members = ["_id", "external_id", "isin", "name", "detail"];
            let detail = |mut investment: Value| {
                members.iter().map(|name| ((*name).to_owned(), investment[name].take())).collect()
            };
            investments.into_iter().map(detail).collect()
        }
        Kind::Liabilities => select(&products.liabilities, query),
        Kind::LiabilityTransactions => select(&products.liability_transactions, query),
        Kind::Cards => select(&products.cards, query),
        Kind::CardTransactions => select(&products.card_transactions, query),
        Kind::Identity => select([&products.identity], query),
        Kind::Holders => select(&products.holders, query),
        Kind::Mifid => select(&products.mifid, query),
        Kind::All => Vec::new(),
    }
}

fn select<'a, T: Serialize + 'a>(objects: impl IntoIterator<Item = &'a T>, query: &Query) -> Vec<Value> {
    objects.into_iter().map(|object| json!(object)).filter(|object| query.matches(object)).collect()
}

#[cfg(test)]
mod tests;
