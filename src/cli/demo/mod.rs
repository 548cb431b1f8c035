//! `jwe-gateway demo`: a gateway and a made-up provider in one process, or a sidecar, an egress and
//! the provider, and the life of each request that passes.

mod examples;
mod request_report;
mod setup;

use std::net::SocketAddr;

use self::examples::Example;
use self::request_report::{RequestReport, was_readable};
use self::setup::DemoSetup;
use super::failure::Failure;
use super::output;
use super::signals::Signals;
use crate::gateway::access_log::Record;
use crate::upstream::Connector;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Send three example requests, then end: with 0 if the provider opened byte for byte what was sent
    #[arg(long)]
    once: bool,
    /// What stands before the provider
    #[arg(long, value_enum, default_value_t = Topology::OneHop)]
    topology: Topology,
    /// Where the gateway listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Topology {
    /// One gateway, which seals and holds the credentials
    OneHop,
    /// A sidecar that seals, and an egress that holds the credentials and cannot read a body
    Chain,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let (mut setup, gateways) = setup::set(arguments.topology, arguments.listen).await?;
    output::text(greeting(&setup));
    tokio::select! {
        ended = gateways.run() => ended,
        played = play(arguments.once, &mut setup) => played,
        _ = signals.next() => Ok(()),
    }
}

async fn play(once: bool, setup: &mut DemoSetup) -> Result<(), Failure> {
    if once { examples(setup).await } else { watch(setup).await }
}

/// Prints the life of every request, until the gateway ends.
async fn watch(setup: &mut DemoSetup) -> Result<(), Failure> {
    let mut number = 0;
    while let Some(record) = setup.over.recv().await {
        number += 1;
        let egress = at_the_egress(setup, &record).await;
        let received = setup.received(&record);
        let received = received.as_ref();
        output::text(RequestReport { number, record: &record, egress: egress.as_deref(), received, sent: None });
    }
    Ok(())
}

/// Sends the examples one after the other and compares what the provider opened with what was
/// sent.
async fn examples(setup: &mut DemoSetup) -> Result<(), Failure> {
    let client = Connector::new(None)?.control_client()?;
    let examples = Example::three();
    let (mut arrived_whole, mut readable) = (0, 0);
    for (index, example) in examples.iter().enumerate() {
        example.send(&client, setup.door, None).await?;
        let record = setup.over.recv().await.ok_or_else(|| Failure::new("the gateway ended"))?;
        let egress = at_the_egress(setup, &record).await;
        // One that nothing is known of could have been read.
        readable +=
            usize::from(egress.as_deref().is_some_and(|passed| passed.is_empty() || passed.iter().any(was_readable)));
        let received = setup.received(&record);
        let life = RequestReport {
            number: index + 1,
            record: &record,
            egress: egress.as_deref(),
            received: received.as_ref(),
            sent: Some(&example.body),
        };
        output::text(&life);
        arrived_whole += usize::from(life.arrived_whole());
    }
    if let Some(egress) = &setup.egress {
        let status = examples[0].send(&client, egress.address, Some(&egress.key)).await?;
        output::text(format_args!("the first of them in clear, sent to the egress itself: {status}\n"));
        output::text(format_args!("bodies the egress could have read: {readable} of {}\n", examples.len()));
    }
    let verdict =
        format!("{arrived_whole} of {} opened by the provider, byte for byte as they were sent", examples.len());
    output::text(format_args!("{verdict}\n"));
    if arrived_whole == examples.len() && readable == 0 { Ok(()) } else { Err(Failure::new(verdict)) }
}

async fn at_the_egress(setup: &mut DemoSetup, record: &Record) -> Option<Vec<Record>> {
    match &mut setup.egress {
        Some(egress) => Some(egress.records_of(&record.request_id, record.attempts).await),
        None => None,
    }
}

fn greeting(setup: &DemoSetup) -> String {
    let (banner, provider, door) = (setup.sandbox.banner(), setup.sandbox.url(), setup.door);
    let gateways = match &setup.egress {
        None => format!("  gateway   http://{door}   takes plain JSON\n"),
        Some(egress) => format!(
            "  sidecar   http://{door}   takes plain JSON, and seals it\n  egress    http://{}   takes sealed \
             bodies only, and holds the credentials\n",
            egress.address
        ),
    };
    format!(
        "{banner}\n\n{gateways}  provider  {provider}   opens what arrives\n\n\
         try it:\n\n  curl -s http://{door}/v0/bank/credentials/status \\\n    -H 'Content-Type: application/json' \
         -d '{{\"credentials_token\":\"sandbox-credentials-1\"}}'\n\n"
    )
}
