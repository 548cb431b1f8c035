//! Pay: the start of a payment.

use serde_json::{Value, json};

use super::dialect::invalid_request;
use super::routes::Call;
use crate::sandbox::api_response::ApiResponse;
use crate::sandbox::state::lock;

/// Only the amount is checked: the documentation does not say which members are required.
pub(super) fn initiate(call: &Call<'_>) -> ApiResponse {
    match call.body.get("amount").and_then(Value::as_f64) {
        Some(amount) if amount > 0.0 => ApiResponse::ok(json!({ "sessionId": lock(&call.flinks.sessions).next_id() })),
        _ => invalid_request("amount must be a positive number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::flinks::testing::FlinksTest;

    #[tokio::test]
    async fn each_payment_has_a_session_of_its_own_and_an_amount() {
        let flinks = FlinksTest::start().await;
        let initiate = async |body| flinks.post("/v2/pay/sessions/initiate", &body).await;
        let [first, second] =
            [initiate(json!({ "amount": 1.5 })).await.ok(), initiate(json!({ "amount": 1 })).await.ok()];
        assert_ne!(first["sessionId"], second["sessionId"]);
        for wrong in [json!({}), json!({ "amount": 0 }), json!({ "amount": "1" }), json!(null)] {
            assert_eq!(initiate(wrong).await.status, 400);
        }
    }
}
