//! `jwe-gateway demo`: a gateway and a made-up provider in one process, and the life of each
//! request that passes.

mod examples;
mod life;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use self::examples::Example;
use self::life::Life;
use super::signals::Signals;
use super::{exit, output};
use crate::app::{App, Stop, Surroundings};
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

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    match play(arguments).await {
        Ok(code) => code,
        Err(error) => output::fail(exit::UNAVAILABLE, &format!("{error:#}")),
    }
}

async fn play(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let sandbox = Sandbox::start(Options::default()).await?;
    let (tell, mut over) = mpsc::unbounded_channel();
    // The demo that no longer listens has ended.
    let observer = Arc::new(move |record: &Record| drop(tell.send(record.clone())));
    let surroundings = Surroundings { observers: vec![observer], ..Surroundings::default() };
    let app = App::build(config(&sandbox, arguments.listen)?, surroundings).await?;
    let address = app.address()?;
    output::text(greeting(&sandbox, address));

    let (ask, asked) = oneshot::channel::<Stop>();
    let serving = app.run(async { asked.await.unwrap_or(Stop::AtOnce) });
    let playing = async {
        if arguments.once { examples(&sandbox, address, &mut over).await } else { watch(&sandbox, &mut over).await }
    };
    let code = tokio::select! {
        ended = serving => { ended?; ExitCode::SUCCESS }
        played = playing => played?,
        _ = signals.next() => ExitCode::SUCCESS,
    };
    drop(ask);
    Ok(code)
}

/// Prints the life of every request, until the gateway ends.
async fn watch(sandbox: &Sandbox, over: &mut mpsc::UnboundedReceiver<Record>) -> anyhow::Result<ExitCode> {
    let mut number = 0;
    while let Some(record) = over.recv().await {
        number += 1;
        let received = received(sandbox, &record);
        output::text(Life { number, record: &record, received: received.as_ref(), sent: None });
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends the examples one after the other and compares what the provider opened with what was
/// sent.
async fn examples(
    sandbox: &Sandbox,
    gateway: SocketAddr,
    over: &mut mpsc::UnboundedReceiver<Record>,
) -> anyhow::Result<ExitCode> {
    let client = Tls::new(None)?.control_client()?;
    let examples = Example::three();
    let mut arrived_whole = 0;
    for (index, example) in examples.iter().enumerate() {
        example.send(&client, gateway).await?;
        let record = over.recv().await.ok_or_else(|| anyhow::anyhow!("the gateway ended"))?;
        let received = received(sandbox, &record);
        let life = Life { number: index + 1, record: &record, received: received.as_ref(), sent: Some(&example.body) };
        output::text(&life);
        arrived_whole += usize::from(life.arrived_whole());
    }
    output::text(format!(
        "{arrived_whole} of {} opened by the provider, byte for byte as they were sent\n",
        examples.len()
    ));
    Ok(if arrived_whole == examples.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn received(sandbox: &Sandbox, record: &Record) -> Option<Received> {
    let id = record.request_id.header();
    sandbox.received().into_iter().rev().find(|received| received.headers.get(X_REQUEST_ID) == Some(&id))
}

fn config(sandbox: &Sandbox, listen: SocketAddr) -> anyhow::Result<Config> {
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
