//! A sidecar, an egress and a provider: the sidecar seals, the egress holds the credentials.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use jwe_gateway::config::Config;
use jwe_gateway::config::Encryption;
use jwe_gateway::config::KeysSource as Source;
use jwe_gateway::config::{CredentialsConfig, StaticCredential};
use jwe_gateway::sandbox::Rotation;
use jwe_gateway::secret::{Secret, SecretSource};
use tokio::task::JoinSet;

use crate::certificates::Authority;
use crate::harness::{Served, TestGateway, eventually};

const LIST: &str = "/v0/bank/credentials/list";

/// An egress with its provider, and a sidecar in front of it.
struct Chain {
    egress: TestGateway,
    sidecar: Served,
}

impl Chain {
    async fn spawn() -> Self {
        Self::spawn_with(|_| {}).await
    }

    async fn spawn_with(change: impl FnOnce(&mut Config)) -> Self {
        let egress = TestGateway::spawn_with(|config| config.upstreams[0].encryption = Encryption::RequireSealed).await;
        let mut config = sidecar_config(&egress, None);
        change(&mut config);
        let sidecar = Served::start(config).await;
        Self { egress, sidecar }
    }

    async fn send(&self, body: &str) -> reqwest::Response {
        self.sidecar.json("POST", LIST, body.to_owned()).send().await.unwrap()
    }
}

/// A sidecar in front of `egress` that presents `key`.
pub(crate) async fn sidecar_before(egress: &TestGateway, key: Option<&str>) -> Served {
    Served::start(sidecar_config(egress, key)).await
}

/// A sidecar that presents the client certificate of `authority` to `egress`.
pub(crate) fn mtls_sidecar_config(egress: &TestGateway, authority: &Authority) -> Config {
    let mut config = sidecar_config(egress, None);
    let upstream = &mut config.upstreams[0];
    upstream.upstream.url = format!("https://{}", egress.address).parse().unwrap();
    upstream.keys.source = Source::Url(upstream.upstream.url.join("/.well-known/jwks.json").unwrap());
    upstream.upstream.ca_file = Some(authority.path("ca.pem"));
    upstream.upstream.identity = Some(authority.client());
    config
}

pub(crate) fn sidecar_config(egress: &TestGateway, key: Option<&str>) -> Config {
    let mut config = crate::harness::config(&egress.sandbox);
    let upstream = &mut config.upstreams[0];
    upstream.upstream.url = format!("http://{}", egress.address).parse().unwrap();
    upstream.keys.source = Source::Url(upstream.upstream.url.join("/.well-known/jwks.json").unwrap());
    upstream.credentials = CredentialsConfig::None;
    if let Some(key) = key {
        let secret = SecretSource::Value(Secret::new(key.to_owned()));
        let (header, prefix) = (AUTHORIZATION, "Bearer ".to_owned());
        let credential = StaticCredential { header, prefix, secret };
        upstream.keys.credential = Some(credential.clone());
        upstream.credentials = CredentialsConfig::Static(credential);
    }
    config
}

#[tokio::test]
async fn a_body_that_a_service_sends_in_clear_is_sealed_before_the_egress() {
    let chain = Chain::spawn().await;
    let body = "{ \"n\": 1.10 }";
    assert_eq!(chain.send(body).await.status(), 200);
    let received = chain.egress.last();
    assert_eq!(received.plaintext, body);
    assert!(received.opened.is_some());
    assert_eq!(chain.egress.sandbox.jwks_fetches(), 1, "the sidecar's keys come from the egress");
    assert_eq!(chain.egress.sandbox.token_requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hard_cuts_between_sidecar_and_provider_lose_no_request() {
    let chain = Arc::new(Chain::spawn().await);
    assert_eq!(chain.send("{}").await.status(), 200);
    for round in 0..3 {
        chain.egress.sandbox.rotate(Rotation::HardCut).await.unwrap();
        let mut requests = JoinSet::new();
        for number in 0..100 {
            let chain = Arc::clone(&chain);
            requests.spawn(async move { chain.send(&format!(r#"{{"number":{number}}}"#)).await.status() });
        }
        let statuses = requests.join_all().await;
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 100, "round {round}: {statuses:?}");
    }
}

#[tokio::test]
async fn a_sidecar_with_pinned_keys_does_not_use_other_keys_of_the_egress() {
    let chain = Chain::spawn_with(|config| config.upstreams[0].keys.pin = vec!["the-providers".to_owned()]).await;
    eventually("the sidecar has the egress's set", async || {
        chain.sidecar.admin("/readyz").await.1.contains("is pinned")
    })
    .await;
    crate::harness::assert_refused(chain.send("{}").await, 503, "no_usable_key").await;
    assert_eq!(chain.egress.sandbox.received_total(), 0);
}

#[tokio::test]
async fn a_sidecar_may_fetch_its_keys_from_the_provider() {
    let egress = TestGateway::spawn_with(|config| config.upstreams[0].encryption = Encryption::RequireSealed).await;
    let mut config = sidecar_config(&egress, None);
    config.upstreams[0].keys.source =
        Source::Url(format!("{}/.well-known/jwks.json", egress.sandbox.url()).parse().unwrap());
    let sidecar = Served::start(config).await;
    let reply = sidecar.json("POST", LIST, "{}").send().await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(egress.sandbox.jwks_fetches(), 2, "one by each gateway");
}

#[tokio::test]
async fn an_error_of_the_egress_reaches_the_service_in_the_name_of_the_egress() {
    let egress = TestGateway::spawn_with(|config| {
        config.upstreams[0].encryption = Encryption::RequireSealed;
        config.upstreams[0].prefix = "/v0/bank".parse().unwrap();
    })
    .await;
    let mut config = sidecar_config(&egress, None);
    config.upstreams[0].keys.source =
        Source::Url(format!("{}/.well-known/jwks.json", egress.sandbox.url()).parse().unwrap());
    let provider = {
        let mut config = config.clone();
        config.upstreams[0].is_egress = Some(false);
        Served::start(config).await
    };
    let sidecar = Served::start(config).await;
    let proxy_status = async |gateway: &Served| {
        let reply = gateway.json("POST", "/v0/nowhere", "{}").send().await.unwrap();
        assert_eq!(reply.status(), 404);
        let lines = reply.headers().get_all("proxy-status").iter().map(|line| line.to_str().unwrap().to_owned());
        lines.collect::<Vec<_>>()
    };
    let received = "jwe-gateway; received-status=404";
    let error = "jwe-gateway; error=destination_not_found; details=\"no_upstream\"";
    assert_eq!(proxy_status(&sidecar).await, [error, received]);
    assert_eq!(proxy_status(&provider).await, [received]);
}
