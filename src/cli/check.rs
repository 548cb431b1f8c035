//! `jwe-gateway check`: prints all faults of a configuration, or the settings in effect.

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
    // Reading the configuration does not show whether the certificates can be used.
    for upstream in &loaded.config.upstreams {
        let failure = |error| Failure::config(format!("upstream {}: {error}", upstream.name));
        Connector::of(&upstream.upstream).map_err(failure)?;
    }
    if let Some(files) = loaded.config.gateway.listen.tls.clone() {
        ServerTls::load(files, None).map_err(|error| Failure::config(format!("listen.tls: {error}")))?;
    }
    output::text(format_args!("{}\n", loaded.summary));
    loaded.warnings.iter().for_each(|warning| output::note(format_args!("warning: {warning}")));
    Ok(())
}
