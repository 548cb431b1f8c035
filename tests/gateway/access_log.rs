//! The records of requests, as an observer gets them.

use std::sync::{Arc, Mutex};

use jwe_gateway::app::{Dependencies, Record};
use jwe_gateway::config::Config;
use jwe_gateway::sandbox::Options;

use crate::harness::{TestGateway, eventually};

const LIST: &str = "/v0/bank/credentials/list";

/// The records of a gateway's requests so far.
#[derive(Clone, Default)]
pub(crate) struct Records(Arc<Mutex<Vec<Record>>>);

impl Records {
    async fn spawn(&self) -> TestGateway {
        self.spawn_with(|_| {}).await
    }

    /// A gateway with a changed configuration, whose records these are.
    pub(crate) async fn spawn_with(&self, change: impl FnOnce(&mut Config)) -> TestGateway {
        let records = Arc::clone(&self.0);
        let observer = Arc::new(move |record: &Record| records.lock().unwrap().push(record.clone()));
        let dependencies = Dependencies { observers: vec![observer], ..Dependencies::default() };
        TestGateway::spawn_among(dependencies, Options::default(), change).await
    }

    /// Waits for the next record and takes it.
    pub(crate) async fn next(&self) -> Record {
        eventually("a record", async || !self.0.lock().unwrap().is_empty()).await;
        self.0.lock().unwrap().remove(0)
    }
}

#[tokio::test]
async fn only_a_body_that_the_gateway_sealed_has_a_seal_time() {
    let records = Records::default();
    let gateway = records.spawn().await;
    assert_eq!(gateway.json("POST", LIST, "{}").send().await.unwrap().status(), 200);
    let record = records.next().await;
    assert!(record.seal_time.is_some() && record.upstream_time.is_some() && record.bytes_jwe.is_some());

    let request = gateway.request("POST", LIST).header("content-type", "application/jose").body(gateway.seal("{}"));
    assert_eq!(request.send().await.unwrap().status(), 200);
    let record = records.next().await;
    assert!(record.seal_time.is_none() && record.upstream_time.is_some() && record.bytes_jwe.is_some());
}

#[tokio::test]
async fn a_request_that_was_not_sent_has_no_upstream_time() {
    let records = Records::default();
    let gateway = records.spawn().await;
    assert_eq!(gateway.json("POST", "/v0/token", "{}").send().await.unwrap().status(), 403);
    let record = records.next().await;
    assert_eq!((record.attempts, record.upstream_time, record.seal_time), (0, None, None));
    assert_eq!(record.upstream.as_deref(), Some("sandbox"));
}
