//! FDX, part of Outbound: the accounts of the customer who gave the consent, in pages.
//!
//! The offset of a page is an opaque identifier, as in the documented examples. The link to the next page has no
//! host, unlike theirs: a client behind a gateway would otherwise leave it. The last page has no link.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use url::form_urlencoded;
use uuid::Uuid;

use super::data::{Account, AccountKind, Login, Transaction, money};
use super::dialect::FdxError;
use super::routes::Call;
use crate::sandbox::api_response::ApiResponse;

/// The size of a page without a `limit`, and the largest one. The documentation names neither.
const DEFAULT_LIMIT: usize = 100;

/// The offset of position 0. The position is added to it.
const FIRST_OFFSET: u128 = 0x5a17_c0de_0000_4000_8000_0000_0000_0000;

pub(super) fn accounts(call: &Call<'_>) -> ApiResponse {
    respond(call, |call| {
        let accounts: Vec<_> = customer(call)?.accounts.iter().collect();
        page(call, "accounts", &accounts, |account| account_document(account))
    })
}

pub(super) fn transactions(call: &Call<'_>) -> ApiResponse {
    respond(call, |call| {
        let account = account(call)?;
        let start = day(call, "startTime", "Start time is invalid")?;
        let end = day(call, "endTime", "End time is invalid")?;
        if start.zip(end).is_some_and(|(start, end)| end < start) {
            return Err(FdxError::InvalidDateRange.response("End time is before start time"));
        }
        let is_within = |transaction: &&Transaction| {
            start.is_none_or(|start| transaction.date >= start) && end.is_none_or(|end| transaction.date <= end)
        };
        let transactions: Vec<_> = account.transactions.iter().filter(is_within).collect();
        page(call, "transactions", &transactions, |transaction| transaction_document(account, transaction))
    })
}

pub(super) fn payment_networks(call: &Call<'_>) -> ApiResponse {
    respond(call, |call| {
        let account = account(call)?;
        let networks: &[&str] = if account.kind == AccountKind::CreditCard { &[] } else { &["US_ACH", "US_RTP"] };
        page(call, "paymentNetworks", networks, |network| {
            json!({
                "bankId": call.flinks.data.institution.routing_numbers[0],
                "identifier": account.number,
                "identifierType": "ACCOUNT_NUMBER",
                "type": network,
                "transferIn": true,
                "transferOut": account.kind == AccountKind::Chequing,
            })
        })
    })
}

pub(super) fn customer_profile(call: &Call<'_>) -> ApiResponse {
    respond(call, |call| {
        let login = customer(call)?;
        let holder = &login.holder;
        Ok(json!({
            "customerId": login.id,
            "name": {
                "first": holder.first_name,
                "middle": null,
                "last": holder.last_name,
                "suffix": null,
                "prefix": null,
                "company": null,
            },
            "dateOfBirth": holder.date_of_birth.to_string(),
            "addresses": [{
                "line1": holder.street,
                "line2": null,
                "line3": null,
                "city": holder.city,
                "region": holder.province,
                "postalCode": holder.postal_code,
                "country": "CA",
                "type": "HOME",
            }],
            "telephones": [{ "type": "HOME", "number": holder.phone, "country": "1" }],
        }))
    })
}

fn respond<'a>(call: &Call<'a>, document: impl FnOnce(&Call<'a>) -> Result<Value, ApiResponse>) -> ApiResponse {
    document(call).map_or_else(|error| error, ApiResponse::ok)
}

fn customer<'a>(call: &Call<'a>) -> Result<&'a Login, ApiResponse> {
    let customer = call.flinks.data.customer();
    customer.ok_or_else(|| FdxError::NoCustomer.response("The provided customer was not found"))
}

fn account<'a>(call: &Call<'a>) -> Result<&'a Account, ApiResponse> {
    let id = call.segment("accountId");
    let account = customer(call)?.accounts.iter().find(|account| account.fdx_id == id);
    account.ok_or_else(|| FdxError::NoAccount.response(&format!("There is no account {id}")))
}

