//! `jwe-gateway check`: every fault of a configuration, or what is in force.

use std::process::ExitCode;

use super::{exit, output};
use crate::config::{Environment, Loaded, Overrides};
use crate::upstream::Tls;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    overrides: Overrides,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match Loaded::read(&arguments.overrides, &Environment::of_process()) {
        Ok(loaded) => {
            // What reading cannot find out: whether the trust set-up can be used.
            for upstream in &loaded.config.upstreams {
                if let Err(error) = Tls::new(upstream.upstream.ca_file.as_deref()) {
                    return output::fail(exit::CONFIG, &format!("upstream {}: {error}", upstream.name));
                }
            }
            output::text(format_args!("{}\n", loaded.summary));
            for warning in &loaded.warnings {
                output::note(warning);
            }
            ExitCode::SUCCESS
        }
        Err(faults) => output::fail(exit::CONFIG, &faults),
    }
}
