//! Limits of connections and of file descriptors.

use std::process::{Command, Stdio};

use jwe_gateway::sandbox::{ApiFault, Fault, Options, Sandbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{PATIENCE, RawAnswer, TestGateway, eventually};
use crate::process::{self, Running};

const REQUEST: &str = "POST /v0/bank/credentials/list HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n\
                       Content-Length: 2\r\n\r\n{}";

async fn connect(address: std::net::SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Sends one request and reads its response.
async fn exchange(stream: &mut TcpStream) -> RawAnswer {
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    RawAnswer::read(stream).await
}

async fn assert_closed(stream: &mut TcpStream) {
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0])).await.expect("the gateway closes the connection");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn at_the_limit_the_connection_that_was_idle_for_longest_is_closed() {
    let gateway = TestGateway::spawn_with(|config| config.gateway.listen.max_connections = 2).await;
    let (mut first, mut second) = (connect(gateway.address).await, connect(gateway.address).await);
    for caller in [&mut second, &mut first] {
        assert_eq!(exchange(caller).await.status, 200);
    }
    let mut third = connect(gateway.address).await;
    assert_eq!(exchange(&mut third).await.status, 200);
    assert_closed(&mut second).await;
    assert_eq!(exchange(&mut first).await.status, 200, "the other connection is still open");
}

#[tokio::test]
async fn at_the_limit_a_connection_with_a_request_in_service_is_closed_after_its_response() {
    let gateway = TestGateway::spawn_with(|config| config.gateway.listen.max_connections = 1).await;
    gateway.ready().await;
    gateway.sandbox.arm_times(Fault::Api(ApiFault::SlowHead { delay_ms: 500 }), 1);
    let mut busy = connect(gateway.address).await;
    busy.write_all(REQUEST.as_bytes()).await.unwrap();
    eventually("the provider has the request", async || gateway.sandbox.received_total() == 1).await;
    let mut second = connect(gateway.address).await;
    let (busy, second) = tokio::join!(RawAnswer::read(&mut busy), exchange(&mut second));
    assert_eq!((busy.status, second.status), (200, 200));
    assert_eq!(busy.headers["connection"], "close", "the caller is told not to send its next request here");
}

/// `command`, run by a shell that sets the limits of the process before.
fn limited(command: &Command, limits: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")]).arg(command.get_program()).args(command.get_args());
    shell.env_clear().stdin(Stdio::null());
    shell
}

/// A gateway process with these limits.
fn start(sandbox: &Sandbox, limits: &str) -> (Running, tempfile::NamedTempFile) {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), sandbox.client_secret()).unwrap();
    let mut command = process::gateway(sandbox, "0s");
    command.args(["--client-secret-file", secret.path().to_str().unwrap()]);
    (Running::start(limited(&command, limits)), secret)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_more_idle_callers_than_descriptors_requests_are_served() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let (running, _secret) = start(&sandbox, "ulimit -n 128");
    assert!(running.printed.contains("fewer connections than max_connections"), "{}", running.printed);
    let address = running.gateway.parse().unwrap();
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(connect(address).await);
    }
    for _ in 0..20 {
        assert_eq!(exchange(&mut connect(address).await).await.status, 200);
    }
    assert_closed(&mut idle[0]).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_soft_limit_of_descriptors_is_raised_to_the_hard_limit() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let (running, _secret) = start(&sandbox, "ulimit -S -n 64");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let values: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(values[0], values[1], "{files}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lack_of_descriptors_is_logged_once_and_so_is_its_end() {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let (mut running, _secret) = start(&sandbox, "true");
    let process = Pid::from_raw(running.id().try_into().unwrap());
    let limit = Rlimit { current: Some(40), maximum: getrlimit(Resource::Nofile).maximum };
    prlimit(process, Resource::Nofile, limit).unwrap();
    let mut callers = Vec::new();
    for _ in 0..60 {
        callers.push(connect(running.gateway.parse().unwrap()).await);
    }
    running.line_with("connections cannot be accepted");
    // Each failure closes an idle connection, so that all callers are accepted in the end.
    let line = running.line_with("connections are accepted again");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(line["failures"].as_u64().unwrap() > 1, "{line}");
    assert_eq!(running.printed.matches("connections cannot be accepted").count(), 1, "{}", running.printed);
}
