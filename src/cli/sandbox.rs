//! `jwe-gateway sandbox`: the simulated provider as a process.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::failure::Failure;
use super::output;
use super::secrets;
use super::signals::Signals;
use crate::sandbox::{Options, Sandbox};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Address of the simulated provider
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Address of the management interface: rotate keys, list received requests, get the private keys
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8091")]
    management: SocketAddr,
    /// Allow a management address that other hosts can reach: they get the private keys and the plaintext of
    /// every request, without a credential
    #[arg(long)]
    allow_remote_management: bool,
    /// Write the secrets to files for the examples in deploy/; the directory must be new, or written by a
    /// sandbox before
    #[arg(long, value_name = "DIRECTORY")]
    secrets: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let options = Options {
        address: arguments.listen,
        management: arguments.management,
        allow_remote_management: arguments.allow_remote_management,
        ..Options::default()
    };
    let sandbox = Sandbox::start(options).await.map_err(not_started)?;
    if let Some(directory) = &arguments.secrets {
        secrets::write(&sandbox, directory)
            .map_err(|error| Failure::new(format!("--secrets {}: {error}", directory.display())))?;
    }
    output::text(greeting(&sandbox, &arguments));
    tokio::select! {
        () = sandbox.run() => Err(Failure::new("a listener of the sandbox ended")),
        _ = signals.next() => Ok(()),
    }
}

/// A refused address is a fault of the command line: a restart would fail again.
pub(super) fn not_started(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidInput => Failure::config(error),
        _ => Failure::unavailable(error),
    }
}

fn greeting(sandbox: &Sandbox, arguments: &Arguments) -> String {
    let (banner, url, management) = (sandbox.banner(), sandbox.url(), sandbox.management_url());
    let (id, secret) = (sandbox.client_id(), sandbox.client_secret());
    let secrets = arguments.secrets.as_ref();
    let secrets = secrets.map(|directory| format!("  secrets     {}\n", directory.display())).unwrap_or_default();
    let warning = sandbox.remote_management_warning();
    let warning = warning.map(|warning| format!("\n\nWARNING: {warning}")).unwrap_or_default();
    format!(
        "{banner}{warning}\n\n  provider    {url}\n  management  {management}\n  client id   {id}\n  secret      {secret}\n{secrets}\n\
         run a gateway in front of it:\n\n  JWE_GATEWAY_CLIENT_SECRET={secret} jwe-gateway run --upstream {url} --client-id {id}\n\n\
         list what it received:\n\n  curl -s {management}/received\n\n"
    )
}
