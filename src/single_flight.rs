//! Runs work once for all callers that need it at the same time. One run is a flight; all its callers get its outcome.
//!
//! Flights are numbered. A caller joins the next number that has not ended. [`SingleFlight`] runs each number
//! once and gives every caller its outcome, failures included. The state machines in `keys` and `credentials` have
//! a [`FlightLog`] each. It records which flights have started and ended, and how the last one ended.
//!
//! A flight runs in a task of its own. A caller that leaves does not end it for the others.
//!
//! The hard case: a flight under way may be older than the event that the caller has just seen. For example, the
//! provider may have withdrawn a key after the flight had sent its request. Such a caller needs a flight that starts
//! later: see [`FlightLog::next_start`].
//!
//! Rejected: a lock that is held during the work. After a failure each waiting caller would try again in turn.

use std::future::Future;

/// How many outcomes are kept for callers that chose their number just before the flight ended. Callers that
/// come even later get the outcome from [`FlightLog::start`].
const REMEMBERED_OUTCOMES: u64 = 8;

/// The flights of one kind, each with an outcome of type `T`.
pub(crate) struct SingleFlight<T>(moka::future::Cache<u64, T>);

/// The process ended before the flight, or the flight panicked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Abandoned;

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    pub(crate) fn new() -> Self {
        Self(moka::future::Cache::new(REMEMBERED_OUTCOMES))
    }

    /// The outcome of flight `number`. Runs `work` unless another caller has started this flight.
    pub(crate) async fn join(
        &self,
        number: u64,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Abandoned> {
        let flights = self.0.clone();
        let flight = tokio::spawn(async move { flights.get_with(number, work).await });
        flight.await.map_err(|_| Abandoned)
    }
}

/// Which flights have started and ended, and how the last one ended.
#[derive(Debug)]
pub(crate) struct FlightLog<E> {
    started: u64,
    ended: u64,
    last_error: Option<E>,
}

impl<E: Clone> FlightLog<E> {
    pub(crate) fn new() -> Self {
        Self { started: 0, ended: 0, last_error: None }
    }

    /// The number of the flight that a caller can join or start now.
    pub(crate) fn next(&self) -> u64 {
        self.ended + 1
    }

    /// The number of the first flight that starts after this call.
    pub(crate) fn next_start(&self) -> u64 {
        self.started + 1
    }

    /// Whether a flight has started that has not ended.
    pub(crate) fn is_one_under_way(&self) -> bool {
        self.started > self.ended
    }

    /// Why the last flight failed. `None` if it succeeded, or if none has ended.
    pub(crate) fn last_error(&self) -> Option<&E> {
        self.last_error.as_ref()
    }

    /// The outcome of the last flight if `number` has ended. `None` if it has not.
    pub(crate) fn outcome_of(&self, number: u64) -> Option<Result<(), E>> {
        (number <= self.ended).then(|| self.last_error.clone().map_or(Ok(()), Err))
    }

    /// Records that flight `number` starts.
    ///
    /// # Errors
    /// If it has already ended: returns the outcome of the last flight.
    pub(crate) fn start(&mut self, number: u64) -> Result<(), Result<(), E>> {
        match self.outcome_of(number) {
            Some(outcome) => Err(outcome),
            None => {
                self.started = self.started.max(number);
                Ok(())
            }
        }
    }

    /// Records the outcome of flight `number`. Returns `false` if this or a later flight has ended before: the
    /// outcome is late and does not count.
    #[must_use]
    pub(crate) fn end(&mut self, number: u64, outcome: Result<(), E>) -> bool {
        if number <= self.ended {
            return false;
        }
        self.ended = number;
        self.started = self.started.max(number);
        self.last_error = outcome.err();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn callers_of_one_number_share_one_flight_and_its_outcome() {
        let (flights, runs) = (Arc::new(SingleFlight::new()), Arc::new(AtomicU32::new(0)));
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (flights, runs) = (Arc::clone(&flights), Arc::clone(&runs));
            callers.spawn(async move {
                let work = async move {
                    tokio::task::yield_now().await;
                    runs.fetch_add(1, Ordering::Relaxed)
                };
                flights.join(1, work).await
            });
        }
        assert!(callers.join_all().await.iter().all(|outcome| *outcome == Ok(0)));
        assert_eq!(flights.join(1, async { 7 }).await, Ok(0), "the outcome is remembered");
        assert_eq!(flights.join(2, async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn a_flight_continues_if_the_caller_that_started_it_leaves() {
        let (flights, finish) = (Arc::new(SingleFlight::new()), Arc::new(Notify::new()));
        let first = tokio::spawn({
            let (flights, finish) = (Arc::clone(&flights), Arc::clone(&finish));
            async move { flights.join(1, async move { finish.notified().await }).await }
        });
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        finish.notify_one();
        let second = flights.join(1, async { panic!("the first flight is still under way") });
        assert_eq!(second.await, Ok(()));
    }

    #[tokio::test]
    async fn a_flight_that_panics_is_abandoned() {
        let flights = SingleFlight::new();
        assert_eq!(flights.join(1, async { panic!("on purpose") }).await, Err::<(), _>(Abandoned));
    }

    #[test]
    fn a_late_outcome_does_not_count() {
        let mut log = FlightLog::new();
        assert_eq!((log.start(1), log.start(2)), (Ok(()), Ok(())));
        assert!(log.end(2, Err("failed")));
        assert!(!log.end(1, Ok(())));
        assert_eq!(log.last_error(), Some(&"failed"));
        assert_eq!(log.start(1), Err(Err("failed")));
        assert_eq!(log.outcome_of(3), None);
    }

    #[test]
    fn a_flight_under_way_is_joined_but_is_not_the_next_to_start() {
        let mut log = FlightLog::<()>::new();
        assert_eq!((log.next(), log.next_start()), (1, 1));
        assert_eq!(log.start(1), Ok(()));
        assert_eq!((log.next(), log.next_start()), (1, 2));
        assert!(log.end(1, Ok(())));
        assert_eq!((log.next(), log.next_start()), (2, 2));
    }
}
