//! Time and chance, handed in.
//!
//! What keys and tokens decide by the hour or by luck (is this key still fresh, when does the
//! next renewal start), and what is measured, takes them from here, so a test can turn the hands
//! itself and an hour of refreshes runs in a millisecond. The deadlines of one request or one
//! connection are tokio's. Ages come from the monotonic clock: a wall clock that
//! jumps can neither expire a key nor revive a token.
//!
//! Rejected: tokio's paused clock. It advances by itself whenever the runtime is idle, and a
//! runtime waiting for a real socket looks idle, so deadlines fire in tests that do real I/O.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Where a room reads the time and waits for it to pass.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(watch::Receiver<Instant>),
}

impl Clock {
    /// The machine's monotonic clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until its [`ClockControl`] are turned.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn manual() -> (Self, ClockControl) {
        let (control, face) = watch::channel(Instant::now());
        (Self(Source::Manual(face)), ClockControl(Arc::new(control)))
    }

    /// Now, on this clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Manual(face) => *face.borrow(),
        }
    }

    /// Returns once `deadline` has come; never, when a manual clock's hands are gone before.
    pub async fn sleep_until(&self, deadline: Instant) {
        match &self.0 {
            Source::System => tokio::time::sleep_until(deadline.into()).await,
            Source::Manual(face) => {
                let mut face = face.clone();
                if face.wait_for(|now| *now >= deadline).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Returns once `duration` has passed on this clock.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }
}

/// Turns a manual [`Clock`].
#[derive(Clone, Debug)]
pub struct ClockControl(Arc<watch::Sender<Instant>>);

impl ClockControl {
    /// Moves the clock on and wakes whoever waited for a moment that has now come.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by);
    }
}

/// Spreads moments, so that gateways started together do not all refresh together.
#[derive(Clone, Debug)]
pub struct Jitter(Arc<Mutex<fastrand::Rng>>);

impl Jitter {
    /// Different on every start.
    #[must_use]
    pub fn random() -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::new())))
    }

    /// The same sequence for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// A part of `whole` between `low` and `high`, both fractions of it, evenly spread.
    #[must_use]
    pub fn between(&self, whole: Duration, low: f64, high: f64) -> Duration {
        // A poisoned lock only means that another thread panicked between two draws.
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        whole.mul_f64(low + (high - low) * rng.f64())
    }
}

/// Waits that double from `min` to `max`, each shortened by up to half at random, so that
/// clients which failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    jitter: Jitter,
}

impl Backoff {
    /// A schedule whose first wait is about `min` and none longer than `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration, jitter: Jitter) -> Self {
        Self { min, max, failures: 0, jitter }
    }

    /// How long to wait after one more failure.
    pub fn next_wait(&mut self) -> Duration {
        let full = self.min.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        self.jitter.between(full, 0.5, 1.0)
    }

    /// Begin again at `min`: something succeeded.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_on_a_manual_clock_wakes_when_the_hands_pass_its_moment() {
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
    fn waits_double_up_to_the_cap_and_begin_again_after_a_success() {
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
    fn the_same_seed_draws_the_same_moments() {
        let draw = |seed| Jitter::seeded(seed).between(Duration::from_secs(60), 0.5, 0.75);
        assert_eq!(draw(7), draw(7));
        assert!(draw(7) >= Duration::from_secs(30) && draw(7) <= Duration::from_secs(45));
    }
}
