//! How much of each limit is used.
//!
//! `jwe_gateway_saturation_ratio` is the highest of them: the one number that says whether another replica would help.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::families::{Labels, gauge};
use crate::gateway::generation::{Current, Generation};

/// The names and help texts of a usage and of its limit.
type Names = [(&'static str, &'static str); 2];

const OF_GATEWAY: [Names; 2] = [
    [
        ("jwe_gateway_requests_in_flight", "Requests up to the head of their response"),
        ("jwe_gateway_requests_in_flight_limit", "Limit of requests in flight"),
    ],
    [
        ("jwe_gateway_connections", "Open connections of callers"),
        ("jwe_gateway_connections_limit", "Limit of open connections of callers"),
    ],
];

/// In the order of [`Capacity::usage`](crate::gateway::capacity::Capacity::usage).
const OF_UPSTREAM: [Names; 3] = [
    [
        ("jwe_gateway_upstream_requests_in_flight", "Requests to the upstream up to the head of the reply"),
        ("jwe_gateway_upstream_requests_in_flight_limit", "Limit of requests in flight to the upstream"),
    ],
    [
        ("jwe_gateway_upstream_responses", "Requests to the upstream, and responses in progress"),
        ("jwe_gateway_upstream_responses_limit", "Limit of requests and responses in progress together"),
    ],
    [
        ("jwe_gateway_buffered_bytes", "Memory that is reserved for request bodies"),
        ("jwe_gateway_buffered_limit_bytes", "Limit of the memory for request bodies"),
    ],
];

/// What is used, and the limit.
type Usage = (usize, usize);

pub(super) fn encode(current: &Current, generation: &Generation, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let in_flight = (current.in_flight(), generation.config.limits.in_flight);
    let of_gateway = [in_flight, current.open_connections()];
    let upstreams: Vec<_> = generation
        .routes
        .iter()
        .map(|route| (&*route.name, route.capacity.usage().map(|(_, used, limit)| (used, limit))))
        .collect();
    for (names, usage) in OF_GATEWAY.into_iter().zip(of_gateway) {
        pair(encoder, names, &[(Labels::new(), usage)])?;
    }
    for (index, names) in OF_UPSTREAM.into_iter().enumerate() {
        let usages: Vec<_> =
            upstreams.iter().map(|(name, usages)| (vec![("upstream", (*name).into())], usages[index])).collect();
        pair(encoder, names, &usages)?;
    }
    let usages = of_gateway.into_iter().chain(upstreams.iter().flat_map(|(_, usages)| *usages));
    let highest = usages.map(ratio).fold(0.0, f64::max);
    let (name, help) = ("jwe_gateway_saturation_ratio", "The most used of all limits, from 0 to 1");
    gauge(encoder, name, help, [(Labels::new(), highest)])
}

/// Writes what is used, and the limits.
fn pair(encoder: &mut DescriptorEncoder<'_>, names: Names, usages: &[(Labels<'_>, Usage)]) -> fmt::Result {
    let [(used, used_help), (limit, limit_help)] = names;
    gauge(encoder, used, used_help, usages.iter().map(|(labels, usage)| (labels.clone(), usage.0 as f64)))?;
    gauge(encoder, limit, limit_help, usages.iter().map(|(labels, usage)| (labels.clone(), usage.1 as f64)))
}

/// The used part of a limit. More than the limit can be used after a reload that lowered it.
fn ratio((used, limit): Usage) -> f64 {
    match limit {
        0 => 1.0,
        limit => (used as f64 / limit as f64).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_used_up_at_most() {
        assert_eq!([(0, 4), (3, 4), (5, 4), (0, 0)].map(ratio), [0.0, 0.75, 1.0, 1.0]);
    }
}
