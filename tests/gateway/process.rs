//! Runs the binary as a process, and reads its output and its exit code.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use jwe_gateway::sandbox::Sandbox;
use serde_json::Value;

/// The binary under test, with an empty environment.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jwe-gateway"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// `run` in front of `sandbox`, on free ports. The client secret is still missing.
pub(crate) fn gateway(sandbox: &Sandbox, drain_delay: &str) -> Command {
    command(&[
        "run",
        "--upstream",
        &sandbox.url(),
        "--client-id",
        sandbox.client_id(),
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--drain-delay",
        drain_delay,
    ])
}

/// Runs the binary to its end, with `input` on stdin.
pub(crate) fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child =
        command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that has already failed does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// A running process, killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// The output that was read until now.
    pub(crate) printed: String,
    /// The address for callers, if the process is a gateway that listens.
    pub(crate) gateway: String,
    /// The address for health and metrics.
    pub(crate) admin: String,
}

impl Running {
    /// Starts a gateway with JSON logs, and waits until it listens.
    pub(crate) fn start(command: Command) -> Self {
        let mut running = Self::spawn(command);
        let line = running.line_with("\"listening\"");
        let event: Value = serde_json::from_str(&line).unwrap();
        let field = |name: &str| event["fields"][name].as_str().or_else(|| event[name].as_str()).unwrap().to_owned();
        (running.gateway, running.admin) = (field("gateway"), field("admin"));
        running
    }

    /// Starts a process, and does not wait.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        for stream in
            [Box::new(child.stdout.take().unwrap()) as Box<dyn Read + Send>, Box::new(child.stderr.take().unwrap())]
        {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines() {
                    if sender.send(line.unwrap()).is_err() {
                        return;
                    }
                }
            });
        }
        Self { child, lines, printed: String::new(), gateway: String::new(), admin: String::new() }
    }

    /// Reads lines until one contains `text`.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(30));
            let line = line.unwrap_or_else(|_| panic!("no line with {text} in:\n{}", self.printed));
            self.printed += &line;
            self.printed.push('\n');
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends the signal with this name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end. Returns the exit code and the whole output.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(30)) {
            self.printed += &line;
            self.printed.push('\n');
        }
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.printed))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Usually the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
