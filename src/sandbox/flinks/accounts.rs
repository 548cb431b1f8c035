//! Connect: the accounts of a login, with and without transactions.
//!
//! Both operations have a variant for polling. All four share the state of the request id, so a client may poll with
//! either.

use http::StatusCode;
use serde_json::{Value, json};

use super::connect;
use super::data::{Account, AccountKind, Login, Transaction, money};
use super::dialect::invalid_request;
use super::routes::Call;
use super::sessions::Stage;
use crate::sandbox::api_response::ApiResponse;
use crate::sandbox::state::lock;

pub(super) fn detail(call: &Call<'_>) -> ApiResponse {
    requested(call, "GetAccountsDetailAsync", detail_document)
}

pub(super) fn detail_async(call: &Call<'_>) -> ApiResponse {
    data(call, call.segment("requestId"), "GetAccountsDetailAsync", detail_document)
}

pub(super) fn summary(call: &Call<'_>) -> ApiResponse {
    requested(call, "GetAccountsSummaryAsync", summary_document)
}

pub(super) fn summary_async(call: &Call<'_>) -> ApiResponse {
    data(call, call.segment("requestId"), "GetAccountsSummaryAsync", summary_document)
}

type AccountDocument = fn(&Login, &Account) -> Value;

fn requested(call: &Call<'_>, to_poll: &str, document: AccountDocument) -> ApiResponse {
    match call.text("RequestId") {
        Some(request_id) => data(call, request_id, to_poll, document),
        None => invalid_request("RequestId is required"),
    }
}

/// Responds with the accounts, or with 202 and the operation to poll.
fn data(call: &Call<'_>, request_id: &str, to_poll: &str, document: AccountDocument) -> ApiResponse {
    let (session, login) = match connect::session(call, request_id) {
        Ok(found) => found,
        Err(error) => return error,
    };
    match session.stage {
        Stage::Challenged => return invalid_request("The security challenge was not answered"),
        Stage::Pending(0) => {}
        Stage::Pending(calls) => {
            if let Some(session) = lock(&call.flinks.sessions).get_mut(request_id) {
                session.stage = Stage::Pending(calls - 1);
            }
            return pending(request_id, to_poll);
        }
    }
    let institution = &call.flinks.data.institution;
    ApiResponse::ok(json!({
        "HttpStatusCode": 200,
        "Accounts": login.accounts.iter().map(|account| document(login, account)).collect::<Vec<_>>(),
        "InstitutionName": institution.name,
        "Login": login.document(),
        "InstitutionId": institution.id,
        "Institution": institution.name,
        "RequestId": request_id,
    }))
}

fn pending(request_id: &str, to_poll: &str) -> ApiResponse {
    ApiResponse {
        status: StatusCode::ACCEPTED,
        body: json!({
            "FlinksCode": "OPERATION_PENDING",
            "Links": [{
                "rel": to_poll,
                "href": format!("/{to_poll}"),
                "example": format!("/{to_poll}/{request_id}"),
            }],
            "HttpStatusCode": 202,
            "Message": "Your operation is still processing",
            "RequestId": request_id,
        }),
    }
}

fn detail_document(login: &Login, account: &Account) -> Value {
    let mut document = json!({
        "Transactions": account.transactions.iter().map(transaction).collect::<Vec<_>>(),
        "TransitNumber": "00001",
        "InstitutionNumber": "900",
        "OverdraftLimit": if account.kind == AccountKind::Chequing { money(50_000) } else { Value::Null },
    });
    add_common(&mut document, login, account);
    document
}

fn summary_document(login: &Login, account: &Account) -> Value {
    let eligible = if account.kind == AccountKind::CreditCard { 0.0 } else { 1.0 };
    let mut document = json!({ "EftEligibleRatio": eligible, "ETransferEligibleRatio": eligible });
    add_common(&mut document, login, account);
    document
}

