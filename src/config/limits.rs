//! `[limits]`, and whether what the upstreams want of it fits.

use super::Upstream;
use super::file::{Section, Setting};
use super::report::Reporter;
use super::values::{COUNT, SIZE};
use crate::gateway;
use crate::gateway::capacity::divide;

/// `[limits]` as it is written.
pub(super) struct WrittenLimits {
    max_body: Setting<usize>,
    buffered: Setting<usize>,
    in_flight: Setting<usize>,
}

impl WrittenLimits {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = gateway::Limits::default();
        let report = section.context.report;
        let max_body = section.setting("max_body", &SIZE, default.max_body);
        let buffered = section.setting("buffered", &SIZE, default.buffered);
        let in_flight = section.setting("in_flight", &COUNT, default.in_flight);
        section.finish();
        if u32::try_from(max_body.value).is_err() {
            max_body.fault(report, "must be below 4GiB: a body is held in memory whole");
        }
        if max_body.value > buffered.value {
            max_body.fault_with(
                &buffered,
                report,
                "max_body is above buffered, so the largest bodies could never be taken",
            );
        }
        Self { max_body, buffered, in_flight }
    }

    pub(super) fn value(&self) -> gateway::Limits {
        gateway::Limits {
            max_body: self.max_body.value,
            buffered: self.buffered.value,
            in_flight: self.in_flight.value,
        }
    }

    /// Whether every upstream gets what it wants, and what it needs.
    pub(super) fn check_shares(&self, upstreams: &[Upstream], report: &Reporter) {
        let wanted: Vec<_> = upstreams.iter().map(|upstream| upstream.quota).collect();
        let shares = divide(&self.value(), &wanted);
        if shares.iter().map(|quota| quota.buffered).fold(0, usize::saturating_add) > self.buffered.value {
            self.buffered.fault(report, "less than what the [[upstream]] want of it together");
        }
        let in_flight = shares.iter().map(|quota| quota.in_flight).fold(0, usize::saturating_add);
        if in_flight > self.in_flight.value || shares.iter().any(|quota| quota.in_flight == 0) {
            self.in_flight.fault(report, "less than what the [[upstream]] want of it together");
        }
        if self.max_body.value > self.buffered.value {
            return;
        }
        for (upstream, quota) in upstreams.iter().zip(shares) {
            if quota.max_body > self.max_body.value {
                let message = format!("upstream {} takes larger bodies than max_body here", upstream.name);
                self.max_body.fault(report, message);
            }
            if quota.max_body > quota.buffered {
                let (name, buffered) = (&upstream.name, (SIZE.show)(&quota.buffered));
                let message = format!("upstream {name} may buffer {buffered}, less than one of its largest bodies");
                self.buffered.fault_with(&self.max_body, report, message);
            }
        }
    }
}
