//! The metrics of callers.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::counters::Counters;
use super::families::{Labels, counter};
use crate::gateway::callers::{Callers, DenialReason};

pub(super) fn encode(counters: &Counters, callers_now: &Callers, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let (callers, configured) = (counters.callers(), callers_now.snapshot());
    let mut refusals: Vec<(Labels<'_>, f64)> = Vec::new();
    for caller in &callers {
        let enforced_now = configured.iter().find(|now| now.name == caller.name).map(|now| now.enforced);
        for enforced in [true, false] {
            for reason in DenialReason::ALL {
                let count = caller.denials.total(reason, enforced);
                // Counts from before a change of `enforce` stay. A sample that can only be 0 is left out.
                if count > 0 || enforced_now == Some(enforced) {
                    let labels = vec![
                        ("caller", (&*caller.name).into()),
                        ("reason", reason.as_str().into()),
                        ("enforced", if enforced { "true" } else { "false" }.into()),
                    ];
                    refusals.push((labels, count as f64));
                }
            }
        }
    }
    let (name, help) =
        ("jwe_gateway_caller_refusals", "Requests that break a rule of their caller; served if enforced is false");
    counter(encoder, name, help, refusals)?;
    let failed =
        callers.iter().map(|caller| (vec![("caller", (&*caller.name).into())], caller.denials.failed_reads() as f64));
    counter(encoder, "jwe_gateway_caller_key_reload_failures", "Failed reads of a caller's key file", failed)
}
