//! `jwe-gateway doctor`: tries each step of a request, and says which one fails and how to correct it.
//!
//! Each step has the timeouts of a running gateway, so the command always ends. Without `--probe` no request goes to the
//! provider's API: the command fetches the key set and a token, and seals `{}` without sending it.

mod finding;
mod listener;
mod provider;
mod sealed_request;

use finding::Findings;
use sealed_request::ProbeArguments;

use super::failure::Failure;
use super::{json, output};
use crate::config::{Environment, Loaded, Overrides};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    probe: ProbeArguments,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let loaded = Loaded::read(&arguments.overrides, &Environment::of_process()).map_err(|faults| {
        if arguments.json {
            json::print_faults(&faults);
        }
        Failure::config(faults)
    })?;
    loaded.warnings.iter().for_each(output::note);
    let mut findings = Findings::new(arguments.json);
    findings.heading("listener", &loaded.config.gateway.listen.address);
    listener::examine(&loaded.config.gateway, &loaded.config.admin, &mut findings).await;
    for upstream in &loaded.config.upstreams {
        findings.heading("upstream", &upstream.name);
        provider::examine(upstream, &arguments.probe, &mut findings).await;
    }
    match findings.finish(&loaded.warnings) {
        0 => Ok(()),
        1 => Err(Failure::new("1 step failed")),
        failed => Err(Failure::new(format!("{failed} steps failed"))),
    }
}
