//! The status page and its JSON: what they say in each state, and what they never hold.

use std::collections::BTreeSet;
use std::time::Duration;

use jwe_gateway::app::{Dependencies, Shutdown};
use jwe_gateway::clock::Clock;
use jwe_gateway::config::{CallerConfig, Config};
use jwe_gateway::sandbox::{ApiFault, Fault, KeySetFault, Options, Rotation, Sandbox, TokenFault};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::callers::caller;
use crate::certificates::Authority;
use crate::documents::{document, table};
use crate::harness::{PATIENCE, RawAnswer, Served, TestGateway, config, eventually};
use crate::lifecycle::in_flight;

const LIST: &str = "/v0/bank/credentials/list";

async fn status_of(gateway: &Served) -> Value {
    let (code, text) = gateway.admin("/status").await;
    assert_eq!(code, 200);
    serde_json::from_str(&text).unwrap()
}

async fn page(gateway: &Served) -> String {
    let (code, text) = gateway.admin("/").await;
    assert_eq!(code, 200);
    text
}

/// Waits until the first finding is of this kind. Returns the status.
async fn found(gateway: &Served, kind: &str) -> Value {
    eventually(kind, async || status_of(gateway).await["verdict"]["findings"][0]["kind"] == kind).await;
    status_of(gateway).await
}

async fn send(gateway: &Served) -> u16 {
    gateway.json("POST", LIST, "{}").send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn while_requests_succeed_all_is_well_and_the_key_and_the_token_are_shown() {
    let gateway = TestGateway::spawn().await;
    gateway.ready().await;
    assert_eq!(send(&gateway).await, 200);
    eventually("counted", async || status_of(&gateway).await["traffic"]["last_5_min"]["requests"] == 1).await;
    let status = status_of(&gateway).await;
    assert_eq!((&status["version"], &status["verdict"]["state"]), (&1.into(), &"well".into()), "{status}");
    assert_eq!(status["verdict"]["sentence"], "All is well.");
    let upstream = &status["upstreams"][0];
    let key = &upstream["key_set"]["keys"][0];
    assert_eq!(key["kid"].as_str(), gateway.last().kid());
    assert_eq!((&key["seals"], &key["published"], &key["state"]), (&true.into(), &true.into(), &"usable".into()));
    assert_eq!(key["first_seen"], key["last_seen"]);
    assert_eq!(upstream["key_set"]["fetches"][0]["error"], Value::Null);
    assert_eq!((&upstream["credential"]["kind"], &upstream["credential"]["usable"]), (&"token".into(), &true.into()));
    assert_eq!(upstream["traffic"]["last_5_min"]["requests"], 1);
    let page = page(&gateway).await;
    assert!(page.contains("<h1>All is well.</h1>") && page.contains("<title>Well: jwe-gateway</title>"), "{page}");
    assert!(page.contains("<b>seals now</b>") && page.len() < 30 * 1024, "{page}");
}

#[tokio::test]
async fn refused_credentials_are_the_first_sentence() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    sandbox.arm(Fault::Token(TokenFault::RefuseCredentials));
    let gateway = Served::start(config(&sandbox)).await;
    let status = found(&gateway, "credentials_refused").await;
    let finding = &status["verdict"]["findings"][0];
    let sentence = "The token endpoint refuses the credentials of upstream sandbox: requests fail.";
    assert_eq!((&finding["sentence"], &status["verdict"]["state"]), (&sentence.into(), &"failing".into()));
    assert!(finding["cause"].as_str().unwrap().contains("status 401"), "{finding}");
    assert!(status["verdict"]["sentence"].as_str().unwrap().starts_with(sentence));
    assert!(page(&gateway).await.contains(&format!("<h1>{sentence}</h1>")));
}

#[tokio::test]
async fn a_stale_key_set_and_the_failing_renewals_of_a_token_are_dated() {
    let (clock, control) = Clock::manual();
    let options = Options { max_age: Duration::from_secs(60), ..Options::default() };
    let dependencies = Dependencies { clock, ..Dependencies::default() };
    let gateway = TestGateway::spawn_among(dependencies, options, |_| {}).await;
    gateway.ready().await;
    gateway.sandbox.arm(Fault::KeySet(KeySetFault::ServerError));
    gateway.sandbox.arm(Fault::Token(TokenFault::ServerError));
    control.advance(Duration::from_secs(2900));
    let status = found(&gateway, "key_set_stale").await;
    assert_eq!(status["verdict"]["state"], "attention");
    eventually("failed renewals", async || {
        status_of(&gateway).await["verdict"]["findings"][1]["kind"] == "renewals_failing"
    })
    .await;
    assert_eq!(send(&gateway).await, 200, "the last good key and token are used");
    gateway.sandbox.disarm_all();
    // Both wait for their backoff.
    eventually("all is well again", async || {
        control.advance(Duration::from_secs(1));
        status_of(&gateway).await["verdict"]["state"] == "well"
    })
    .await;
    let fetches = status_of(&gateway).await["upstreams"][0]["key_set"]["fetches"].clone();
    assert!(fetches.as_array().unwrap().iter().any(|fetch| fetch["error"].is_string()), "{fetches}");
}

