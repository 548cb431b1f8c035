//! The records of requests, as an observer gets them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Version;
use jwe_gateway::app::{Dependencies, ProviderPeer, Record};
use jwe_gateway::config::Config;
use jwe_gateway::sandbox::Options;
use rustls::ProtocolVersion;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::certificates::{self, Authority};
use crate::harness::{RawAnswer, TestGateway, eventually};

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

#[tokio::test]
async fn a_record_has_the_addresses_of_both_connections_and_what_the_caller_says_of_itself() {
    let records = Records::default();
    let gateway = records.spawn().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = "GET /v0/bank/available HTTP/1.1\r\nHost: g\r\nUser-Agent: svc/1 \"\u{ff}\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(RawAnswer::read(&mut stream).await.status, 200);
    let record = records.next().await;
    assert_eq!(record.client_address, Some(stream.local_addr().unwrap()));
    let provider: SocketAddr = gateway.sandbox.url().strip_prefix("http://").unwrap().parse().unwrap();
    assert_eq!(record.provider, Some(ProviderPeer { address: provider, tls: None }));
    assert_eq!((record.version, record.tls), (Version::HTTP_11, None));
    assert_eq!(record.user_agent.unwrap().as_bytes(), "svc/1 \"\u{ff}".as_bytes());

    assert_eq!(gateway.json("POST", "/v0/token", "{}").send().await.unwrap().status(), 403);
    assert_eq!(records.next().await.provider, None, "nothing was sent");
}

#[tokio::test]
async fn a_record_has_the_tls_version_of_the_callers_connection() {
    let authority = Authority::new();
    let records = Records::default();
    let gateway = records.spawn_with(|config| authority.serve(config)).await;
    let client = certificates::client(authority.caller(&[&rustls::version::TLS13], &[b"h2"], None));
    let url = format!("https://{}/v0/bank/available", gateway.address);
    assert_eq!(client.get(url).send().await.unwrap().status(), 200);
    let record = records.next().await;
    assert_eq!((record.version, record.tls), (Version::HTTP_2, Some(ProtocolVersion::TLSv1_3)));
}

#[tokio::test]
async fn the_trace_id_of_the_providers_error_is_recorded_and_the_error_is_relayed_unchanged() {
    let records = Records::default();
    let gateway = records.spawn().await;
    let reply = gateway.json("POST", "/letters/v1/discontinue-letter", "{}").send().await.unwrap();
    assert_eq!(reply.status(), 400);
    let body: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
    let trace_id = body["trace_id"].as_str().unwrap();
    assert_eq!(records.next().await.provider_trace_id.as_deref(), Some(trace_id));

    assert_eq!(gateway.json("POST", LIST, "{}").send().await.unwrap().status(), 200);
    assert_eq!(records.next().await.provider_trace_id, None);
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_in_the_record() {
    let provider = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = provider.local_addr().unwrap();
    let records = Records::default();
    let gateway = records
        .spawn_with(|config| {
            config.upstreams[0].upstream.url = format!("http://{address}").parse().unwrap();
            config.upstreams[0].upstream.reply = Duration::from_millis(200);
        })
        .await;
    assert_eq!(gateway.json("POST", LIST, "{}").send().await.unwrap().status(), 504);
    let record = records.next().await;
    assert_eq!(record.provider.map(|provider| provider.address), Some(address));
}
