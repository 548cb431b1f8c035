//! Requests, errors and latencies of the last 15 minutes, in fixed memory.
//!
//! Time is cut into slots of 15 s. A request adds to the slot in which it ends: a few atomic additions, without a lock
//! and without an allocation. A slot is used again after 15 minutes. The first request of a new slot empties it under a
//! lock, once per 15 s.
//!
//! Latencies are counted in buckets. The width of a bucket is at most a quarter of its value, so a quantile is off by an
//! eighth at most.
//!
//! The hard case is a request that ends exactly when its slot begins: while one thread empties the slot, another must not
//! count in it. A slot therefore gets its new number after it is empty, and a thread that finds another number waits for
//! the lock.
//!
//! Rejected: an average with decay. It needs less memory, but has no quantiles, and hides when an error began.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The length of a slot.
pub(super) const SLOT: Duration = Duration::from_secs(15);

/// The slots of 15 minutes, the present one included.
pub(super) const SLOTS: usize = 60;

/// Latencies below four units have a bucket per unit, those above four buckets per power of two. The last bucket also
/// takes all above two minutes.
const UNIT: Duration = Duration::from_micros(128);
const BUCKETS: usize = 76;

/// How a request ended, for the count of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// A response below 500, or the caller left.
    Other,
    /// A 5xx of the provider.
    UpstreamError,
    /// A 5xx that the gateway made.
    GatewayError,
}

/// The counts of one upstream, or of all.
#[derive(Debug)]
pub(super) struct Traffic {
    start: Instant,
    slots: Box<[Slot]>,
    emptying: Mutex<()>,
}

#[derive(Debug)]
struct Slot {
    /// Counts from the start. 0 is no slot.
    number: AtomicU64,
    requests: AtomicU32,
    upstream_errors: AtomicU32,
    gateway_errors: AtomicU32,
    latencies: [AtomicU32; BUCKETS],
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            number: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            upstream_errors: AtomicU32::new(0),
            gateway_errors: AtomicU32::new(0),
            latencies: [const { AtomicU32::new(0) }; BUCKETS],
        }
    }
}

/// The counts of some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) upstream_errors: u64,
    pub(super) gateway_errors: u64,
    latencies: [u64; BUCKETS],
}

impl Traffic {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, slots: (0..SLOTS).map(|_| Slot::default()).collect(), emptying: Mutex::new(()) }
    }

    /// Counts a request that ends now.
    pub(super) fn record(&self, now: Instant, duration: Duration, ending: Ending) {
        let slot = self.slot_at(self.number(now));
        slot.requests.fetch_add(1, Ordering::Relaxed);
        match ending {
            Ending::Other => {}
            Ending::UpstreamError => drop(slot.upstream_errors.fetch_add(1, Ordering::Relaxed)),
            Ending::GatewayError => drop(slot.gateway_errors.fetch_add(1, Ordering::Relaxed)),
        }
        slot.latencies[bucket_of(duration)].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts of each slot, the oldest first and the present one last.
    pub(super) fn recent(&self, now: Instant) -> Vec<Counts> {
        let present = self.number(now);
        let counts = |back: u64| {
            let number = present.checked_sub(back).filter(|number| *number > 0)?;
            let slot = &self.slots[index_of(number)];
            (slot.number.load(Ordering::Acquire) == number).then(|| slot.counts())
        };
        (0..SLOTS as u64).rev().map(|back| counts(back).unwrap_or_default()).collect()
    }

    /// How much of the present slot has passed.
    pub(super) fn elapsed_in_slot(&self, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.start);
        elapsed - SLOT * u32::try_from(self.number(now) - 1).unwrap_or(u32::MAX)
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / SLOT.as_secs() + 1
    }

    fn slot_at(&self, number: u64) -> &Slot {
        let slot = &self.slots[index_of(number)];
        if slot.number.load(Ordering::Acquire) != number {
            // A poisoned lock only means that another thread panicked. The slot is then emptied again.
            let _emptying = self.emptying.lock().unwrap_or_else(PoisonError::into_inner);
            if slot.number.load(Ordering::Acquire) < number {
                slot.empty();
                slot.number.store(number, Ordering::Release);
            }
        }
        slot
    }
}

fn index_of(number: u64) -> usize {
    (number % SLOTS as u64) as usize
}