/// Reads a day of the query, or the day of an instant.
fn day(call: &Call<'_>, name: &str, error: &str) -> Result<Option<Date>, ApiResponse> {
    let Some(text) = call.query(name) else {
        return Ok(None);
    };
    let instant = || text.parse::<Timestamp>().map(|instant| instant.to_zoned(TimeZone::UTC).date());
    match text.parse::<Date>().or_else(|_| instant()) {
        Ok(day) => Ok(Some(day)),
        Err(_) => Err(FdxError::InvalidDate.response(error)),
    }
}

/// Returns the page that `limit` and `offset` ask for.
fn page<T>(
    call: &Call<'_>,
    member: &str,
    elements: &[T],
    document: impl Fn(&T) -> Value,
) -> Result<Value, ApiResponse> {
    let limit = match call.query("limit").map(|limit| limit.parse()) {
        None => DEFAULT_LIMIT,
        Some(Ok(limit @ 1..)) => DEFAULT_LIMIT.min(limit),
        Some(_) => return Err(FdxError::InvalidInput.response("limit must be a positive integer")),
    };
    let start = match call.query("offset") {
        None => 0,
        Some(offset) => position(&offset)
            .filter(|start| *start < elements.len())
            .ok_or_else(|| FdxError::InvalidInput.response("offset is not one of this list"))?,
    };
    let end = elements.len().min(start + limit);
    let mut body = json!({ "page": { "nextOffset": "", "totalElements": elements.len() } });
    if end < elements.len() {
        let offset = Uuid::from_u128(FIRST_OFFSET + end as u128).to_string();
        body["links"] = json!({ "next": { "href": next_link(call, limit, &offset) } });
        body["page"]["nextOffset"] = json!(offset);
    }
    body[member] = elements[start..end].iter().map(document).collect();
    Ok(body)
}

fn position(offset: &str) -> Option<usize> {
    let offset = Uuid::parse_str(offset).ok()?.as_u128();
    usize::try_from(offset.checked_sub(FIRST_OFFSET)?).ok()
}

/// The address of the next page, with the same interval.
fn next_link(call: &Call<'_>, limit: usize, offset: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in ["startTime", "endTime"] {
        if let Some(value) = call.query(name) {
            query.append_pair(name, &value);
        }
    }
    query.append_pair("limit", &limit.to_string()).append_pair("offset", offset);
    format!("{}?{}", call.uri.path(), query.finish())
}

fn account_document(account: &Account) -> Value {
    let (wrapper, kind, name) = match account.kind {
        AccountKind::Chequing => ("depositAccount", "CHECKING", "Sandbox Chequing"),
        AccountKind::Savings => ("depositAccount", "SAVINGS", "Sandbox Savings"),
        AccountKind::CreditCard => ("locAccount", "CREDITCARD", "Sandbox Card"),
    };
    json!({ wrapper: {
        "accountId": account.fdx_id,
        "accountType": kind,
        "accountNumber": account.number,
        "accountNumberDisplay": account.number,
        "productName": name,
        "nickname": name,
        "status": "OPEN",
        "description": name,
        "currency": { "currencyCode": "CAD" },
    } })
}

