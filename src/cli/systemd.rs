//! systemd: tells it the state of the process, and takes over the sockets that it has bound.
//!
//! Without systemd (no `NOTIFY_SOCKET`, no `LISTEN_FDS`) nothing happens. A message that systemd does not accept is logged
//! and changes nothing: the service manager then decides by its own time limits.
//!
//! The watchdog message comes from a task of the runtime. If the runtime can run no task for the whole `WatchdogSec`,
//! systemd restarts the process.
//!
//! Rejected: `listen_fds` of sd-notify. It returns numbers of descriptors, and only unsafe code makes sockets of them.
//! listenfd does that, and checks that a descriptor is a listening socket of the right kind.

use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use super::failure::Failure;
use crate::app::{InheritedSocket, InheritedSockets, LifecycleEvent, LifecycleObserver};
use crate::config::Environment;

/// Takes over the sockets named `data` and `admin`.
pub(super) fn inherited_sockets(environment: &Environment) -> Result<InheritedSockets, Failure> {
    let mut passed = ListenFd::from_env();
    let names = environment.names_of_sockets();
    let mut sockets = InheritedSockets::default();
    for (index, name) in (0..passed.len()).zip(names.into_iter().map(Some).chain(std::iter::repeat(None))) {
        let place = match name.as_deref() {
            Some("data") => &mut sockets.data,
            Some("admin") => &mut sockets.admin,
            other => {
                let name = other.unwrap_or_default();
                let text = format!(
                    "the service manager passes a socket with the name {name:?}: set FileDescriptorName= to data or admin"
                );
                return Err(Failure::config(text));
            }
        };
        if place.is_some() {
            return Err(Failure::config("the service manager passes two sockets with the same name"));
        }
        let socket = match passed.take_tcp_listener(index) {
            Ok(listener) => listener.map(InheritedSocket::Tcp),
            Err(_) => passed
                .take_unix_listener(index)
                .map_err(|error| Failure::config(format!("the socket that the service manager passes: {error}")))?
                .map(InheritedSocket::Unix),
        };
        *place = socket;
    }
    Ok(sockets)
}

/// Tells systemd that both listeners are bound.
pub(super) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells systemd when a reload begins and ends, and when the shutdown begins.
pub(super) fn observer() -> LifecycleObserver {
    Arc::new(|event| match event {
        LifecycleEvent::Reloading => match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "systemd is not told about the reload: the clock cannot be read"),
        },
        LifecycleEvent::Reloaded(Ok(_)) => ready("serving"),
        LifecycleEvent::Reloaded(Err(_)) => {
            ready("serving with the former configuration: the new one was refused, see the log");
        }
        LifecycleEvent::Stopping => notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]),
    })
}

/// Tells systemd twice in each `WatchdogSec` that the runtime runs tasks. Never returns, unless there is no watchdog.
pub(super) async fn feed_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| *limit > Duration::ZERO) else { return };
    let mut interval = tokio::time::interval(limit / 2);
    loop {
        interval.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told the state of the gateway");
    }
}
