//! The log of a process whose reader is slow, absent or hostile.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use jwe_gateway::sandbox::{Options, Sandbox};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{RawAnswer, eventually};
use crate::process;

/// A gateway process, killed when dropped. Its stdout is read up to the line that says "listening".
struct Unread {
    child: Mutex<Child>,
    stdout: Option<BufReader<ChildStdout>>,
    gateway: SocketAddr,
    admin: SocketAddr,
}

impl Unread {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let listening = loop {
            let mut line = String::new();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the gateway ended");
            if line.contains("\"listening\"") {
                break line;
            }
        };
        let listening: Value = serde_json::from_str(&listening).unwrap();
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        Self { gateway: address("gateway"), admin: address("admin"), child: Mutex::new(child), stdout: Some(stdout) }
    }

    fn terminate(&self) {
        let sent = Command::new("kill").arg(self.child.lock().unwrap().id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end of the process without reading its output. Returns the exit code.
    async fn end(&self) -> Option<i32> {
        let try_wait = || self.child.lock().unwrap().try_wait().unwrap();
        eventually("the process ends", async || try_wait().is_some()).await;
        try_wait().unwrap().code()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // Usually the process has already ended.
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn command(sandbox: &Sandbox) -> Command {
    let mut command = process::gateway(sandbox, "0s");
    command.env("JWE_GATEWAY_CLIENT_SECRET", sandbox.client_secret());
    command
}

/// A GET with this path or target. Bytes above 0x7F pass.
async fn get(address: SocketAddr, target: &str) -> RawAnswer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    RawAnswer::read(&mut stream).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_delays_no_request_and_loses_lines_that_are_counted() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let mut gateway = Unread::start(&mut command(&sandbox));
    // Each request makes a line of 30 KB. Together they are more than the queue, the writer and the pipe hold.
    let target = format!("/v0/{}", "x".repeat(30_000));
    for _ in 0..330 {
        assert_eq!(get(gateway.gateway, &target).await.status, 404);
    }
    assert_eq!(get(gateway.admin, "/livez").await.status, 200);
    let metrics = get(gateway.admin, "/metrics").await.body;
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("jwe_gateway_log_lines_dropped_total "));
    let dropped: u64 = dropped.unwrap().parse().unwrap();
    assert!((1..330).contains(&dropped), "{dropped}");
    let mut stdout = gateway.stdout.take().unwrap();
    // The reader returns. All other lines are there, and one says how many are missing.
    let mut records = 0;
    let report: Value = loop {
        let mut line = String::new();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the gateway ended");
        let line: Value = serde_json::from_str(&line).unwrap();
        records += u64::from(line["message"] == "request");
        if line["message"].as_str().unwrap().contains("dropped") {
            break line;
        }
    };
    assert_eq!((report["lines"].as_u64(), records), (Some(dropped), 330 - dropped));
    gateway.terminate();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"stopped\""), "an orderly end writes all lines: {rest}");
    assert_eq!(gateway.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_does_not_delay_the_end() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let gateway = Unread::start(&mut command(&sandbox));
    let target = format!("/v0/{}", "x".repeat(30_000));
    for _ in 0..20 {
        assert_eq!(get(gateway.gateway, &target).await.status, 404);
    }
    gateway.terminate();
    assert_eq!(gateway.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_serves_and_ends_in_order_after_the_reader_of_its_log_has_gone() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let mut gateway = Unread::start(&mut command(&sandbox));
    gateway.stdout = None;
    for _ in 0..20 {
        assert_eq!(get(gateway.gateway, "/v0/bank/available").await.status, 200);
    }
    let metrics = async || get(gateway.admin, "/metrics").await.body;
    eventually("a write has failed", async || {
        metrics()
            .await
            .lines()
            .any(|line| line.starts_with("jwe_gateway_log_write_errors_total ") && !line.ends_with(" 0"))
    })
    .await;
    gateway.terminate();
    assert_eq!(gateway.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_has_the_requests_that_both_its_settings_and_rust_log_select() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let cases: [(&[&str], &str, &[u64]); 7] = [
        (&[], "", &[200, 404]),
        (&["--log-access", "errors"], "", &[404]),
        (&["--log-access-sample", "1e-9"], "", &[404]),
        (&["--log-access", "off"], "", &[]),
        (&[], "info,jwe_gateway::access=off", &[]),
        (&[], "info,[{error}]=warn", &[200, 404]),
        (&[], "off,jwe_gateway::access=info,jwe_gateway::cli=info", &[200, 404]),
    ];
    for (flags, filter, logged) in cases {
        let mut command = command(&sandbox);
        let mut gateway = Unread::start(command.args(flags).env("RUST_LOG", filter));
        for target in ["/v0/bank/available", "/v0/unknown"] {
            get(gateway.gateway, target).await;
        }
        gateway.terminate();
        let mut log = String::new();
        gateway.stdout.take().unwrap().read_to_string(&mut log).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let records = lines.filter(|line| line["target"] == "jwe_gateway::access");
        let statuses: Vec<u64> = records.map(|record| record["status"].as_u64().unwrap()).collect();
        assert_eq!(statuses, logged, "{flags:?} {filter:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_characters_of_a_request_are_escaped_in_its_log_line() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    for format in ["json", "text"] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("gateway.sock");
        let log = directory.path().join("log");
        let file = directory.path().join("gateway.toml");
        let secret = directory.path().join("secret");
        std::fs::write(&secret, sandbox.client_secret()).unwrap();
        let toml = format!(
            "log.format = \"{format}\"\nlisten.address = \"unix:{}\"\nadmin.address = \"127.0.0.1:0\"\n\
             deadlines.drain_delay = \"0s\"\n[[upstream]]\nurl = \"{}\"\ncredentials.client_id = \"{}\"\n\
             credentials.client_secret_file = \"{}\"\n",
            socket.display(),
            sandbox.url(),
            sandbox.client_id(),
            secret.display()
        );
        std::fs::write(&file, toml).unwrap();
        let mut command = process::command(&["run", "--config", file.to_str().unwrap()]);
        let mut child = command.stdout(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        eventually("the gateway listens", async || socket.exists()).await;
        let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        let request = "GET /v0/a\u{85}\u{2028}b HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await.unwrap();
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let log = std::fs::read_to_string(log).unwrap();
        let escaped = if format == "json" { "/v0/a\\u0085\\u2028b" } else { "/v0/a\\u{85}\\u{2028}b" };
        assert!(log.contains(escaped) && !log.contains(['\u{85}', '\u{2028}']), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_has_the_names_of_the_chosen_schema() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    for (schema, timestamp, level, status) in [
        ("ecs", "@timestamp", "log.level", "http.response.status_code"),
        ("otel", "timestamp", "severity_text", "http.response.status_code"),
    ] {
        let mut child = command(&sandbox).args(["--log-schema", schema]).stdout(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = || serde_json::from_str::<Value>(&log.next().unwrap().unwrap()).unwrap();
        let mut line = next();
        while line["jwe_gateway.gateway"].is_null() {
            assert!(line[timestamp].is_string() && line[level].is_string(), "{line}");
            line = next();
        }
        let gateway = line["jwe_gateway.gateway"].as_str().unwrap().parse().unwrap();
        assert_eq!(get(gateway, "/v0/unknown").await.status, 404);
        while line[status].is_null() {
            assert!(line[timestamp].is_string() && line[level].is_string(), "{line}");
            line = next();
        }
        assert!(line[timestamp].is_string() && line[level] == "INFO" && line[status] == 404, "{line}");
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}
