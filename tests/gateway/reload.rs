//! SIGHUP reads the configuration, secrets, certificates, caller keys and key sets again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jwe_gateway::app::Connector;
use jwe_gateway::config::{CallerConfig, Encryption, KeyDigest};
use jwe_gateway::sandbox::{Options, Rotation, Sandbox};
use serde_json::Value;

use crate::certificates::{Authority, client};
use crate::harness::{PATIENCE, Served, TestGateway};
use crate::process::{self, Running, command};

const RELOADED: &str = "\"reloaded";

/// The fields of the next log line about a reload.
fn reload(running: &mut Running) -> Value {
    running.signal("HUP");
    serde_json::from_str::<Value>(&running.line_with(RELOADED)).unwrap()
}

/// A gateway in front of `sandbox`, with TLS and a caller whose key is `one`.
fn with_files(sandbox: &Sandbox, authority: &Authority) -> Running {
    authority.put("secret", sandbox.client_secret());
    authority.put("caller", &KeyDigest::of("one").hex());
    let path = |name: &str| authority.path(name).display().to_string();
    let (url, id) = (sandbox.url(), sandbox.client_id());
    let config = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\ntls = {{ certificate = {:?}, private_key = {:?} }}\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n\
         [[upstream]]\nname = \"sandbox\"\nurl = {url:?}\n\
         [upstream.credentials]\nclient_id = {id:?}\nclient_secret_file = {:?}\n\
         [[caller]]\nname = \"a\"\nkey_sha256_file = {:?}\n",
        path("cert.pem"),
        path("key.pem"),
        path("secret"),
        path("caller"),
    );
    authority.put("gateway.toml", &config);
    Running::start(command(&["run", "--config", Path::new(&path("gateway.toml")).to_str().unwrap()]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_reads_all_changed_files_and_the_key_set_at_once() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let authority = Authority::new();
    let mut running = with_files(&sandbox, &authority);
    let caller = client(authority.caller(&[&rustls::version::TLS13], &[], None));
    let url = format!("https://{}/v0/bank/credentials/list", running.gateway);
    let post = async |key: &str| {
        let request = caller.post(&url).bearer_auth(key).header("content-type", "application/json").body("{}");
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((post("one").await, post("two").await), (200, 401));

    let line = reload(&mut running);
    assert_eq!((&line["changed"], &line["unchanged"]), (&"".into(), &4.into()), "{line}");
    assert_eq!(sandbox.token_requests(), 1, "an unchanged secret causes no token request");

    sandbox.rotate(Rotation::HardCut).await.unwrap();
    authority.put("caller", &KeyDigest::of("two").hex());
    authority.install(&authority.issue());
    authority.put("secret", "wrong");
    let line = reload(&mut running);
    let expected = "the key set of sandbox, the keys of caller a, the listener's TLS";
    assert_eq!((&line["changed"], &line["level"]), (&expected.into(), &"WARN".into()), "{line}");
    let failed = line["failed"].as_str().unwrap();
    assert!(failed.starts_with("the credential of sandbox: ") && failed.contains("refused"), "{failed}");
    assert_eq!((post("one").await, post("two").await), (401, 200), "the former token is still in use");

    authority.put("secret", sandbox.client_secret());
    let line = reload(&mut running);
    // The gateway tries a corrected secret every second, so it may have done so before the signal.
    let changed = line["changed"].as_str().unwrap();
    assert!(line["level"] == "INFO" && ["the credential of sandbox", ""].contains(&changed), "{line}");
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_hang_ups_in_a_second_under_load_lose_no_request_and_cause_few_reloads() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let mut command = process::gateway(&sandbox, "0s");
    command.env("JWE_GATEWAY_CLIENT_SECRET", sandbox.client_secret());
    let mut running = Running::start(command);
    let client = Connector::new(None).unwrap().control_client().unwrap();
    let url = format!("http://{}/v0/bank/credentials/list", running.gateway);
    let stopped = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (client, url, stopped) = (client.clone(), url.clone(), Arc::clone(&stopped));
            tokio::spawn(async move {
                let mut statuses = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    let request = client.post(&url).header("content-type", "application/json").body("{}");
                    statuses.push(request.send().await.map(|reply| reply.status().as_u16()).ok());
                }
                statuses
            })
        })
        .collect();
    let mut every = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..50 {
        every.tick().await;
        running.signal("HUP");
    }
    running.line_with(RELOADED);
    stopped.store(true, Ordering::Relaxed);
    let mut statuses = Vec::new();
    for caller in load {
        statuses.extend(tokio::time::timeout(PATIENCE, caller).await.unwrap().unwrap());
    }
    assert!(statuses.len() > 50 && statuses.iter().all(|status| *status == Some(200)), "{statuses:?}");
    let fetches = sandbox.jwks_fetches();
    assert!((2..=5).contains(&fetches), "the first fetch, and one for each reload: {fetches}");
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

#[tokio::test]
async fn a_client_certificate_is_read_again_also_after_a_reload_that_changed_something_else() {
    let authority = Authority::new();
    let egress = TestGateway::spawn_with(|config| {
        authority.serve_mtls(config);
        let [first, second] = ["first", "second"]
            .map(|name| CallerConfig { certificate: Some(format!("{name}.test")), ..CallerConfig::new(name) });
        // Enough to fetch the keys.
        let allow = Some(vec!["GET /**".parse().unwrap()]);
        config.gateway.callers = vec![CallerConfig { allow, ..first }, second];
        config.upstreams[0].encryption = Encryption::RequireSealed;
    })
    .await;
    authority.put_client("first.test");
    let mut config = crate::chain::mtls_sidecar_config(&egress, &authority);
    let sidecar = Served::start(config.clone()).await;
    sidecar.ready().await;
    // The clients are made anew, and how they connect stays.
    config.upstreams[0].upstream.reply = Duration::from_secs(7);
    assert_eq!(sidecar.reloader.apply(config.clone()).await.unwrap().changed, ["upstream sandbox"]);
    authority.put_client("second.test");
    let changed = sidecar.reloader.apply(config).await.unwrap().changed;
    assert!(changed.iter().any(|part| part.contains("client certificate")), "{changed:?}");
    // No earlier request has made a connection, so this one presents the certificate that is in use now.
    let reply = sidecar.json("POST", "/v0/bank/credentials/list", "{}").send().await.unwrap();
    assert_eq!(reply.status(), 200);
}
