//! The commands, each run as a process.

use jwe_gateway::config::Encryption;
use jwe_gateway::sandbox::{Options, Sandbox};
use serde_json::Value;

use crate::harness::TestGateway;
use crate::process::{self, Running, command, run};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn without_a_command_the_first_steps_are_printed() {
    let output = run(&[], b"");
    assert_eq!(output.status.code(), Some(2));
    for first in ["jwe-gateway demo", "jwe-gateway sandbox", "jwe-gateway run"] {
        assert!(text(&output.stdout).contains(first), "{first}");
    }
}

#[test]
fn a_management_address_that_other_hosts_can_reach_must_be_allowed() {
    let arguments = ["sandbox", "--listen", "127.0.0.1:0", "--management", "0.0.0.0:0"];
    let drill = ["drill", "--scenario", "hard-cut", "--gateway", "http://127.0.0.1:1"];
    let drill = [&drill[..], &["--listen", "127.0.0.1:0", "--management", "[::]:0"]].concat();
    for (arguments, address) in [(&arguments[..], "0.0.0.0:0"), (&drill, "[::]:0")] {
        let output = run(arguments, b"");
        let message = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(78), ""), "{message}");
        assert!(message.contains(&format!("the management address {address} is not loopback")), "{message}");
        assert!(message.contains("--allow-remote-management"), "{message}");
    }
    let mut sandbox = Running::spawn(command(&[&arguments[..], &["--allow-remote-management"]].concat()));
    let first = sandbox.line_with("");
    assert!(first.starts_with("This is a sandbox"), "{first}");
    sandbox.line_with("WARNING: the management interface listens on 0.0.0.0:");
}

#[test]
fn the_chain_demo_prints_what_the_egress_received() {
    let output = run(&["demo", "--topology", "chain", "--once"], b"");
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}{}", text(&output.stderr));
    for expected in [
        "sidecar   http://127.0.0.1:",
        "egress    http://127.0.0.1:",
        "45 bytes of JSON, in clear, at the sidecar",
        "egress  586 bytes, forwarded sealed and unchanged, with the egress's own token",
        "the first body in clear, sent to the egress directly: 403 Forbidden",
        "bodies that the egress could read: 0 of 3",
        "3 of 3 opened by the provider, byte for byte",
    ] {
        assert!(printed.contains(expected), "{expected} in:\n{printed}");
    }
    assert_eq!(printed.matches("forwarded sealed and unchanged").count(), 3, "{printed}");
}

