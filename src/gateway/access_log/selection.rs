//! Which requests have a line in the access log: `access` and `access_sample` of `[log]`.
//!
//! Whether a successful request is in a sample depends on its request id alone. The gateway forwards the id, so a
//! sidecar and its egress log the same requests if they have the same `access_sample`. The hash is fixed, so this also
//! holds for different releases.
//!
//! The hard case is a caller that chooses its own request ids, and so chooses which of its successful requests are
//! logged. Failed requests are always logged.
//!
//! Rejected: a random number. The two lines of a request are then rarely both there.

use super::{Outcome, Record};

/// `access` and `access_sample` of `[log]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The requests that have a line.
    pub access: Access,
    /// If `access` is `All`: the share of successful requests that have a line.
    pub sample: SampleRatio,
}

/// The requests that have a line in the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Failed requests, and successful ones as far as they are in the sample.
    #[default]
    All,
    /// Requests with a status of 400 or above, and requests with a response that was not sent to its end.
    Errors,
    /// None.
    Off,
}

/// A number above 0, and at most 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleRatio(f64);

/// The number is never NaN.
impl Eq for SampleRatio {}

impl Default for SampleRatio {
    fn default() -> Self {
        Self::ALL
    }
}

impl SampleRatio {
    pub(super) const ALL: Self = Self(1.0);

    /// `None` if `ratio` is not above 0, or above 1.
    #[must_use]
    pub fn new(ratio: f64) -> Option<Self> {
        (ratio > 0.0 && ratio <= 1.0).then_some(Self(ratio))
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }

    fn includes(self, request_id: &str) -> bool {
        // The quotient is in [0, 1], and is spread evenly.
        self == Self::ALL || hash(request_id.as_bytes()) as f64 / (u64::MAX as f64) < self.0
    }
}

impl Config {
    /// Returns the share of such requests that have a line, or `None` if this request has no line.
    pub(super) fn share_of(self, record: &Record) -> Option<SampleRatio> {
        let failed = record.outcome != Outcome::Complete || record.status.is_none_or(|status| status.as_u16() >= 400);
        match self.access {
            Access::Off => None,
            Access::All | Access::Errors if failed => Some(SampleRatio::ALL),
            Access::All => Some(self.sample).filter(|sample| sample.includes(record.request_id.as_str())),
            Access::Errors => None,
        }
    }
}

/// FNV-1a, and the last step of MurmurHash3. FNV alone hardly changes its upper bits for ids that differ at their end.
fn hash(bytes: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_sample_has_its_share_of_sequential_random_and_time_ordered_ids() {
        for ratio in [0.5, 0.1, 0.01] {
            let sample = SampleRatio::new(ratio).unwrap();
            let ids: [fn(u64) -> String; 3] =
                [|number| number.to_string(), |_| Uuid::new_v4().to_string(), |_| Uuid::now_v7().to_string()];
            for id in ids {
                let included = (0..100_000).filter(|number| sample.includes(&id(*number))).count() as f64;
                let expected = 100_000.0 * ratio;
                // Six standard deviations: one run in 10^8 fails by chance.
                assert!((included - expected).abs() < 6.0 * expected.sqrt(), "{included} of {expected}");
            }
        }
    }

    #[test]
    fn a_smaller_sample_is_a_part_of_a_larger_one_in_every_release() {
        let sampled = |ratio: f64| {
            let sample = SampleRatio::new(ratio).unwrap();
            (0..20).filter(|number| sample.includes(&format!("r-{number}"))).collect::<Vec<u32>>()
        };
        let (small, large) = (sampled(0.1), sampled(0.3));
        assert!(small.iter().all(|number| large.contains(number)), "{small:?} {large:?}");
        assert_eq!(hash(b"r-1"), 0x3f36_0814_09f2_65bf);
    }

    #[test]
    fn a_ratio_is_above_0_and_at_most_1() {
        for ratio in [0.0, -0.1, 1.000_001, f64::NAN, f64::INFINITY] {
            assert_eq!(SampleRatio::new(ratio), None, "{ratio}");
        }
        assert_eq!(SampleRatio::new(1.0), Some(SampleRatio::default()));
        assert!(SampleRatio::new(f64::MIN_POSITIVE).is_some());
    }
}
