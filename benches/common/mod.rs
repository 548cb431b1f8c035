//! Shared by both benchmarks: the floor, a key, a body to seal, the CPU time of a thread, medians, cores.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

pub(crate) mod floor;
pub(crate) mod key;

use std::io;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// A JSON body of exactly `octets` octets, shaped like the provider's largest requests: a few members beside one
/// document in base64.
pub(crate) fn letter(octets: usize) -> Vec<u8> {
    let head = br#"{"connector":"bench","labels":["a","b"],"amount":12.50,"signed":true,"document":""#;
    let tail = br#""}"#;
    let base64 = b"JVBERi0xLjcKJcfsj6IKNSAwIG9iago8PC9MZW5ndGggNiAwIFIvRmlsdGVyIC9GbGF0ZURlY29kZT4+";
    let document = base64.iter().copied().cycle().take(octets - head.len() - tail.len());
    head.iter().copied().chain(document).chain(tail.iter().copied()).collect()
}

/// The CPU time of the calling thread.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Pins the calling thread to `core`. Threads and processes that it starts inherit this.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// The cores that this process may run on.
pub(crate) fn cores() -> io::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect())
}

/// The median with the lowest and the highest value. The median of an even number of values is the upper one.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Spread {
    /// Of no values there is no median.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (lowest, highest) = (*sorted.first()?, *sorted.last()?);
        Some(Self { median: sorted[sorted.len() / 2], lowest, highest })
    }
}
