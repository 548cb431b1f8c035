//! Drills that must pass and drills that must fail.

use std::net::SocketAddr;
use std::time::Duration;

use jwe_gateway::app::{App, Dependencies};
use jwe_gateway::clock::Clock;
use jwe_gateway::drill::{CAUSES, Config, Drill, Report, Scenario, Target};
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

use crate::documents::{document, table};
use crate::harness::{config, eventually};
use crate::process::{self, Running, run};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_short_hard_cut_drill_loses_no_request_and_writes_its_reports() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (html, json, junit) = (path("report.html"), path("report.json"), path("report.xml"));
    let command = ["drill", "--scenario", "hard-cut", "--duration", "3s", "--seed", "1"];
    let output = run(&[&command[..], &["--report", &html, "--json", &json, "--junit", &junit]].concat(), b"");
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}{}", text(&output.stderr));

    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!((&report["title"], &report["verdict"]), (&"jwe-gateway drill: hard-cut".into(), &"PASS".into()));
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!((count("requests"), count("lost"), count("duplicated")), (450, 0, 0));
    // Five are planned, but a busy machine generates keys slowly.
    assert!(count("keys_published") >= 3, "{printed}");
    assert!(count("resealed") >= 3, "after a hard cut, a request is sealed with the old key: {printed}");
    assert_eq!(count("resealed"), count("sealed_with_a_retired_key"));

    let verdict = format!("450 requests, {} hard cuts: none lost, none duplicated", count("keys_published"));
    assert_eq!(report["why"], verdict);
    assert!(printed.ends_with(&format!("\nPASS  {verdict}\n")), "{printed}");
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.contains("<title>jwe-gateway drill: hard-cut</title>"));
    assert!(page.contains(&format!("<b>PASS</b> {verdict}")));
    let junit = std::fs::read_to_string(junit).unwrap();
    assert_eq!(junit.matches("<testcase ").count(), 5 + count("keys_published") as usize, "{junit}");
    assert!(junit.contains("name=\"hard cut 1 is survived\"") && !junit.contains("<failure"), "{junit}");
    assert_eq!(report["causes"], Value::Array(Vec::new()));
}

#[test]
fn ordinary_400s_during_hard_cuts_are_relayed_unchanged_and_lose_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("report.json").to_str().unwrap().to_owned();
    let command = ["drill", "--scenario", "noisy-400", "--duration", "10s", "--seed", "1", "--json", &json];
    let output = run(&command, b"");
    let printed = text(&output.stdout);
    // The verdict depends on latencies, which a busy machine raises. CI runs this drill in the release build.
    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!((count("requests"), count("lost"), count("duplicated")), (1500, 0, 0), "{printed}");
    // Eight are planned, but a busy machine generates keys slowly.
    assert!(count("keys_published") >= 5, "{printed}");
    assert!(count("sealed_with_a_retired_key") >= 5, "{printed}");
    let measured = |of: &str| report[of]["count"].as_u64().unwrap();
    assert_eq!((measured("latency_of_400s"), measured("latency_of_others")), (750, 750));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_replies_without_forwarding_fails_the_drill() {
    let fake_gateway = MockServer::start().await;
    Mock::given(matchers::any()).respond_with(ResponseTemplate::new(200)).mount(&fake_gateway).await;
    let any_port = "127.0.0.1:0";
    let command =
        ["drill", "--scenario", "hard-cut", "--duration", "1s", "--rate", "20", "--target", &fake_gateway.uri()];
    let output = run(&[&command[..], &["--listen", any_port, "--management", any_port]].concat(), b"");
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}{}", text(&output.stderr));
    assert!(
        printed.contains("FAIL  the provider received no request; check that the target sends to http://127.0.0.1:")
    );
    assert!(printed.contains("  lost                        20\n"), "{printed}");
    assert!(printed.contains("reply had status 200, but the provider never received the request"), "{printed}");
}

