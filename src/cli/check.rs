//! `jwe-gateway check`: prints all faults of a configuration, or the settings in effect.

use serde_json::json;

use super::failure::Failure;
use super::json;
use super::output;
use crate::config::{Environment, Loaded, Overrides};
use crate::gateway::server::tls::ServerTls;
use crate::upstream::Connector;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    overrides: Overrides,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let loaded = Loaded::read(&arguments.overrides, &Environment::of_process()).map_err(|faults| {
        if arguments.json {
            json::print_faults(&faults);
        }
        Failure::config(faults)
    })?;
    if let Err(UnusableFiles { key, message }) = check_files(&loaded) {
        if arguments.json {
            let fault = json!({ "origin": "", "key": key, "message": message });
            json::print(false, json!({ "faults": [fault], "warnings": loaded.warnings }));
        }
        return Err(Failure::config(format_args!("{key}: {message}")));
    }
    if arguments.json {
        let setting = |(key, value, origin)| json!({ "key": key, "value": value, "origin": origin });
        let settings: Vec<_> = loaded.summary.lines().map(setting).collect();
        json::print(true, json!({ "settings": settings, "warnings": loaded.warnings }));
    } else {
        output::text(format_args!("{}\n", loaded.summary));
    }
    loaded.warnings.iter().for_each(|warning| output::note(format_args!("warning: {warning}")));
    Ok(())
}

/// The setting that names unusable files, and the reason.
struct UnusableFiles {
    key: String,
    message: String,
}

/// Loads certificates and keys as `run` does. Reading the configuration does not show whether they can be used.
fn check_files(loaded: &Loaded) -> Result<(), UnusableFiles> {
    for upstream in &loaded.config.upstreams {
        let key = format!("upstream {}", upstream.name);
        Connector::of(&upstream.upstream).map_err(|error| UnusableFiles { key, message: error.to_string() })?;
    }
    if let Some(files) = loaded.config.gateway.listen.tls.clone() {
        let key = "listen.tls".to_owned();
        ServerTls::load(files, None).map_err(|error| UnusableFiles { key, message: error.to_string() })?;
    }
    Ok(())
}
