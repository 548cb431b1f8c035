//! `jwe-gateway doctor`: tries each step of a request, and says which one fails and how to correct it.
//!
//! Each step has the timeouts of a running gateway, so the command always ends. No request goes to the
//! provider's API: the command fetches the key set and a token, and seals `{}` without sending it.

mod finding;
mod listener;
mod provider;

use finding::Findings;

use super::failure::Failure;
use super::output;
use crate::config::{Environment, Loaded, Overrides};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    overrides: Overrides,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let loaded = Loaded::read(&arguments.overrides, &Environment::of_process()).map_err(Failure::config)?;
    loaded.warnings.iter().for_each(output::note);
    let mut findings = Findings::default();
    findings.heading(format_args!("listener {}", loaded.config.gateway.listen.address));
    listener::examine(&loaded.config.gateway, &loaded.config.admin, &mut findings).await;
    for upstream in &loaded.config.upstreams {
        findings.heading(format_args!("upstream {}", upstream.name));
        provider::examine(upstream, &mut findings).await;
    }
    match findings.failed() {
        0 => Ok(()),
        1 => Err(Failure::new("1 step failed")),
        failed => Err(Failure::new(format!("{failed} steps failed"))),
    }
}