fn transaction_document(account: &Account, transaction: &Transaction) -> Value {
    let wrapper = if account.kind == AccountKind::CreditCard { "locTransaction" } else { "depositTransaction" };
    let noon = format!("{}T12:00:00.0000000Z", transaction.date);
    json!({ wrapper: {
        "accountId": account.fdx_id,
        "transactionId": transaction.id,
        "postedTimestamp": noon,
        "transactionTimestamp": noon,
        "description": transaction.description,
        "debitCreditMemo": if transaction.cents < 0 { "DEBIT" } else { "CREDIT" },
        "amount": money(transaction.cents.abs()),
        "status": "POSTED",
    } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::flinks::testing::{FlinksTest, LOGIN_1};

    const ACCOUNTS: &str = "/api/fdx/5/accounts";

    fn code(body: &Value) -> (u64, &str) {
        (body["code"].as_u64().unwrap(), body["debugMessage"].as_str().unwrap())
    }

    #[tokio::test]
    async fn following_the_links_yields_every_element_once_in_order() {
        let flinks = FlinksTest::start().await;
        for list in [ACCOUNTS, "/api/fdx/5/accounts/11/transactions", "/api/fdx/5/accounts/11/payment-networks"] {
            let member = list.rsplit('/').next().unwrap().replace("payment-networks", "paymentNetworks");
            let mut all = Vec::new();
            let mut next = Some(format!("{list}?limit=2"));
            let mut total = None;
            while let Some(target) = next {
                let page = flinks.get(&target).await.ok();
                all.extend(page[&member].as_array().unwrap().clone());
                total = page["page"]["totalElements"].as_u64();
                next = page["links"]["next"]["href"].as_str().map(str::to_owned);
                assert_eq!(next.is_none(), page["page"]["nextOffset"] == "");
            }
            assert_eq!(total, Some(all.len() as u64), "{list}");
            assert!(all.len() >= 2);
            let first = flinks.get(list).await.ok();
            let first = first[&member].as_array().unwrap();
            assert_eq!(&all[..first.len()], &first[..]);
        }
    }

    #[tokio::test]
    async fn fdx_accounts_and_transactions_are_those_of_connect() {
        let flinks = FlinksTest::start().await;
        let request = json!({ "RequestId": flinks.authorize(LOGIN_1, true).await });
        let detail = "/v3/customer/BankingServices/GetAccountsDetail";
        flinks.post(detail, &request).await;
        let detail = flinks.post(detail, &request).await.ok();
        let accounts = flinks.get(ACCOUNTS).await.ok();
        for (connect, fdx) in
            detail["Accounts"].as_array().unwrap().iter().zip(accounts["accounts"].as_array().unwrap())
        {
            let account = fdx.as_object().unwrap().values().next().unwrap();
            assert_eq!(account["accountNumber"], connect["AccountNumber"]);
            let list = format!("{ACCOUNTS}/{}/transactions", account["accountId"].as_str().unwrap());
            let newest = &flinks.get(&list).await.ok()["transactions"][0];
            let newest = newest.as_object().unwrap().values().next().unwrap();
            assert_eq!(newest["transactionId"], connect["Transactions"][0]["Id"]);
        }
    }

    #[tokio::test]
    async fn an_interval_selects_transactions_and_a_wrong_one_is_refused() {
        let flinks = FlinksTest::start().await;
        let list = "/api/fdx/5/accounts/11/transactions";
        let newest = flinks.get(&format!("{list}?limit=1")).await.ok();
        let stamp = newest["transactions"][0]["depositTransaction"]["postedTimestamp"].as_str().unwrap().to_owned();
        let day = &stamp[..10];
        let on_day = flinks.get(&format!("{list}?startTime={day}&endTime={stamp}")).await.ok();
        let on_day = on_day["transactions"].as_array().unwrap();
        assert!(on_day.iter().all(|one| one["depositTransaction"]["postedTimestamp"] == stamp) && !on_day.is_empty());
        for (query, expected) in [
            ("startTime=yesterday", (702, "Start time is invalid")),
            ("endTime=2020-13-01", (702, "End time is invalid")),
            ("startTime=2021-01-02&endTime=2021-01-01", (703, "End time is before start time")),
            ("limit=0", (401, "limit must be a positive integer")),
            ("offset=made-up", (401, "offset is not one of this list")),
        ] {
            let reply = flinks.get(&format!("{list}?{query}")).await;
            assert_eq!((reply.status.as_u16(), code(&reply.json())), (400, expected));
        }
        let missing = flinks.get("/api/fdx/5/accounts/99/transactions").await;
        assert_eq!((missing.status.as_u16(), code(&missing.json()).0), (404, 701));
    }
}