#[test]
fn demo_once_prints_three_requests_and_exits_with_0() {
    let output = run(&["demo", "--once"], b"");
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}{}", text(&output.stderr));
    for expected in [
        "gateway   http://127.0.0.1:",
        "provider  http://127.0.0.1:",
        "curl -s http://127.0.0.1:",
        "#1  POST /v0/bank/credentials/status",
        "#2  DELETE /v0/bank/credentials",
        "#3  POST /letters/v1/create-signed",
        "{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256CBC-HS512\",\"typ\":\"JWE\",\"kid\":\"",
        "ciphertext",
        "µs",
        "3 of 3 opened by the provider, byte for byte",
    ] {
        assert!(printed.contains(expected), "{expected} in:\n{printed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_decrypts_the_output_of_seal() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let jwks = format!("{}/.well-known/jwks.json", sandbox.url());
    let private = format!("{}/keys/private", sandbox.management_url());
    let sealed = run(&["seal", "--keys", &jwks], br#"{"a":1}"#);
    assert_eq!(sealed.status.code(), Some(0), "{}", text(&sealed.stderr));
    assert_eq!(text(&sealed.stdout).split('.').count(), 5);
    let opened = run(&["open", "--keys", &private], &sealed.stdout);
    assert_eq!(text(&opened.stdout), r#"{"a":1}"#, "{}", text(&opened.stderr));

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), sandbox.private_jwks().to_string()).unwrap();
    let opened = run(&["open", "--keys", file.path().to_str().unwrap()], &[sealed.stdout, b"\n".to_vec()].concat());
    assert_eq!(text(&opened.stdout), r#"{"a":1}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seal_refuses_invalid_json_and_an_unreachable_key_set() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let jwks = format!("{}/.well-known/jwks.json", sandbox.url());
    let output = run(&["seal", "--keys", &jwks], b"{");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let output = run(&["seal", "--keys", "http://127.0.0.1:1/none"], b"{}");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(69), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_lists_every_key_and_the_one_that_would_be_used() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let kid = sandbox.private_jwks()["keys"][0]["kid"].as_str().unwrap().to_owned();
    let mut set: Value = sandbox.private_jwks();
    for private in ["d", "p", "q", "dp", "dq", "qi"] {
        set["keys"][0].as_object_mut().unwrap().remove(private);
    }
    let keys = set["keys"].as_array_mut().unwrap();
    keys.push(serde_json::json!({"kty": "EC", "kid": "elliptic", "crv": "P-256", "x": "AA", "y": "AA"}));
    keys.push(Value::Null);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), set.to_string()).unwrap();
    let output = run(&["keys", "--keys", file.path().to_str().unwrap()], b"");
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}{}", text(&output.stderr));
    for expected in [kid.as_str(), "elliptic", "2048"] {
        assert!(printed.contains(expected), "{expected} in:\n{printed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_fails_if_no_key_would_be_used() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let url = format!("{}/.well-known/jwks.json", sandbox.url());
    let output = run(&["keys", "--keys", &url, "--pin", "nothere"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("not pinned"), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("no key would be used"), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jwks_is_still_understood_in_place_of_keys() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let url = format!("{}/.well-known/jwks.json", sandbox.url());
    for verb in ["keys", "seal"] {
        let output = run(&[verb, "--jwks", &url], b"{}");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let help = text(&run(&[verb, "--help"], b"").stdout);
        assert!(help.contains("--keys") && !help.contains("--jwks"), "{help}");
    }
}

#[test]
fn check_warns_about_a_misspelt_variable() {
    let mut command = command(&["check", "--upstream", "http://127.0.0.1:1", "--credentials", "none"]);
    let output = command.env("JWE_GATEWAY_LSTEN", "127.0.0.1:1").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("did you mean JWE_GATEWAY_LISTEN?"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn keys_sends_a_callers_key_to_an_egress_but_never_over_plain_http_to_another_machine() {
    let egress = TestGateway::spawn_with(|config| {
        config.gateway.callers = vec![crate::callers::caller("a")];
        config.upstreams[0].encryption = Encryption::RequireSealed;
    })
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "key-of-a\n").unwrap();
    let jwks = format!("http://{}/.well-known/jwks.json", egress.address);
    let path = file.path().to_str().unwrap().to_owned();
    let keys = move |jwks: &str, more: &[&str]| run(&[&["keys", "--keys", jwks], more].concat(), b"");
    let (refused, shown, in_clear) = tokio::task::spawn_blocking(move || {
        let bearer = ["--bearer-file", &path];
        (keys(&jwks, &[]), keys(&jwks, &bearer), keys("http://egress.test/.well-known/jwks.json", &bearer))
    })
    .await
    .unwrap();
    assert_eq!((refused.status.code(), shown.status.code(), in_clear.status.code()), (Some(69), Some(0), Some(1)));
    assert!(text(&shown.stdout).contains("sandbox-"), "{}", text(&shown.stdout));
    assert!(text(&in_clear.stderr).contains("use https"), "{}", text(&in_clear.stderr));
}

#[test]
fn check_reports_every_fault_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[listen]\naddress = \"nowhere\"\nport = 8080\n\n[[upstream]]\nurl = \"ftp://x\"\n")
        .unwrap();
    let output = run(&["check", "--config", file.path().to_str().unwrap()], b"");
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{printed}");
    for expected in ["listen.address", "listen.port", "url"] {
        assert!(printed.contains(expected), "{expected} in:\n{printed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_exits_with_0_after_sigterm_and_with_69_if_its_address_is_taken() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let url = sandbox.url();
    let arguments = [
        "run",
        "--upstream",
        &url,
        "--client-id",
        sandbox.client_id(),
        "--admin",
        "127.0.0.1:0",
        "--drain-delay",
        "0s",
        "--listen",
    ];
    let start = |listen: &str| {
        let mut command = command(&[&arguments[..], &[listen]].concat());
        command.env("JWE_GATEWAY_CLIENT_SECRET", sandbox.client_secret());
        command
    };
    let first = Running::start(start("127.0.0.1:0"));
    let taken = start(&first.gateway).output().unwrap();
    assert_eq!(taken.status.code(), Some(69), "{}", text(&taken.stderr));
    assert!(text(&taken.stderr).contains(&first.gateway));
    first.signal("TERM");
    assert_eq!(first.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_to_stop_ends_run_at_once() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let mut command = process::gateway(&sandbox, "1h");
    command.env("JWE_GATEWAY_CLIENT_SECRET", sandbox.client_secret());
    let mut running = Running::start(command);
    running.signal("TERM");
    running.line_with("stopping");
    // A reload does not count as a second signal.
    running.signal("HUP");
    running.line_with("not reloaded: the gateway is stopping");
    running.signal("TERM");
    assert_eq!(running.end().0, Some(1));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_gateway_leaves_no_core_dump() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let mut command = process::gateway(&sandbox, "0s");
    command.env("JWE_GATEWAY_CLIENT_SECRET", sandbox.client_secret());
    let running = Running::start(command);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.id())).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let words: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "bytes"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_that_do_not_mean_stop_are_logged_and_do_not_end_run() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let mut command = process::gateway(&sandbox, "0s");
    command.env("JWE_GATEWAY_CLIENT_SECRET", sandbox.client_secret());
    let mut running = Running::start(command);
    running.signal("PIPE");
    for name in ["USR1", "USR2", "USR1"] {
        running.signal(name);
        let line = running.line_with("the signal was ignored");
        assert!(line.contains(&format!("SIG{name}")), "{line}");
    }
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}
