//! `jwe-gateway run`: configuration, assembly, addresses, service, drain.

use tokio::sync::oneshot;

use super::failure::Failure;
use super::signals::Signals;
use crate::app::{App, BuildError, Dependencies, Shutdown};
use crate::config::{Environment, Loaded, Overrides};
use crate::telemetry;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    overrides: Overrides,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let environment = Environment::of_process();
    let loaded = Loaded::read(&arguments.overrides, &environment).map_err(Failure::config)?;
    let filter = environment.log_filter();
    telemetry::init(&loaded.config.log, filter.as_deref(), telemetry::Writer::Stdout).map_err(Failure::config)?;
    loaded.warn();
    // Before anybody can know that we are here, and ask us to stop.
    let mut signals = Signals::listen()?;
    let app = App::build(loaded.config, Dependencies::default()).await.map_err(|error| match error {
        BuildError::Bind { .. } => Failure::unavailable(error),
        _ => Failure::config(error),
    })?;
    let (gateway, admin) = (app.address()?, app.admin_address()?);
    tracing::info!(%gateway, %admin, version = env!("CARGO_PKG_VERSION"), "listening");

    let (ask, asked) = oneshot::channel();
    let stop = async { asked.await.unwrap_or(Shutdown::Immediate) };
    let second_signal = async {
        // The gateway that no longer listens has ended by itself, and the select sees that.
        let _ = ask.send(signals.next().await);
        signals.next().await
    };
    tokio::select! {
        ended = app.run(stop) => Ok(ended?),
        _ = second_signal => Err(Failure::new("stopped at once, by a second signal")),
    }
}
