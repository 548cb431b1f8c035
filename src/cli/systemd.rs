//! systemd: tells it the state of the process, and takes over the sockets that it has bound.
//!
//! Without `NOTIFY_SOCKET` no message is sent, and without `LISTEN_FDS` the gateway binds its addresses itself. A message
//! that systemd does not accept is logged and changes nothing: systemd then decides by its own time limits.
//!
//! The watchdog message comes from a task of the runtime. If the runtime can run no task for the whole `WatchdogSec`,
//! systemd restarts the process.
//!
//! Rejected: `listen_fds` of sd-notify. It returns numbers of descriptors, and only unsafe code makes sockets of them.
//! listenfd does that, and checks that a descriptor is a listening socket of the right kind.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
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
        let slot = match name.as_deref() {
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
        if slot.is_some() {
            return Err(Failure::config("the service manager passes two sockets with the same name"));
        }
        let socket = match passed.take_tcp_listener(index) {
            Ok(listener) => listener.map(InheritedSocket::Tcp),
            Err(_) => passed
                .take_unix_listener(index)
                .map_err(|error| Failure::config(format!("the socket that the service manager passes: {error}")))?
                .map(InheritedSocket::Unix),
        };
        *slot = socket;
    }
    Ok(sockets)
}

/// Sends messages to systemd, in their order, from a thread of its own: if systemd reads none, only this thread waits.
/// Clones share it.
#[derive(Clone)]
pub(super) struct Notifier(mpsc::SyncSender<Message>);

type Message = Vec<NotifyState<'static>>;

/// How many messages can wait for systemd. This overflows only if systemd reads nothing for minutes.
const WAITING: usize = 16;

impl Notifier {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, messages) = mpsc::sync_channel::<Message>(WAITING);
        let send = move || {
            for message in messages {
                if let Err(error) = sd_notify::notify(&message) {
                    tracing::warn!(%error, "systemd cannot be told the state of the gateway");
                }
            }
        };
        thread::Builder::new().name("systemd".to_owned()).spawn(send)?;
        Ok(Self(sender))
    }

    /// Tells systemd that both listeners are bound.
    pub(super) fn ready(&self, status: &'static str) {
        self.send(vec![NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Tells systemd when a reload begins and ends, and when the shutdown begins.
    pub(super) fn observer(&self) -> LifecycleObserver {
        let notifier = self.clone();
        Arc::new(move |event| match event {
            LifecycleEvent::Reloading => match NotifyState::monotonic_usec_now() {
                Ok(now) => notifier.send(vec![NotifyState::Reloading, now]),
                Err(error) => tracing::warn!(%error, "systemd is not told about the reload: the clock cannot be read"),
            },
            LifecycleEvent::Reloaded(Ok(_)) => notifier.ready("serving"),
            LifecycleEvent::Reloaded(Err(_)) => {
                notifier.ready("serving with the former configuration: the new one was refused, see the log");
            }
            LifecycleEvent::Stopping => notifier.send(vec![NotifyState::Stopping, NotifyState::Status("stopping")]),
        })
    }

    /// Tells systemd twice in each `WatchdogSec` that the runtime runs tasks. Ends at once if there is no watchdog.
    pub(super) async fn feed_watchdog(self) {
        let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| *limit > Duration::ZERO) else { return };
        let mut interval = tokio::time::interval(limit / 2);
        loop {
            interval.tick().await;
            self.send(vec![NotifyState::Watchdog]);
        }
    }

    fn send(&self, message: Message) {
        if self.0.try_send(message).is_err() {
            tracing::warn!("systemd reads no messages, so it is not told the state of the gateway");
        }
    }
}
