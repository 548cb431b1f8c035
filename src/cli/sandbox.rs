//! `jwe-gateway sandbox`: the made-up provider as a process of its own.

use std::net::SocketAddr;
use std::process::ExitCode;

use super::signals::Signals;
use super::{exit, output};
use crate::sandbox::{Options, Sandbox};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Where the made-up provider listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Where it is managed: rotate keys, list what was received, fetch the private keys
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8091")]
    management: SocketAddr,
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let options = Options { address: arguments.listen, management: arguments.management, ..Options::default() };
    let sandbox = match Sandbox::start(options).await {
        Ok(sandbox) => sandbox,
        Err(error) => return output::fail(exit::UNAVAILABLE, &error),
    };
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return output::fail(1, &error),
    };
    output::text(greeting(&sandbox));
    tokio::select! {
        () = sandbox.run() => output::fail(1, &"a listener of the sandbox ended"),
        _ = signals.next() => ExitCode::SUCCESS,
    }
}

fn greeting(sandbox: &Sandbox) -> String {
    let (banner, url, management) = (sandbox.banner(), sandbox.url(), sandbox.management_url());
    let (id, secret) = (sandbox.client_id(), sandbox.client_secret());
    format!(
        "{banner}\n\n  provider    {url}\n  management  {management}\n  client id   {id}\n  secret      {secret}\n\n\
         a gateway to it:\n\n  JWE_GATEWAY_CLIENT_SECRET={secret} jwe-gateway run --upstream {url} --client-id {id}\n\n\
         what it received:\n\n  curl -s {management}/received\n\n"
    )
}
