//! Enrich: attributes that are computed from the transactions of a login.
//!
//! The documentation names one attribute. The sandbox has it and three of the same kind, computed from the
//! transactions that the other operations show.

use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::{Map, Value, json};

use super::connect;
use super::data::{Account, Login, Transaction, money};
use super::dialect::invalid_request;
use super::routes::Call;
use crate::sandbox::api_response::ApiResponse;

const DAYS: i64 = 30;

pub(super) fn business(call: &Call<'_>) -> ApiResponse {
    respond(call, |call, login, request_id| {
        json!({
            "HttpStatusCode": 200,
            "Card": card(login, call.flinks.data.today),
            "Login": login.document(),
            "RequestId": request_id,
        })
    })
}

pub(super) fn credit_risk(call: &Call<'_>) -> ApiResponse {
    respond(call, user_attributes)
}

pub(super) fn user_analysis(call: &Call<'_>) -> ApiResponse {
    respond(call, user_attributes)
}

/// The request id must belong to the login in the path.
fn respond(call: &Call<'_>, document: fn(&Call<'_>, &Login, &str) -> Value) -> ApiResponse {
    let request_id = call.segment("requestId");
    match connect::session(call, request_id) {
        Ok((_, login)) if login.id == call.segment("loginId") => ApiResponse::ok(document(call, login, request_id)),
        Ok(_) => invalid_request(&format!("The login '{}' is invalid.", call.segment("loginId"))),
        Err(error) => error,
    }
}

fn user_attributes(call: &Call<'_>, login: &Login, request_id: &str) -> Value {
    let today = call.flinks.data.today;
    let sources = |is_wanted: fn(&Transaction) -> bool| -> Vec<Value> {
        recent(login, today)
            .filter(|(_, transaction)| is_wanted(transaction))
            .map(|(account, transaction)| {
                json!({
                    "TransactionId": transaction.id,
                    "AccountId": account.id,
                    "Date": transaction.date.to_string(),
                    "Description": transaction.description,
                    "Debit": (transaction.cents < 0).then(|| money(-transaction.cents)),
                    "Credit": (transaction.cents >= 0).then(|| money(transaction.cents)),
                })
            })
            .collect()
    };
    json!({
        "Card": card(login, today),
        "Login": login.document(),
        "RequestId": request_id,
        "AttributesDetails": {
            "sum_debits_30_days": sources(is_debit),
            "sum_credits_30_days": sources(is_credit),
        },
    })
}

fn card(login: &Login, today: Date) -> Value {
    let sum = |is_wanted: fn(&Transaction) -> bool| -> i64 {
        let wanted = recent(login, today).filter(|(_, transaction)| is_wanted(transaction));
        wanted.map(|(_, transaction)| transaction.cents.abs()).sum()
    };
    let count = |is_wanted: fn(&Transaction) -> bool| {
        recent(login, today).filter(|(_, transaction)| is_wanted(transaction)).count()
    };
    let mut card = Map::new();
    card.insert("Id".to_owned(), json!(login.id));
    card.insert("sum_debits_30_days".to_owned(), money(sum(is_debit)));
    card.insert("sum_credits_30_days".to_owned(), money(sum(is_credit)));
    card.insert("count_debits_30_days".to_owned(), json!(count(is_debit)));
    card.insert("count_credits_30_days".to_owned(), json!(count(is_credit)));
    Value::Object(card)
}

/// The transactions of the latest [`DAYS`], each with its account.
fn recent(login: &Login, today: Date) -> impl Iterator<Item = (&Account, &Transaction)> {
    let oldest = today.saturating_sub(DAYS.days());
    let all = login.accounts.iter().flat_map(|account| account.transactions.iter().map(move |one| (account, one)));
    all.filter(move |(_, transaction)| transaction.date > oldest)
}

fn is_debit(transaction: &Transaction) -> bool {
    transaction.cents < 0
}

fn is_credit(transaction: &Transaction) -> bool {
    !is_debit(transaction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::flinks::testing::{FlinksTest, LOGIN_1, LOGIN_2};

    #[tokio::test]
    async fn attributes_are_the_sums_of_the_transactions_that_they_come_from() {
        let flinks = FlinksTest::start().await;
        let request_id = flinks.authorize(LOGIN_1, true).await;
        let at = |login: &str, operation: &str| {
            format!("/v3/customer/insight/login/{login}/attributes/{request_id}/{operation}")
        };
        let attributes = flinks.get(&at(LOGIN_1, "GetCreditRiskAttributes")).await.ok();
        let details = attributes["AttributesDetails"]["sum_debits_30_days"].as_array().unwrap();
        let cents = |value: &Value| (value.as_f64().unwrap() * 100.0).round() as i64;
        let sum: i64 = details.iter().map(|source| cents(&source["Debit"])).sum();
        assert_eq!(sum, cents(&attributes["Card"]["sum_debits_30_days"]));
        assert_eq!(details.len(), attributes["Card"]["count_debits_30_days"].as_u64().unwrap() as usize);
        assert_eq!(attributes["Card"], flinks.get(&at(LOGIN_1, "GetAllBusinessAttributes")).await.ok()["Card"]);
        assert_eq!(flinks.get(&at(LOGIN_2, "GetUserAnalysisAttributes")).await.status, 400, "another login");
    }
}
