//! The signals that stop the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::Shutdown;

/// SIGTERM comes from a supervisor, which needs time to stop routing requests here. SIGINT comes from a
/// person at a terminal, so there is no delay.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// After this call, the signals no longer end the process by default.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> Shutdown {
        tokio::select! {
            _ = self.terminate.recv() => Shutdown::AfterDelay,
            _ = self.interrupt.recv() => Shutdown::Immediate,
        }
    }
}