#[test]
fn a_report_path_that_cannot_be_written_fails_before_the_drill() {
    let output = run(&["drill", "--scenario", "hard-cut", "--report", "/nowhere/report.html"], b"");
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains("/nowhere/report.html"));
    assert_eq!(text(&output.stdout), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_gateway_passes_when_it_seals() {
    let report = drill_as_external_gateway(|_| {}).await;
    assert!(report.verdict.is_pass(), "{report}");
    assert!(report.score.sealed_with_retired_key >= 1, "{report}");
    assert_eq!(report.score.resealed, None, "an external gateway does not report it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_gateway_fails_when_it_refuses() {
    // Large enough for the probe that waits for the gateway, too small for the requests of the load.
    let report = drill_as_external_gateway(|config| config.gateway.limits.max_body = 60).await;
    assert!(!report.verdict.is_pass(), "{report}");
    assert_eq!((report.score.requests, report.score.lost.len()), (100, 100), "{report}");
    assert_eq!(report.score.lost[0].reason, "reply had status 413");
}

/// Drills a gateway of this crate as an external gateway: the drill knows only its address.
async fn drill_as_external_gateway(change: impl FnOnce(&mut jwe_gateway::config::Config)) -> Report {
    let any_port: SocketAddr = ([127, 0, 0, 1], 0).into();
    let relay = TcpListener::bind(any_port).await.unwrap();
    let gateway = format!("http://{}", relay.local_addr().unwrap()).parse().unwrap();
    let drill = Drill::start(
        Config {
            scenario: Scenario::HardCut,
            rate: 50,
            duration: Duration::from_secs(2),
            seed: 1,
            target: Target::External {
                url: gateway,
                listen: any_port,
                management: any_port,
                allow_remote_management: false,
                command: Vec::new(),
            },
        },
        Clock::system(),
    )
    .await
    .unwrap();
    let mut config = config(drill.sandbox());
    change(&mut config);
    let app = App::build(config, Dependencies::default()).await.unwrap();
    let gateway_address = app.address().unwrap().tcp().unwrap();
    let mut running = JoinSet::new();
    running.spawn(async { app.run(std::future::pending()).await.unwrap() });
    running.spawn(async move {
        loop {
            let (mut outer, _) = relay.accept().await.unwrap();
            let mut inner = TcpStream::connect(gateway_address).await.unwrap();
            // Either side may close the connection at any time.
            tokio::spawn(async move { copy_bidirectional(&mut outer, &mut inner).await });
        }
    });
    drill.run(|_| {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_does_not_seal_is_told_that_it_sent_plaintext() {
    let report = drill_as_external_gateway(|config| {
        for upstream in &mut config.upstreams {
            upstream.encryption = jwe_gateway::config::Encryption::Off;
        }
    })
    .await;
    assert!(!report.verdict.is_pass(), "{report}");
    let codes: Vec<_> = report.causes.iter().map(|cause| cause.code).collect();
    assert_eq!(codes, ["plaintext"], "{report}");
    let failed: Vec<_> =
        report.checks.iter().filter(|check| check.failure.is_some()).map(|check| &check.name).collect();
    assert!(failed.contains(&&"every body is sealed".to_owned()), "{failed:?}");
}

#[test]
fn a_client_that_the_drill_starts_gets_its_settings() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings");
    let script = format!("echo $PORT $PROVIDER_URL $CLIENT_ID $CLIENT_SECRET > {}; exit 3", file.display());
    let command = ["drill", "--scenario", "hard-cut", "--target", "http://127.0.0.1:9", "--listen", "127.0.0.1:0"];
    let output = run(&[&command[..], &["--management", "127.0.0.1:0", "--", "/bin/sh", "-c", &script]].concat(), b"");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("the client ended before it replied: exit status: 3"));
    let settings = std::fs::read_to_string(file).unwrap();
    let settings: Vec<_> = settings.split_whitespace().collect();
    assert!(settings[1].starts_with("http://127.0.0.1:"), "{settings:?}");
    assert_eq!((settings[0], settings[2], settings[3]), ("9", "sandbox-client", "drill-secret"));

    let output = run(&[&command[..], &["--management", "127.0.0.1:0", "--", "/nowhere/client"]].concat(), b"");
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains("the client cannot be started: /nowhere/client"));
}

#[tokio::test]
async fn a_drill_that_a_signal_stops_ends_its_client_and_what_the_client_started() {
    let directory = tempfile::tempdir().unwrap();
    for (signal, trap) in [("TERM", ":"), ("HUP", ":"), ("INT", "trap '' TERM")] {
        let file = directory.path().join(signal);
        let script = format!("{trap}; sleep 600 & echo $$ $! > {}; wait", file.display());
        let command = ["drill", "--scenario", "hard-cut", "--target", "http://127.0.0.1:9", "--listen", "127.0.0.1:0"];
        let mut command = process::command(&[&command[..], &["--management", "127.0.0.1:0", "--"]].concat());
        command.args(["/bin/sh", "-c", &script]);
        let drill = Running::spawn(command);
        let pids = || std::fs::read_to_string(&file).unwrap_or_default();
        eventually("the client is started", async || pids().ends_with('\n')).await;
        drill.signal(signal);
        let (code, printed) = drill.end();
        assert_eq!(code, Some(1), "{signal}: {printed}");
        for pid in pids().split_whitespace() {
            // A killed process takes a moment to end.
            eventually(&format!("after {signal} process {pid} ends"), async || !is_running(pid)).await;
        }
    }
}

/// Whether the process exists and is not a zombie.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

#[test]
fn the_documentation_has_the_shim_that_ci_runs_and_lists_the_causes() {
    let page = document("docs/drill.md");
    let shim = document(".ci/foreign_clients/jwcrypto_client.py");
    assert!(page.contains(&format!("```python\n{shim}```")), "docs/drill.md has another shim");
    let documented = table(&page, "| cause | meaning |");
    let documented: Vec<_> = documented.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    let codes: Vec<_> = CAUSES.iter().map(|(code, _)| format!("`{code}`")).collect();
    let known: Vec<_> = codes.iter().zip(CAUSES).map(|(code, (_, meaning))| (code.as_str(), *meaning)).collect();
    assert_eq!(documented, known);
}
