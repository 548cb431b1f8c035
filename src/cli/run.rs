//! `jwe-gateway run`: reads the configuration, builds the gateway, serves, and drains on a signal.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::core_dumps;
use super::failure::Failure;
use super::init_log;
use super::signals::Signals;
use super::systemd::{Notifier, inherited_sockets};
use crate::app::{App, BuildError, Dependencies, Shutdown};
use crate::config::{ConfigSource, Environment, Overrides};
use crate::telemetry::Stream;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    overrides: Overrides,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    // Before any secret is read. There is no log yet.
    let without_core_dumps = core_dumps::disable();
    let source = Arc::new(ConfigSource::new(arguments.overrides, Environment::of_process()));
    let loaded = source.read().map_err(Failure::config)?;
    init_log(&loaded.config.log, source.environment(), Stream::Stdout)?;
    loaded.warn();
    if let Err(error) = without_core_dumps {
        tracing::warn!(%error, "core dumps cannot be disabled; a dump would contain bodies and secrets");
    }
    // Before the addresses are bound: a supervisor may send a signal as soon as the gateway is reachable.
    let (mut signals, hang_up) = Signals::listen_as_service()?;
    let sockets = inherited_sockets(source.environment())?;
    let systemd = Notifier::start()?;
    let lifecycle = Some(systemd.observer());
    let dependencies = Dependencies { source: Some(source), lifecycle, ..Dependencies::default() };
    let app = App::build_on(sockets, loaded.config, dependencies).await.map_err(|error| match error {
        BuildError::Bind { .. } => Failure::unavailable(error),
        _ => Failure::config(error),
    })?;
    let (gateway, admin) = (app.address()?, app.admin_address()?);
    tracing::info!(%gateway, %admin, version = env!("CARGO_PKG_VERSION"), "listening");

    systemd.ready("serving");
    tokio::spawn(systemd.feed_watchdog());

    let (sender, receiver) = oneshot::channel();
    let stop = async { receiver.await.unwrap_or(Shutdown::Immediate) };
    let second_signal = async {
        // If the receiver is gone, the gateway has ended, and `select!` returns its result.
        let _ = sender.send(signals.next().await);
        signals.next().await
    };
    let reloads = hang_up.reload_each(app.reloader());
    tokio::select! {
        result = app.run(stop) => Ok(result?),
        _ = second_signal => {
            tracing::warn!("a second signal ends the process at once; requests in flight are lost");
            Err(Failure::new("stopped at once by a second signal"))
        }
        never = reloads => match never {},
    }
}
