//! The signals that stop the process, the signal that reloads the configuration, and those that must have no effect.

use std::convert::Infallible;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{Reloader, Shutdown};

/// SIGTERM comes from a supervisor, which needs time to stop routing requests here. SIGINT comes from a
/// person at a terminal, so there is no delay.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Signals that would end the process by default, and must not end a service: a log rotation or a
    /// configuration tool may send them.
    ignored: Option<IgnoredSignals>,
}

struct IgnoredSignals {
    user1: Signal,
    user2: Signal,
}

/// SIGHUP.
pub(super) struct HangUp(Signal);

impl Signals {
    /// For a command at a terminal. After this call, SIGTERM and SIGINT no longer end the process by default.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            ignored: None,
        })
    }

    /// For a service. In addition, SIGHUP, SIGUSR1 and SIGUSR2 do not end the process.
    pub(super) fn listen_as_service() -> io::Result<(Self, HangUp)> {
        let ignored =
            IgnoredSignals { user1: signal(SignalKind::user_defined1())?, user2: signal(SignalKind::user_defined2())? };
        Ok((Self { ignored: Some(ignored), ..Self::listen()? }, HangUp(signal(SignalKind::hangup())?)))
    }

    /// Waits for the next signal that stops the process.
    pub(super) async fn next(&mut self) -> Shutdown {
        let log_ignored = async {
            match &mut self.ignored {
                Some(ignored) => ignored.log_each().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Shutdown::AfterDelay,
            _ = self.interrupt.recv() => Shutdown::Immediate,
            never = log_ignored => match never {},
        }
    }
}

impl IgnoredSignals {
    async fn log_each(&mut self) -> Infallible {
        loop {
            let name = tokio::select! {
                _ = self.user1.recv() => "SIGUSR1",
                _ = self.user2.recv() => "SIGUSR2",
            };
            tracing::info!(signal = name, "the signal was ignored; SIGHUP reloads the configuration");
        }
    }
}

impl HangUp {
    /// Reloads after each signal. Signals that arrive during a reload cause one more reload together. The reloader limits
    /// how often it reloads, and logs the outcome.
    pub(super) async fn reload_each(mut self, reloader: Reloader) -> Infallible {
        loop {
            self.0.recv().await;
            let _ = reloader.reload().await;
        }
    }
}