/// Adds what detail and summary have in common.
fn add_common(document: &mut Value, login: &Login, account: &Account) {
    let (title, category, kind) = match account.kind {
        AccountKind::Chequing => ("Chequing Account", "Operations", "Chequing"),
        AccountKind::Savings => ("Savings Account", "Operations", "Savings"),
        AccountKind::CreditCard => ("Credit Card", "Credits", "CreditCard"),
    };
    let balance = account.balance_cents();
    let limit = (account.kind == AccountKind::CreditCard).then_some(500_000);
    let holder = &login.holder;
    document["Title"] = json!(title);
    document["AccountNumber"] = json!(account.number);
    document["LastFourDigits"] = json!(account.number.get(3..));
    document["Balance"] = json!({
        "Available": money(balance + limit.unwrap_or(0)),
        "Current": money(balance),
        "Limit": limit.map(money),
    });
    document["Category"] = json!(category);
    document["Type"] = json!(kind);
    document["Currency"] = json!("CAD");
    document["Holder"] = json!({
        "Name": format!("{} {}", holder.first_name, holder.last_name),
        "Address": {
            "CivicAddress": holder.street,
            "City": holder.city,
            "Province": holder.province,
            "PostalCode": holder.postal_code,
            "POBox": null,
            "Country": "CA",
        },
        "Email": format!("{}@bank.example", login.username),
        "PhoneNumber": holder.phone,
    });
    document["AccountType"] = json!(login.kind);
    document["Id"] = json!(account.id);
}

fn transaction(transaction: &Transaction) -> Value {
    json!({
        "Date": transaction.date.to_string(),
        "Code": null,
        "Description": transaction.description,
        "Debit": (transaction.cents < 0).then(|| money(-transaction.cents)),
        "Credit": (transaction.cents >= 0).then(|| money(transaction.cents)),
        "Balance": money(transaction.balance_cents),
        "Id": transaction.id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::flinks::testing::{FlinksTest, LOGIN_1};

    const DETAIL: &str = "/v3/customer/BankingServices/GetAccountsDetail";
    const SUMMARY: &str = "/v3/customer/BankingServices/GetAccountsSummary";

    #[tokio::test]
    async fn data_is_pending_once_for_a_cached_login_and_twice_for_a_live_one() {
        let flinks = FlinksTest::start().await;
        for (is_cached, pending) in [(true, 1), (false, 2)] {
            let request_id = flinks.authorize(LOGIN_1, is_cached).await;
            let first = flinks.post(DETAIL, &json!({ "RequestId": request_id })).await;
            assert_eq!(first.status, 202);
            let first = first.json();
            assert_eq!((&first["FlinksCode"], &first["RequestId"]), (&json!("OPERATION_PENDING"), &json!(request_id)));
            let poll = format!("/v3/customer/BankingServices{}", first["Links"][0]["example"].as_str().unwrap());
            for _ in 1..pending {
                assert_eq!(flinks.get(&poll).await.status, 202);
            }
            let polled = flinks.get(&poll).await.ok();
            assert_eq!(polled, flinks.post(DETAIL, &json!({ "RequestId": request_id })).await.ok());
        }
    }

    #[tokio::test]
    async fn summary_and_detail_describe_the_same_accounts() {
        let flinks = FlinksTest::start().await;
        let request = json!({ "RequestId": flinks.authorize(LOGIN_1, true).await });
        assert_eq!(flinks.post(SUMMARY, &request).await.status, 202);
        let summary = flinks.post(SUMMARY, &request).await.ok();
        let detail = flinks.post(DETAIL, &request).await.ok();
        for member in ["Login", "Institution", "InstitutionId", "RequestId"] {
            assert_eq!(summary[member], detail[member]);
        }
        let accounts = detail["Accounts"].as_array().unwrap();
        assert_eq!(accounts.len(), 3);
        for (account, short) in accounts.iter().zip(summary["Accounts"].as_array().unwrap()) {
            for member in ["Id", "AccountNumber", "Balance", "Holder", "Type"] {
                assert_eq!(account[member], short[member]);
            }
            assert_eq!(account["Balance"]["Current"], account["Transactions"][0]["Balance"]);
            assert!(short.get("Transactions").is_none());
        }
    }

    #[tokio::test]
    async fn a_request_id_that_nobody_got_is_a_nonexistent_session() {
        let flinks = FlinksTest::start().await;
        for reply in [
            flinks.post(DETAIL, &json!({ "RequestId": "made-up" })).await,
            flinks.get(&format!("{SUMMARY}Async/made-up")).await,
        ] {
            assert_eq!((reply.status.as_u16(), &reply.json()["FlinksCode"]), (400, &json!("SESSION_NONEXISTENT")));
        }
        let reply = flinks.post(DETAIL, &json!({})).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["FlinksCode"]), (400, &json!("INVALID_REQUEST")));
    }
}
