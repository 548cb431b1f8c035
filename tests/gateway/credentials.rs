//! The gateway's own credentials are wrong, or cannot be renewed: callers and operators learn the cause.

use std::path::Path;
use std::time::Duration;

use http::header::AUTHORIZATION;
use jwe_gateway::app::Dependencies;
use jwe_gateway::clock::{Clock, ClockControl};
use jwe_gateway::config::{CredentialsConfig, Encryption, KeysSource as Source, StaticCredential};
use jwe_gateway::sandbox::{ApiFault, Fault, Options, TokenFault};
use jwe_gateway::secret::SecretSource;
use serde_json::{Value, json};

use crate::harness::{Served, TestGateway, assert_refused, eventually};

const LIST: &str = "/v0/bank/credentials/list";

/// Later than every token is renewed, and earlier than it expires.
const RENEWAL: Duration = Duration::from_secs(3600 * 3 / 4);

/// A gateway that reads its client secret from `file`, with the control of its clock.
async fn gateway_with_secret_in(file: &Path) -> (TestGateway, ClockControl) {
    let (clock, control) = Clock::manual();
    let dependencies = Dependencies { clock, ..Dependencies::default() };
    let options = Options { client_secret: Some("right".into()), ..Options::default() };
    std::fs::write(file, "right\n").unwrap();
    let gateway = TestGateway::spawn_among(dependencies, options, |config| {
        if let CredentialsConfig::ClientCredentials(credentials) = &mut config.upstreams[0].credentials {
            credentials.client_secret = SecretSource::File(file.to_owned());
        }
    });
    (gateway.await, control)
}

async fn readiness(gateway: &TestGateway) -> (u16, Value) {
    let (status, body) = gateway.admin("/readyz").await;
    (status, serde_json::from_str(&body).unwrap())
}

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

#[tokio::test]
async fn readiness_says_since_when_the_credentials_are_refused_and_which_file_to_correct() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    let (gateway, control) = gateway_with_secret_in(&file).await;
    gateway.ready().await;
    std::fs::write(&file, "wrong\n").unwrap();
    control.advance(RENEWAL);
    eventually("the refusal is reported", async || readiness(&gateway).await.1["warnings"].is_array()).await;
    let (status, body) = readiness(&gateway).await;
    assert_eq!((status, &body["ready"], &body["missing"]), (200, &json!(true), &json!([])), "the token is still valid");
    let warning = body["warnings"][0].as_str().unwrap();
    for part in [" since 20", "refused the credentials", &format!("secret file {}", file.display()), "stays in use"] {
        assert!(warning.contains(part), "{part} in {warning}");
    }
    // The token expires.
    control.advance(Duration::from_secs(3600));
    eventually("not ready", async || readiness(&gateway).await.0 == 503).await;
    let (_, body) = readiness(&gateway).await;
    let missing = body["missing"][0].as_str().unwrap();
    assert!(missing.starts_with("sandbox: no token: ") && missing.contains(&file.display().to_string()), "{missing}");
    assert!(body.get("warnings").is_none(), "{body}");

    std::fs::write(&file, "right\n").unwrap();
    control.advance(Duration::from_secs(1));
    gateway.ready().await;
    assert_eq!(readiness(&gateway).await.1, json!({ "ready": true, "missing": [] }));
}

#[tokio::test]
async fn an_unusable_secret_file_does_not_affect_requests_while_the_token_is_valid() {
    let cases: [fn(&Path); 3] = [
        |file| std::fs::write(file, "").unwrap(),
        |file| {
            std::fs::remove_file(file).unwrap();
            std::fs::create_dir(file).unwrap();
        },
        |file| std::fs::write(file, "right\nsecond line\n").unwrap(),
    ];
    for breaking in cases {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        let (gateway, control) = gateway_with_secret_in(&file).await;
        gateway.ready().await;
        breaking(&file);
        control.advance(RENEWAL);
        eventually("the fault is reported", async || readiness(&gateway).await.1["warnings"].is_array()).await;
        gateway.assert_still_serves().await;
        assert_eq!(gateway.sandbox.token_requests(), 1, "no request with an unusable secret");

        let _ = std::fs::remove_dir(&file);
        std::fs::write(&file, "right\n").unwrap();
        control.advance(Duration::from_secs(1));
        eventually("the file is used at once", async || gateway.sandbox.token_requests() == 2).await;
        eventually("no warning", async || readiness(&gateway).await.1.get("warnings").is_none()).await;
        gateway.assert_still_serves().await;
    }
}

