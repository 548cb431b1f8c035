//! The background tasks of the gateway, which must not end by themselves.
//!
//! A task belongs to a part of a generation, such as the keys of an upstream. It ends with that part. A task that ends
//! by itself has panicked, and the process ends with it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::task::{AbortHandle, JoinSet};

/// All background tasks. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct BackgroundTasks(Arc<Mutex<JoinSet<()>>>);

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Task(AbortHandle);

/// Ends all tasks when dropped.
#[derive(Debug)]
pub(super) struct TasksGuard(pub(super) BackgroundTasks);

impl BackgroundTasks {
    /// Starts a task that must not end before the returned handle is dropped.
    #[must_use]
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(self.lock().spawn(task))
    }

    /// Starts a task that must not end before the gateway.
    pub(super) fn spawn_lasting(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.lock().spawn(task);
    }

    /// Returns when a task ends by itself, which only a panic can cause.
    pub(super) async fn first_to_end(&self) {
        // The lock is free while this waits, so that a reload can start tasks.
        let ended = poll_fn(|cx| {
            loop {
                match self.lock().poll_join_next(cx) {
                    Poll::Ready(Some(Err(error))) if error.is_cancelled() => {}
                    other => return other,
                }
            }
        });
        match ended.await {
            Some(Err(error)) => tracing::error!(%error, "a background task failed"),
            Some(Ok(())) | None => tracing::error!("a background task ended"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        // The set is whole even if the lock is poisoned: its methods run no code of a task.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for TasksGuard {
    fn drop(&mut self) {
        self.0.lock().abort_all();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_task_that_ends_by_itself_is_reported() {
        let tasks = BackgroundTasks::default();
        tasks.spawn_lasting(pending());
        drop(tasks.spawn(pending()));
        let waiting = tokio::time::timeout(Duration::from_secs(1), tasks.first_to_end());
        assert!(waiting.await.is_err(), "a dropped task has not ended by itself");
        // Started while `first_to_end` waits, as in a reload.
        let (ended, _task) = tokio::join!(tasks.first_to_end(), async {
            tokio::task::yield_now().await;
            tasks.spawn(async { panic!("for the test") })
        });
        let () = ended;
    }
}
