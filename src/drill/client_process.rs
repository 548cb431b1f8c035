//! The client under test as a process that the drill starts and ends.
//!
//! The process has a group of its own, so that a wrapper such as `npm start` ends together with the program that it
//! started. Its output goes to stderr: stdout has the report.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use url::Url;

use crate::sandbox::Sandbox;

/// How long the process may take to end after SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(2);

/// The pause between two looks at a process that was asked to end.
const END_POLL: Duration = Duration::from_millis(10);

/// A running client. Dropping it ends the process and its group.
#[derive(Debug)]
pub(super) struct ClientProcess(Child);

impl ClientProcess {
    /// Starts `command` with the environment that [`environment`] describes, in addition to ours.
    pub(super) fn start(command: &[String], sandbox: &Sandbox, target: &Url) -> io::Result<Self> {
        let [program, arguments @ ..] = command else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"));
        };
        let child = Command::new(program)
            .args(arguments)
            .envs(environment(sandbox, target))
            .stdin(Stdio::null())
            .stdout(Stdio::from(io::stderr()))
            .process_group(0)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        Ok(Self(child))
    }

    /// The exit status, if the process has ended.
    pub(super) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }
}

/// What the client must know: the addresses and credentials of the provider, and the port to listen on.
fn environment(sandbox: &Sandbox, target: &Url) -> Vec<(&'static str, String)> {
    vec![
        ("PROVIDER_URL", sandbox.url()),
        ("CLIENT_ID", sandbox.client_id().to_owned()),
        ("CLIENT_SECRET", sandbox.client_secret().to_owned()),
        ("PORT", target.port_or_known_default().unwrap_or_default().to_string()),
    ]
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.0);
        // The group exists until its last process has ended, also if the first one has. An error means that it is empty.
        if kill_process_group(group, Signal::TERM).is_err() {
            return;
        }
        for _ in 0..END_LIMIT.as_millis() / END_POLL.as_millis() {
            if self.exit_status().is_some() {
                break;
            }
            thread::sleep(END_POLL);
        }
        let _ = kill_process_group(group, Signal::KILL);
        // It was killed, so this returns at once.
        let _ = self.0.wait();
    }
}
