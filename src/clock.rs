//! The clock and the random numbers, as parameters, so that tests can control them.
//!
//! Code that decides by age, schedule or chance uses this module. An hour of refreshes then takes a millisecond in a
//! test. Deadlines of requests and connections use tokio's clock instead. Ages use the monotonic clock: a change of the
//! wall clock neither expires a key nor makes an expired token valid.
//!
//! Rejected: tokio's paused clock. It advances by itself when the runtime is idle. A runtime that waits for a real
//! socket looks idle, so deadlines would fire in tests with real I/O.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Reads the time, and waits for a time.
#[derive(Clone, Debug)]
pub struct Clock(TimeSource);

#[derive(Clone, Debug)]
enum TimeSource {
    System,
    Manual(watch::Receiver<Instant>),
}

impl Clock {
    /// The machine's monotonic clock.
    #[must_use]
    pub fn system() -> Self {
        Self(TimeSource::System)
    }

    /// A clock that stands still until its [`ClockControl`] advances it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn manual() -> (Self, ClockControl) {
        let (control, time) = watch::channel(Instant::now());
        (Self(TimeSource::Manual(time)), ClockControl(Arc::new(control)))
    }

    /// The present time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn now(&self) -> Instant {
        match &self.0 {
            TimeSource::System => Instant::now(),
            TimeSource::Manual(time) => *time.borrow(),
        }
    }

    /// Returns at `deadline`. Never returns if the control of a manual clock is dropped before.
    pub async fn sleep_until(&self, deadline: Instant) {
        match &self.0 {
            TimeSource::System => tokio::time::sleep_until(deadline.into()).await,
            TimeSource::Manual(time) => {
                let mut time = time.clone();
                if time.wait_for(|now| *now >= deadline).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Returns after `duration`.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }
}

/// Advances a manual [`Clock`].
#[derive(Clone, Debug)]
pub struct ClockControl(Arc<watch::Sender<Instant>>);

impl ClockControl {
    /// Advances the clock. Tasks that waited for a time up to the new one wake up.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by);
    }
}

/// Random numbers that spread events in time, so that gateways that started together do not refresh together.
#[derive(Clone, Debug)]
pub struct Jitter(Arc<Mutex<fastrand::Rng>>);

impl Jitter {
    /// A random sequence, different on every start.
    #[must_use]
    pub fn random() -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::new())))
    }

    /// The same sequence for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// A random part of `whole`, evenly distributed between the fractions `low` and `high`.
    #[must_use]
    pub fn between(&self, whole: Duration, low: f64, high: f64) -> Duration {
        // A poisoned lock only means that another thread panicked. The generator is still valid.
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        whole.mul_f64(low + (high - low) * rng.f64())
    }
}

/// Waits that double from `min` to `max`. Each is shortened by a random part of up to one half, so that clients that
/// failed together do not retry together.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    jitter: Jitter,
}

impl Backoff {
    /// A backoff with a first wait of at most `min` and no wait longer than `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration, jitter: Jitter) -> Self {
        Self { min, max, failures: 0, jitter }
    }

    /// The wait after one more failure.
    pub fn next_wait(&mut self) -> Duration {
        let full = self.min.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        self.jitter.between(full, 0.5, 1.0)
    }

    /// Starts again at `min`, after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_on_a_manual_clock_wakes_when_the_clock_reaches_its_time() {
        let (clock, control) = Clock::manual();
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(3600)).await }
        });
        tokio::task::yield_now().await;
        control.advance(Duration::from_secs(3599));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        control.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
    }

    #[test]
    fn waits_double_up_to_the_limit_and_start_again_after_a_success() {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(30));
        let mut backoff = Backoff::new(min, max, Jitter::seeded(1));
        let waits: Vec<_> = (0..40).map(|_| backoff.next_wait()).collect();
        for (index, wait) in waits.iter().enumerate() {
            let full = min.saturating_mul(1 << index.min(5)).min(max);
            assert!(*wait <= full && *wait >= full / 2, "wait {index} was {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= min);
    }

    #[test]
    fn the_same_seed_gives_the_same_sequence() {
        let draw = |seed| Jitter::seeded(seed).between(Duration::from_secs(60), 0.5, 0.75);
        assert_eq!(draw(7), draw(7));
        assert!(draw(7) >= Duration::from_secs(30) && draw(7) <= Duration::from_secs(45));
    }
}
