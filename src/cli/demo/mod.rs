//! `jwe-gateway demo`: a gateway and a made-up provider in one process, and the life of each
//! request that passes.

mod examples;
mod life;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

use self::examples::Example;
use self::life::Life;
use super::failure::Failure;
use super::output;
use super::signals::Signals;
use crate::app::{App, Surroundings};
use crate::config::Config;
use crate::gateway::record::Record;
use crate::gateway::request_id::X_REQUEST_ID;
use crate::sandbox::{Options, Received, Sandbox};
use crate::secret::{Secret, SecretSource};
use crate::upstream::Tls;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Send three example requests, then end: with 0 if the provider opened byte for byte what was sent
    #[arg(long)]
    once: bool,
    /// Where the gateway listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let sandbox = Sandbox::start(Options::default()).await.map_err(Failure::unavailable)?;
    let (tell, mut over) = mpsc::unbounded_channel();
    // The demo that no longer listens has ended.
    let observer = Arc::new(move |record: &Record| drop(tell.send(record.clone())));
    let surroundings = Surroundings { observers: vec![observer], ..Surroundings::default() };
    let app = App::build(config(&sandbox, arguments.listen)?, surroundings).await.map_err(Failure::unavailable)?;
    let address = app.address()?;
    output::text(greeting(&sandbox, address));
    tokio::select! {
        ended = app.run(std::future::pending()) => Ok(ended?),
        played = play(arguments.once, &sandbox, address, &mut over) => played,
        _ = signals.next() => Ok(()),
    }
}

async fn play(
    once: bool,
    sandbox: &Sandbox,
    gateway: SocketAddr,
    over: &mut mpsc::UnboundedReceiver<Record>,
) -> Result<(), Failure> {
    if once { examples(sandbox, gateway, over).await } else { watch(sandbox, over).await }
}

/// Prints the life of every request, until the gateway ends.
async fn watch(sandbox: &Sandbox, over: &mut mpsc::UnboundedReceiver<Record>) -> Result<(), Failure> {
    let mut number = 0;
    while let Some(record) = over.recv().await {
        number += 1;
        let received = received(sandbox, &record);
        output::text(Life { number, record: &record, received: received.as_ref(), sent: None });
    }
    Ok(())
}

/// Sends the examples one after the other and compares what the provider opened with what was
/// sent.
async fn examples(
    sandbox: &Sandbox,
    gateway: SocketAddr,
    over: &mut mpsc::UnboundedReceiver<Record>,
) -> Result<(), Failure> {
    let client = Tls::new(None)?.control_client()?;
    let examples = Example::three();
    let mut arrived_whole = 0;
    for (index, example) in examples.iter().enumerate() {
        example.send(&client, gateway).await?;
        let record = over.recv().await.ok_or_else(|| Failure::new("the gateway ended"))?;
        let received = received(sandbox, &record);
        let life = Life { number: index + 1, record: &record, received: received.as_ref(), sent: Some(&example.body) };
        output::text(&life);
        arrived_whole += usize::from(life.arrived_whole());
    }
    let verdict =
        format!("{arrived_whole} of {} opened by the provider, byte for byte as they were sent", examples.len());
    output::text(format_args!("{verdict}\n"));
    if arrived_whole == examples.len() { Ok(()) } else { Err(Failure::new(verdict)) }
}

fn received(sandbox: &Sandbox, record: &Record) -> Option<Received> {
    let id = record.request_id.header();
    sandbox.received().into_iter().rev().find(|received| received.headers.get(X_REQUEST_ID) == Some(&id))
}

fn config(sandbox: &Sandbox, listen: SocketAddr) -> Result<Config, Failure> {
    let secret = SecretSource::Value(Secret::new(sandbox.client_secret().to_owned()));
    let mut config = Config::for_one("sandbox", sandbox.url().parse()?, sandbox.client_id().to_owned(), secret);
    config.gateway.listen.address = listen;
    Ok(config)
}

fn greeting(sandbox: &Sandbox, gateway: SocketAddr) -> String {
    let (banner, provider) = (sandbox.banner(), sandbox.url());
    format!(
        "{banner}\n\n  gateway   http://{gateway}   takes plain JSON\n  provider  {provider}   opens what arrives\n\n\
         try it:\n\n  curl -s http://{gateway}/v0/bank/credentials/status \\\n    -H 'Content-Type: application/json' \
         -d '{{\"credentials_token\":\"sandbox-credentials-1\"}}'\n\n"
    )
}
