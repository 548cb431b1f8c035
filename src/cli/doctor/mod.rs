//! `jwe-gateway doctor`: goes the way of a request step by step, and says where it ends and what to
//! do about it.
//!
//! Each step has the limits that a running gateway has for it, so the doctor never hangs. It sends no
//! request to the provider's API: it asks for the key set and for a token, and seals `{}` for itself.

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
    findings.about(format_args!("listener {}", loaded.config.gateway.listen.address));
    listener::examine(&loaded.config.gateway, &mut findings).await;
    for upstream in &loaded.config.upstreams {
        findings.about(format_args!("upstream {}", upstream.name));
        provider::examine(upstream, &mut findings).await;
    }
    match findings.failed() {
        0 => Ok(()),
        1 => Err(Failure::new("one step failed")),
        failed => Err(Failure::new(format!("{failed} steps failed"))),
    }
}
