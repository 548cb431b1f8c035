//! `jwe-gateway check`: every fault of a configuration, or what is in force.

use super::failure::Failure;
use super::output;
use crate::config::{Environment, Loaded, Overrides};
use crate::gateway::server::tls::ServerTls;
use crate::upstream::Connector;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    overrides: Overrides,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let loaded = Loaded::read(&arguments.overrides, &Environment::of_process()).map_err(Failure::config)?;
    // What reading cannot find out: whether the trust set-up can be used.
    for upstream in &loaded.config.upstreams {
        let unusable = |error| Failure::config(format!("upstream {}: {error}", upstream.name));
        Connector::of(&upstream.upstream).map_err(unusable)?;
    }
    if let Some(files) = loaded.config.gateway.listen.tls.clone() {
        ServerTls::load(files).map_err(|error| Failure::config(format!("listen.tls: {error}")))?;
    }
    output::text(format_args!("{}\n", loaded.summary));
    loaded.warnings.iter().for_each(output::note);
    Ok(())
}
