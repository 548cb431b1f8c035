//! `jwe-gateway demo`: runs a gateway and a simulated provider in one process, and prints what happens to each
//! request. With `--topology chain`: a sidecar, an egress and the provider.

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
    /// Send three example requests, then end; exit with 0 if the provider received them byte for byte
    #[arg(long)]
    once: bool,
    /// The gateways in front of the provider
    #[arg(long, value_enum, default_value_t = Topology::OneHop)]
    topology: Topology,
    /// Address of the gateway; port 0 means a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Topology {
    /// One gateway, which seals bodies and holds the credentials
    OneHop,
    /// A sidecar that seals bodies, and an egress that holds the credentials and cannot read a body
    Chain,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let (mut setup, gateways) = setup::start(arguments.topology, arguments.listen).await?;
    output::text(greeting(&setup));
    tokio::select! {
        result = gateways.run() => result,
        result = serve(arguments.once, &mut setup) => result,
        _ = signals.next() => Ok(()),
    }
}

async fn serve(once: bool, setup: &mut DemoSetup) -> Result<(), Failure> {
    if once { examples(setup).await } else { print_requests(setup).await }
}

/// Prints every request, until the gateway ends.
async fn print_requests(setup: &mut DemoSetup) -> Result<(), Failure> {
    let mut number = 0;
    while let Some(record) = setup.records.recv().await {
        number += 1;
        let egress = egress_records(setup, &record).await;
        let received = setup.received(&record);
        let received = received.as_ref();
        output::text(RequestReport { number, record: &record, egress: egress.as_deref(), received, sent: None });
    }
    Ok(())
}

/// Sends the examples one after the other, and compares each body with the one that the provider opened.
async fn examples(setup: &mut DemoSetup) -> Result<(), Failure> {
    let client = Connector::new(None)?.control_client()?;
    let examples = Example::three();
    let (mut intact, mut readable) = (0, 0);
    for (index, example) in examples.iter().enumerate() {
        example.send(&client, setup.address, None).await?;
        let record = setup.records.recv().await.ok_or_else(|| Failure::new("the gateway ended"))?;
        let egress = egress_records(setup, &record).await;
        // A request without a record counts as readable.
        readable += usize::from(
            egress.as_deref().is_some_and(|records| records.is_empty() || records.iter().any(was_readable)),
        );
        let received = setup.received(&record);
        let report = RequestReport {
            number: index + 1,
            record: &record,
            egress: egress.as_deref(),
            received: received.as_ref(),
            sent: Some(&example.body),
        };
        output::text(&report);
        intact += usize::from(report.is_intact());
    }
    if let Some(egress) = &setup.egress {
        let status = examples[0].send(&client, egress.address, Some(&egress.key)).await?;
        output::text(format_args!("the first body in clear, sent to the egress directly: {status}\n"));
        output::text(format_args!("bodies that the egress could read: {readable} of {}\n", examples.len()));
    }
    let verdict = format!("{intact} of {} opened by the provider, byte for byte as sent", examples.len());
    output::text(format_args!("{verdict}\n"));
    if intact == examples.len() && readable == 0 { Ok(()) } else { Err(Failure::new(verdict)) }
}

async fn egress_records(setup: &mut DemoSetup, record: &Record) -> Option<Vec<Record>> {
    match &mut setup.egress {
        Some(egress) => Some(egress.records_of(&record.request_id, record.attempts).await),
        None => None,
    }
}

fn greeting(setup: &DemoSetup) -> String {
    let (banner, provider, address) = (setup.sandbox.banner(), setup.sandbox.url(), setup.address);
    let gateways = match &setup.egress {
        None => format!("  gateway   http://{address}   accepts plain JSON\n"),
        Some(egress) => format!(
            "  sidecar   http://{address}   accepts plain JSON, and seals it\n  egress    http://{}   accepts \
             sealed bodies only, and holds the credentials\n",
            egress.address
        ),
    };
    format!(
        "{banner}\n\n{gateways}  provider  {provider}   opens what it receives\n\n\
         try it:\n\n  curl -s http://{address}/v0/bank/credentials/status \\\n    -H 'Content-Type: application/json' \
         -d '{{\"credentials_token\":\"sandbox-credentials-1\"}}'\n\n"
    )
}
