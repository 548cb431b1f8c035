//! Requests that the provider did not process are sent again, and others are not.

use std::sync::Arc;
use std::time::Duration;

use jwe_gateway::config::Encryption;
use tokio::task::JoinSet;

use crate::harness::{TestGateway, assert_refused};
use crate::http2_provider::{Provider, Script};

const LIST: &str = "/v0/bank/credentials/list";
const NONE: Duration = Duration::ZERO;

/// A gateway that forwards bodies in clear, so that the provider can tell them apart.
async fn gateway_in_clear(provider: &Provider) -> TestGateway {
    TestGateway::spawn_with(|config| {
        provider.serve(config);
        config.upstreams[0].encryption = Encryption::Off;
    })
    .await
}

/// Sends requests with bodies of their own, 30 at a time: 600 a second if the machine is fast enough. Asserts that each
/// is answered with 200, and processed once.
async fn assert_lossless(script: Script) {
    const AT_A_TIME: u32 = 30;
    const EACH: u32 = 60;
    let provider = Provider::start(&[script], Duration::from_millis(50)).await;
    let gateway = Arc::new(gateway_in_clear(&provider).await);
    gateway.ready().await;
    let mut callers = JoinSet::new();
    for caller in 0..AT_A_TIME {
        let gateway = Arc::clone(&gateway);
        callers.spawn(async move {
            for request in 0..EACH {
                let reply = gateway.json("POST", LIST, (caller * EACH + request).to_string()).send().await.unwrap();
                assert_eq!(reply.status(), 200, "{}", reply.text().await.unwrap());
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    let processed = provider.processed();
    assert_eq!(processed.len(), (AT_A_TIME * EACH) as usize);
    assert!(processed.values().all(|&times| times == 1), "processed twice: {processed:?}");
    assert!(provider.connections() >= 18, "the provider refused some requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_refuses_by_goaway_loses_no_request_and_processes_none_twice() {
    assert_lossless(Script::GoAwayAfter(100)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_announces_its_goaway_loses_no_request_and_processes_none_twice() {
    assert_lossless(Script::AnnounceGoAwayAfter(100)).await;
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_twice_and_not_a_third_time() {
    use Script::{Answer, RefuseStreams};
    // The client keeps a connection whose streams were refused, so the refusal is repeated there.
    let provider = Provider::start(&[Script::GoAwayAfter(0), Script::GoAwayAfter(0), Answer], NONE).await;
    let gateway = gateway_in_clear(&provider).await;
    assert_eq!(gateway.json("POST", LIST, "1").send().await.unwrap().status(), 200);
    assert_eq!(provider.processed(), [(b"1".to_vec(), 1)].into());

    for script in [RefuseStreams, Script::GoAwayAfter(0)] {
        let provider = Provider::start(&[script], NONE).await;
        let gateway = gateway_in_clear(&provider).await;
        assert_refused(gateway.json("POST", LIST, "1").send().await.unwrap(), 502, "upstream_protocol").await;
        assert!(provider.processed().is_empty());
        if let Script::GoAwayAfter(_) = script {
            assert_eq!(provider.connections(), 3);
        }
    }
}

#[tokio::test]
async fn a_large_sealed_body_is_sealed_and_sent_again() {
    let provider = Provider::start(&[Script::GoAwayAfter(0), Script::Answer], NONE).await;
    let gateway = TestGateway::spawn_with(|config| provider.serve(config)).await;
    let body = format!("\"{}\"", "x".repeat(3_000_000));
    assert_eq!(gateway.json("POST", LIST, body).send().await.unwrap().status(), 200);
    let processed = provider.processed();
    let (message, times) = processed.first_key_value().unwrap();
    assert_eq!((processed.len(), *times), (1, 1));
    assert_eq!(message.iter().filter(|&&byte| byte == b'.').count(), 4, "a whole message");
    assert!(message.len() > 4_000_000);
}

#[tokio::test]
async fn a_refused_request_without_a_body_is_sent_again() {
    for method in ["GET", "DELETE", "POST"] {
        let provider = Provider::start(&[Script::GoAwayAfter(0), Script::Answer], NONE).await;
        let gateway = gateway_in_clear(&provider).await;
        assert_eq!(gateway.request(method, LIST).send().await.unwrap().status(), 200, "{method}");
        assert_eq!(provider.processed(), [(Vec::new(), 1)].into(), "{method}");
    }
}

#[tokio::test]
async fn a_request_that_the_goaway_does_not_refuse_is_not_sent_again() {
    let provider = Provider::start(&[Script::ProcessAndLeave, Script::Answer], NONE).await;
    let gateway = gateway_in_clear(&provider).await;
    let problem = assert_refused(gateway.json("POST", LIST, "1").send().await.unwrap(), 502, "upstream_protocol").await;
    assert!(problem["detail"].as_str().unwrap().contains("may have processed"));
    assert_eq!(provider.processed(), [(b"1".to_vec(), 1)].into());
}
