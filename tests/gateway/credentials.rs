//! The gateway's own credentials are wrong, or cannot be renewed: callers and operators learn the cause.

use jwe_gateway::sandbox::{Fault, TokenFault};

use crate::harness::{TestGateway, assert_refused};

const LIST: &str = "/v0/bank/credentials/list";

#[tokio::test]
async fn the_first_caller_after_the_secret_became_wrong_gets_credentials_refused() {
    let gateway = TestGateway::spawn().await;
    gateway.assert_still_serves().await;
    gateway.sandbox.arm(Fault::Token(TokenFault::RefuseCredentials));
    gateway.sandbox.revoke_tokens();
    for attempt in 1..=3 {
        let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
        assert!(!reply.headers().contains_key("www-authenticate"), "attempt {attempt}");
        assert_refused(reply, 502, "credentials_refused").await;
    }
    assert_eq!(gateway.sandbox.received_total(), 2, "one before the revocation, one after it");
}

#[tokio::test]
async fn a_caller_whose_token_was_revoked_gets_the_wait_of_a_busy_token_endpoint() {
    let gateway = TestGateway::spawn().await;
    gateway.assert_still_serves().await;
    gateway.sandbox.arm(Fault::Token(TokenFault::TooManyRequests { retry_after: 20 }));
    gateway.sandbox.revoke_tokens();
    let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
    assert!(!reply.headers().contains_key("www-authenticate"));
    let wait: u64 = reply.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((19..=22).contains(&wait), "{wait}");
    assert_refused(reply, 503, "token_unavailable").await;
}