impl Slot {
    fn empty(&self) {
        for count in [&self.requests, &self.upstream_errors, &self.gateway_errors].into_iter().chain(&self.latencies) {
            count.store(0, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> Counts {
        let load = |count: &AtomicU32| u64::from(count.load(Ordering::Relaxed));
        Counts {
            requests: load(&self.requests),
            upstream_errors: load(&self.upstream_errors),
            gateway_errors: load(&self.gateway_errors),
            latencies: std::array::from_fn(|bucket| load(&self.latencies[bucket])),
        }
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self { requests: 0, upstream_errors: 0, gateway_errors: 0, latencies: [0; BUCKETS] }
    }
}

impl Counts {
    /// All counts together.
    pub(super) fn sum<'a>(counts: impl IntoIterator<Item = &'a Self>) -> Self {
        counts.into_iter().fold(Self::default(), |mut sum, counts| {
            sum.requests += counts.requests;
            sum.upstream_errors += counts.upstream_errors;
            sum.gateway_errors += counts.gateway_errors;
            sum.latencies.iter_mut().zip(counts.latencies).for_each(|(sum, count)| *sum += count);
            sum
        })
    }

    pub(super) fn errors(&self) -> u64 {
        self.upstream_errors + self.gateway_errors
    }

    /// The latency that this share of the requests did not exceed. `None` without requests.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        let all: u64 = self.latencies.iter().sum();
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        let bucket = self.latencies.iter().position(|count| {
            below += count;
            below >= rank
        });
        bucket.filter(|_| all > 0).map(middle_of)
    }
}

fn bucket_of(duration: Duration) -> usize {
    let units = (duration.as_micros() / UNIT.as_micros()).min(u128::from(u64::MAX)) as u64;
    if units < 4 {
        return units as usize;
    }
    let power = units.ilog2() as usize;
    // The two bits after the first one.
    let quarter = (units >> (power - 2)) as usize & 3;
    ((power - 1) * 4 + quarter).min(BUCKETS - 1)
}

fn middle_of(bucket: usize) -> Duration {
    let start = |bucket: usize| {
        if bucket < 4 { bucket as u64 } else { (4 + (bucket as u64 & 3)) << (bucket / 4 - 1) }
    };
    UNIT * u32::try_from(start(bucket) + start(bucket + 1)).unwrap_or(u32::MAX) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use std::thread;

    fn milliseconds(duration: Duration) -> f64 {
        duration.as_secs_f64() * 1000.0
    }

    #[test]
    fn a_quantile_is_off_by_an_eighth_at_most() {
        let start = Clock::manual().0.now();
        for exact in [0.6, 1.0, 2.5, 17.0, 99.0, 480.0, 5_000.0, 61_000.0] {
            let traffic = Traffic::new(start);
            traffic.record(start, Duration::from_secs_f64(exact / 1000.0), Ending::Other);
            let counts = Counts::sum(&traffic.recent(start));
            let shown = milliseconds(counts.quantile(0.5).unwrap());
            assert!((shown / exact - 1.0).abs() <= 0.13, "{shown} instead of {exact}");
        }
        assert_eq!(bucket_of(Duration::from_secs(100_000)), BUCKETS - 1);
        assert_eq!(Counts::default().quantile(0.99), None);
    }

    #[test]
    fn p99_is_above_the_latency_of_99_of_100_requests() {
        let start = Clock::manual().0.now();
        let traffic = Traffic::new(start);
        for request in 0..1000 {
            let latency = if request % 100 == 7 { 800 } else { 3 };
            traffic.record(start, Duration::from_millis(latency), Ending::Other);
        }
        let counts = Counts::sum(&traffic.recent(start));
        let quantile = |share| milliseconds(counts.quantile(share).unwrap());
        assert!(quantile(0.5) < 4.0 && quantile(0.99) < 4.0 && quantile(0.991) > 700.0);
    }

    #[test]
    fn a_request_is_shown_for_15_minutes_in_its_slot() {
        let start = Clock::manual().0.now();
        let traffic = Traffic::new(start);
        traffic.record(start, Duration::ZERO, Ending::GatewayError);
        traffic.record(start + 16 * SLOT, Duration::ZERO, Ending::UpstreamError);
        let errors = |at: u32| -> Vec<usize> {
            let recent = traffic.recent(start + at * SLOT);
            assert_eq!(recent.len(), SLOTS);
            (0..SLOTS).filter(|slot| recent[*slot].errors() > 0).collect()
        };
        assert_eq!(errors(0), [59]);
        assert_eq!(errors(16), [43, 59]);
        assert_eq!(errors(59), [0, 16]);
        assert_eq!(errors(60), [15]);
        assert_eq!(errors(16 + 60), [0; 0]);
        // The slot is used again.
        traffic.record(start + 60 * SLOT, Duration::ZERO, Ending::Other);
        assert_eq!(traffic.recent(start + 60 * SLOT)[59].requests, 1);
        assert_eq!(traffic.elapsed_in_slot(start + 2 * SLOT + Duration::from_secs(4)), Duration::from_secs(4));
    }

    #[test]
    fn no_request_is_lost_when_several_threads_enter_a_new_slot() {
        let start = Clock::manual().0.now();
        let traffic = Traffic::new(start);
        for round in 0..2000 {
            let now = start + round * SLOT;
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| traffic.record(now, Duration::from_millis(1), Ending::Other));
                }
            });
            assert_eq!(traffic.recent(now)[SLOTS - 1].requests, 2, "round {round}");
        }
    }
}
