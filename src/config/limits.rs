//! `[limits]`, and the check that the limits of all upstreams fit into it.

use super::Upstream;
use super::file::Section;
use super::report::Reporter;
use super::setting::Setting;
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
            max_body.fault(report, "must be below 4GiB, because a whole body is held in memory");
        }
        if max_body.value > buffered.value {
            max_body.fault_with(
                &buffered,
                report,
                "max_body is larger than buffered: a body of that size could never be accepted",
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

    /// Reports limits of upstreams that together exceed `[limits]`, or leave one upstream too little.
    pub(super) fn check_quotas(&self, upstreams: &[Upstream], report: &Reporter) {
        let overrides: Vec<_> = upstreams.iter().map(|upstream| upstream.quota).collect();
        let quotas = divide(&self.value(), &overrides);
        if quotas.iter().map(|quota| quota.buffered).fold(0, usize::saturating_add) > self.buffered.value {
            self.buffered.fault(report, "less than the sum of the [[upstream]] limits: raise it, or lower theirs");
        }
        let in_flight = quotas.iter().map(|quota| quota.in_flight).fold(0, usize::saturating_add);
        if in_flight > self.in_flight.value || quotas.iter().any(|quota| quota.in_flight == 0) {
            self.in_flight.fault(report, "less than the sum of the [[upstream]] limits: raise it, or lower theirs");
        }
        if self.max_body.value > self.buffered.value {
            return;
        }
        for (upstream, quota) in upstreams.iter().zip(quotas) {
            if quota.max_body > self.max_body.value {
                let message = format!(
                    "upstream {} has a larger max_body: raise this one, or lower that of the upstream",
                    upstream.name
                );
                self.max_body.fault(report, message);
            }
            if quota.max_body > quota.buffered {
                let (name, buffered) = (&upstream.name, (SIZE.show)(&quota.buffered));
                let message = format!(
                    "upstream {name} can buffer {buffered}, less than its max_body: raise buffered, or lower max_body"
                );
                self.buffered.fault_with(&self.max_body, report, message);
            }
        }
    }
}
