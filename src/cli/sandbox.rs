//! `jwe-gateway sandbox`: the made-up provider as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::failure::Failure;
use super::output;
use super::secrets;
use super::signals::Signals;
use crate::sandbox::{Options, Sandbox};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Where the made-up provider listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Where it is managed: rotate keys, list what was received, fetch the private keys
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8091")]
    management: SocketAddr,
    /// Write the made-up secrets to files here, as the example configurations in deploy/ name them; the
    /// directory is a new one, or one that a sandbox made
    #[arg(long, value_name = "DIRECTORY")]
    secrets: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let options = Options { address: arguments.listen, management: arguments.management, ..Options::default() };
    let sandbox = Sandbox::start(options).await.map_err(Failure::unavailable)?;
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

fn greeting(sandbox: &Sandbox, arguments: &Arguments) -> String {
    let (banner, url, management) = (sandbox.banner(), sandbox.url(), sandbox.management_url());
    let (id, secret) = (sandbox.client_id(), sandbox.client_secret());
    let secrets = arguments.secrets.as_ref();
    let secrets = secrets.map(|directory| format!("  secrets     {}\n", directory.display())).unwrap_or_default();
    format!(
        "{banner}\n\n  provider    {url}\n  management  {management}\n  client id   {id}\n  secret      {secret}\n{secrets}\n\
         a gateway to it:\n\n  JWE_GATEWAY_CLIENT_SECRET={secret} jwe-gateway run --upstream {url} --client-id {id}\n\n\
         what it received:\n\n  curl -s {management}/received\n\n"
    )
}