#[tokio::test]
async fn a_full_upstream_is_saturated() {
    let gateway = TestGateway::spawn_with(|config| config.upstreams[0].quota.in_flight = Some(1)).await;
    gateway.ready().await;
    let _caller = in_flight(&gateway).await;
    let status = found(&gateway, "saturated").await;
    let sentence = "Upstream sandbox is saturated: requests in flight 1 of 1, further requests are refused.";
    assert_eq!(status["verdict"]["findings"][0]["sentence"], sentence);
    assert_eq!(send(&gateway).await, 503);
    eventually("recorded", async || status_of(&gateway).await["refusals"][0]["code"] == "overloaded").await;
}

#[tokio::test]
async fn errors_of_the_gateway_are_counted_and_named() {
    let gateway = TestGateway::spawn().await;
    gateway.ready().await;
    gateway.sandbox.arm(Fault::Api(ApiFault::ResetBeforeHead));
    for _ in 0..4 {
        assert_eq!(send(&gateway).await, 502);
    }
    let status = found(&gateway, "gateway_errors").await;
    let sentence = "The gateway answered 100 % of 4 requests of the last 5 min with an error of its own, mostly upstream_protocol.";
    assert_eq!(status["verdict"]["findings"][0]["sentence"], sentence);
    assert_eq!(status["traffic"]["last_5_min"]["upstream_errors"], 0);
    assert_eq!(status["refusals"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn without_a_key_set_the_cause_is_shown() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    sandbox.arm(Fault::KeySet(KeySetFault::Html));
    let gateway = Served::start(config(&sandbox)).await;
    let missing = async || status_of(&gateway).await["verdict"]["findings"][0]["cause"].is_string();
    eventually("a failed fetch", missing).await;
    let status = status_of(&gateway).await;
    let finding = &status["verdict"]["findings"][0];
    assert_eq!(finding["sentence"], "Upstream sandbox has no usable key: requests with a body fail.");
    assert!(finding["cause"].as_str().unwrap().contains("not JSON"), "{finding}");
    assert_eq!(finding["documentation"], "docs/operations.md#symptom-no-usable-key");
    assert_eq!((&status["gateway"]["ready"], &status["upstreams"][0]["ready"]), (&false.into(), &false.into()));
}

#[tokio::test]
async fn a_stopping_gateway_says_so() {
    let mut gateway = TestGateway::spawn_with(|config| config.gateway.deadlines.drain_delay = PATIENCE).await;
    gateway.ready().await;
    gateway.stop(Shutdown::AfterDelay);
    let status = found(&gateway, "stopping").await;
    assert_eq!((&status["verdict"]["state"], &status["gateway"]["ready"]), (&"stopping".into(), &false.into()));
}

#[tokio::test]
async fn a_withdrawn_key_stays_in_the_list_and_a_reload_resets_nothing() {
    let gateway = TestGateway::spawn_with(|config| config.gateway.callers = vec![caller("a")]).await;
    gateway.ready().await;
    assert_eq!(send(&gateway).await, 401);
    let old = status_of(&gateway).await["upstreams"][0]["key_set"]["keys"][0]["kid"].clone();
    gateway.sandbox.rotate(Rotation::HardCut).await.unwrap();
    // Another lifetime makes new keys. They record in the same history.
    let mut changed = config(&gateway.sandbox);
    changed.gateway.callers = vec![caller("a")];
    changed.upstreams[0].keys.max_stale = Duration::from_secs(7);
    gateway.reloader.apply(changed).await.unwrap();
    gateway.ready().await;
    eventually("the rotation", async || {
        status_of(&gateway).await["upstreams"][0]["key_set"]["keys"].as_array().unwrap().len() == 2
    })
    .await;
    let status = status_of(&gateway).await;
    let keys = &status["upstreams"][0]["key_set"]["keys"];
    assert_eq!((&keys[0]["seals"], &keys[1]["kid"], &keys[1]["state"]), (&true.into(), &old, &"withdrawn".into()));
    assert_eq!(
        (&status["refusals"][0]["code"], &status["traffic"]["last_5_min"]["requests"]),
        (&"caller_unknown".into(), &1.into())
    );
    assert_eq!(status["configuration"]["last_reload"]["error"], Value::Null);
    assert!(status["configuration"]["last_reload"]["at"].is_string());
}

#[tokio::test]
async fn hostile_texts_of_callers_do_not_become_markup_and_no_secret_is_shown() {
    let gateway = TestGateway::spawn_with(|config| {
        config.gateway.callers = vec![CallerConfig { requests_per_second: Some(1), ..caller("<b>'\"caller") }];
    })
    .await;
    gateway.ready().await;
    let long = "x".repeat(10_000);
    for (path, id) in [
        ("/<script>alert(1)</script>?value=secret-of-the-query", "<img/src=x>"),
        ("/a'\"b%0a%1b[31m", "id'\"&amp;"),
        (&format!("/{long}"), &long),
    ] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: g\r\nX-Request-Id: {id}\r\nAuthorization: Bearer wrong-key\r\n\r\n");
        gateway.raw(request).await;
    }
    eventually("three refusals", async || status_of(&gateway).await["refusals"].as_array().unwrap().len() >= 2).await;
    let (page, json) = (page(&gateway).await, gateway.admin("/status").await.1);
    for text in ["<script", "<img", "\x1b", "<b>'"] {
        assert!(!page.contains(text), "{text} is in {page}");
    }
    for secret in [gateway.sandbox.client_secret(), "secret-of-the-query", "wrong-key", &long[..500]] {
        assert!(!page.contains(secret) && !json.contains(secret), "{secret} is shown");
    }
}

#[tokio::test]
async fn other_web_pages_get_neither_page_nor_json_and_the_page_has_a_strict_policy() {
    let gateway = TestGateway::spawn().await;
    let answer = async |method: &str, path: &str, headers: &str| {
        let mut stream = TcpStream::connect(gateway.admin).await.unwrap();
        stream.write_all(format!("{method} {path} HTTP/1.1\r\n{headers}\r\n").as_bytes()).await.unwrap();
        RawAnswer::read(&mut stream).await
    };
    for path in ["/", "/status"] {
        for headers in ["Host: evil.example\r\n", "Host: localhost\r\nOrigin: null\r\n"] {
            let answer = answer("GET", path, headers).await;
            assert_eq!((answer.status, answer.body.contains("sandbox")), (403, false), "{path} {headers}");
        }
        assert_eq!(answer("POST", path, "Host: localhost\r\n").await.status, 405, "{path}");
        let answer = answer("GET", path, "Host: localhost\r\nSec-Fetch-Site: same-origin\r\n").await;
        assert_eq!((answer.status, &answer.headers["cache-control"]), (200, &"no-store".parse().unwrap()), "{path}");
    }
    let page = answer("GET", "/", "Host: localhost\r\n").await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn the_documentation_lists_exactly_the_members_of_the_json() {
    let authority = Authority::new();
    let with_all = |config: &mut Config| {
        authority.serve(config);
        config.upstreams[0].quota.in_flight = Some(1);
    };
    let gateway = TestGateway::spawn_with(with_all).await;
    gateway.ready().await;
    let mut changed = config(&gateway.sandbox);
    with_all(&mut changed);
    changed.upstreams[0].key_refusals.clear();
    gateway.reloader.apply(changed).await.unwrap();
    let mut members = BTreeSet::new();
    collect("", &status_of(&gateway).await, &mut members);
    // The lists that are empty here.
    let lists = ["verdict.findings[]", "refusals[]", "configuration.flags[]", "configuration.variables[]"];
    let documented = documented_members();
    for list in lists {
        assert!(documented.iter().any(|member| member.starts_with(list)), "{list}");
    }
    let is_listed = |member: &&String| !lists.iter().any(|list| member.starts_with(list));
    let documented: BTreeSet<&String> = documented.iter().filter(is_listed).collect();
    assert_eq!(members.iter().collect::<BTreeSet<_>>(), documented);
}

/// The paths of all members, such as `upstreams[].name`. A traffic has the same members everywhere.
fn collect(path: &str, value: &Value, members: &mut BTreeSet<String>) {
    if path.ends_with("].traffic") || path == "traffic.last_5_min" || path == "traffic.last_15_min" {
        members.insert(path.to_owned());
        return;
    }
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(&path, value, members);
            }
        }
        Value::Array(items) => {
            for item in items {
                collect(&format!("{path}[]"), item, members);
            }
        }
        _ => {
            members.insert(path.to_owned());
        }
    }
}

fn documented_members() -> BTreeSet<String> {
    let text = document("docs/operations.md");
    let rows = table(&text, "| member | meaning |");
    let names = rows.iter().flat_map(|row| row[0].split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    // Objects whose members are listed too.
    names.filter(|name| name != "upstreams[].key_set" && name != "traffic.last_30_s").collect()
}
