//! What `run` tells systemd, and the sockets that it takes over from it.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

use jwe_gateway::sandbox::{Options, Sandbox};
use tokio::io::AsyncWriteExt;

use crate::harness::{PATIENCE, RawAnswer};
use crate::process::{self, Running};

/// Returns the next message with `text` at the socket of systemd.
fn message_with(systemd: &UnixDatagram, text: &str) -> String {
    let mut buffer = [0; 4096];
    // The watchdog sends ten messages per second.
    for _ in 0..200 {
        let length = systemd.recv(&mut buffer).unwrap_or_else(|_| panic!("no message with {text}"));
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if message.contains(text) {
            return message;
        }
    }
    panic!("no message with {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_the_start_each_reload_the_stop_and_that_the_runtime_lives() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = process::gateway(&sandbox, "0s");
    command.env("JWE_GATEWAY_CLIENT_SECRET", sandbox.client_secret());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let running = Running::start(command);
    assert!(message_with(&systemd, "READY=1").contains("STATUS=serving"));
    message_with(&systemd, "WATCHDOG=1");
    message_with(&systemd, "WATCHDOG=1");
    running.signal("HUP");
    assert!(message_with(&systemd, "RELOADING=1").contains("MONOTONIC_USEC="));
    message_with(&systemd, "READY=1");
    running.signal("TERM");
    message_with(&systemd, "STOPPING=1");
    assert_eq!(running.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_reload_is_shown_in_the_status() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (path, file) = (directory.path().join("notify"), directory.path().join("gateway.toml"));
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    fs::write(&file, "").unwrap();
    let mut command = process::gateway(&sandbox, "0s");
    command.args(["--config", file.to_str().unwrap()]);
    command.env("JWE_GATEWAY_CLIENT_SECRET", sandbox.client_secret()).env("NOTIFY_SOCKET", &path);
    let mut running = Running::start(command);
    message_with(&systemd, "READY=1");
    fs::write(&file, "[limits]\nmax_body = 0\n").unwrap();
    running.signal("HUP");
    assert!(message_with(&systemd, "READY=1").contains("the new one was refused"));
    let line = running.line_with("not reloaded");
    assert!(line.contains("ERROR") && line.contains("limits.max_body"), "{line}");
}

/// `run` with these addresses, and `listener` as the socket `name` of systemd.
fn with_socket(sandbox: &Sandbox, listener: &impl AsFd, name: &str, listen: &str, admin: &str) -> Command {
    // The shell makes standard input the first socket, because only unsafe code could do that here.
    let script = "LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 0</dev/null";
    let url = sandbox.url();
    let arguments = ["run", "--upstream", &url, "--client-id", sandbox.client_id(), "--drain-delay", "0s"];
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_jwe-gateway")]).args(arguments);
    command.args(["--listen", listen, "--admin", admin]).env_clear();
    command.env("JWE_GATEWAY_CLIENT_SECRET", sandbox.client_secret());
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
    command.stdin(Stdio::from(listener.as_fd().try_clone_to_owned().unwrap()));
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_of_systemd_is_taken_over_and_callers_wait_in_it_while_the_gateway_restarts() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let start = || Running::start(with_socket(&sandbox, &listener, "data", &address, "127.0.0.1:0"));
    let first = start();
    assert_eq!(first.gateway, address);
    first.signal("TERM");
    assert_eq!(first.end().0, Some(0));
    // No process accepts connections now, and systemd's socket keeps this one.
    let mut caller = tokio::net::TcpStream::connect(&address).await.unwrap();
    caller.write_all(b"GET /v0/bank/available HTTP/1.1\r\nHost: g\r\n\r\n").await.unwrap();
    let _second = start();
    assert_eq!(RawAnswer::read(&mut caller).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_socket_of_systemd_is_taken_over() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let running = Running::start(with_socket(&sandbox, &listener, "admin", "127.0.0.1:0", &address));
    assert_eq!(running.admin, address);
    let mut probe = tokio::net::TcpStream::connect(&address).await.unwrap();
    probe.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(RawAnswer::read(&mut probe).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_with_another_address_or_an_unknown_name_stops_the_start() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let start = |name, listen| Running::spawn(with_socket(&sandbox, &listener, name, listen, "127.0.0.1:0")).end();
    let (code, output) = start("data", "127.0.0.1:0");
    let expected = format!("listen.address is 127.0.0.1:0, and the service manager passes a socket for {address}");
    assert!(code == Some(78) && output.contains(&expected), "{code:?} {output}");
    let (code, output) = start("jwe-gateway.socket", &address);
    assert!(code == Some(78) && output.contains("set FileDescriptorName= to data or admin"), "{code:?} {output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_that_more_users_can_connect_to_than_the_mode_permits_stops_the_start() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let address = format!("unix:{}", path.display());
    // The default of SocketMode=.
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let command = || with_socket(&sandbox, &listener, "admin", "127.0.0.1:0", &address);
    let (code, output) = Running::spawn(command()).end();
    assert!(code == Some(78) && output.contains("set SocketMode=0600 in the socket unit"), "{code:?} {output}");
    for stricter_or_equal in [0o600, 0o200] {
        fs::set_permissions(&path, Permissions::from_mode(stricter_or_equal)).unwrap();
        assert_eq!(Running::start(command()).admin, address);
    }
}