/// An egress that knows a caller with the key `key-of-sidecar`, and a sidecar that presents the key in `file`. The
/// sidecar fetches the key set from the provider itself.
async fn egress_and_sidecar(file: &Path) -> (TestGateway, Served) {
    let egress = TestGateway::spawn_with(|config| {
        config.gateway.callers = vec![crate::callers::caller("sidecar")];
        config.upstreams[0].encryption = Encryption::RequireSealed;
    })
    .await;
    let mut config = crate::chain::sidecar_config(&egress, None);
    let upstream = &mut config.upstreams[0];
    upstream.keys.source = Source::Url(format!("{}/.well-known/jwks.json", egress.sandbox.url()).parse().unwrap());
    upstream.credentials = CredentialsConfig::Static(StaticCredential {
        header: AUTHORIZATION,
        prefix: "Bearer ".into(),
        secret: SecretSource::File(file.to_owned()),
    });
    (egress, Served::start(config).await)
}

#[tokio::test]
async fn a_sidecar_whose_key_the_egress_does_not_know_answers_credentials_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "key-of-another\n").unwrap();
    let (egress, sidecar) = egress_and_sidecar(file.path()).await;
    for request in [sidecar.json("POST", LIST, "{}"), sidecar.request("GET", "/v0/bank/available")] {
        let reply = request.send().await.unwrap();
        assert!(!reply.headers().contains_key("www-authenticate"));
        assert_eq!(reply.headers().get_all("proxy-status").iter().count(), 1, "the sidecar's own member only");
        assert_refused(reply, 502, "credentials_refused").await;
    }
    assert_eq!(egress.sandbox.received_total(), 0);
    let (status, body) = sidecar.admin("/readyz").await;
    assert_eq!(status, 200, "only requests can show that the refusal has ended");
    assert!(body.contains("the egress does not know the credential since 20"), "{body}");
    assert!(body.contains(&format!("secret file {}", file.path().display())), "{body}");

    // The file is read again for the next refused request, which is sent once more.
    std::fs::write(file.path(), "key-of-sidecar\n").unwrap();
    assert_eq!(sidecar.json("POST", LIST, "{}").send().await.unwrap().status(), 200);
    assert_eq!(egress.sandbox.received_total(), 1);
    let (_, body) = sidecar.admin("/readyz").await;
    assert!(!body.contains("warnings"), "{body}");
}

#[tokio::test]
async fn a_key_that_the_egress_does_not_know_either_is_tried_once_and_then_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "key-of-another\n").unwrap();
    let (_egress, sidecar) = egress_and_sidecar(file.path()).await;
    sidecar.ready().await;
    std::fs::write(file.path(), "key-of-a-third\n").unwrap();
    assert_refused(sidecar.json("POST", LIST, "{}").send().await.unwrap(), 502, "credentials_refused").await;
}

#[tokio::test]
async fn a_401_of_the_provider_behind_the_egress_is_relayed_by_the_sidecar() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "key-of-sidecar\n").unwrap();
    let (egress, sidecar) = egress_and_sidecar(file.path()).await;
    egress.sandbox.arm(Fault::Api(ApiFault::Unauthorized));
    let reply = sidecar.json("POST", LIST, "{}").send().await.unwrap();
    assert_eq!(reply.status(), 401);
    assert_eq!(egress.sandbox.received_total(), 2, "the egress sent it twice, the sidecar once");
    assert!(!sidecar.admin("/readyz").await.1.contains("warnings"), "the sidecar's key was accepted");
}
