//! `jwe-gateway run`: configuration, assembly, addresses, service, drain.

use std::process::ExitCode;

use tokio::sync::oneshot;

use super::signals::Signals;
use super::{exit, output};
use crate::app::{App, BuildError, Stop, Surroundings};
use crate::config::{Environment, Loaded, Overrides};
use crate::telemetry;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    overrides: Overrides,
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let environment = Environment::of_process();
    let loaded = match Loaded::read(&arguments.overrides, &environment) {
        Ok(loaded) => loaded,
        Err(faults) => return output::fail(exit::CONFIG, &faults),
    };
    let filter = environment.log_filter();
    if let Err(error) = telemetry::init(&loaded.config.log, filter.as_deref(), telemetry::Writer::Stdout) {
        return output::fail(exit::CONFIG, &error);
    }
    loaded.warn();
    // Before anybody can know that we are here, and ask us to stop.
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return output::fail(1, &error),
    };
    let app = match App::build(loaded.config, Surroundings::default()).await {
        Ok(app) => app,
        Err(error @ BuildError::Upstream { .. }) => return output::fail(exit::CONFIG, &error),
        Err(error @ BuildError::Bind { .. }) => return output::fail(exit::UNAVAILABLE, &error),
    };
    match (app.address(), app.admin_address()) {
        (Ok(gateway), Ok(admin)) => tracing::info!(%gateway, %admin, version = env!("CARGO_PKG_VERSION"), "listening"),
        (Err(error), _) | (_, Err(error)) => return output::fail(1, &error),
    }
    let (ask, asked) = oneshot::channel();
    let stop = async { asked.await.unwrap_or(Stop::AtOnce) };
    let second_signal = async {
        // The gateway that no longer listens has ended by itself, and the select sees that.
        let _ = ask.send(signals.next().await);
        signals.next().await
    };
    tokio::select! {
        ended = app.run(stop) => match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(broken) => output::fail(1, &broken),
        },
        _ = second_signal => output::fail(1, &"stopped at once, by a second signal"),
    }
}
