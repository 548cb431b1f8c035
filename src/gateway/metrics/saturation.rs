//! How much of each limit is used.
//!
//! `jwe_gateway_saturation_ratio` is the highest of them: the one number that says whether another replica would help.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::families::{Labels, gauge};
use crate::gateway::permits::Usage;
use crate::gateway::route::Route;

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

/// A usage of one upstream.
type OfRoute = fn(&Route) -> Usage;

const OF_UPSTREAM: [(Names, OfRoute); 3] = [
    (
        [
            ("jwe_gateway_upstream_requests_in_flight", "Requests to the upstream up to the head of the reply"),
            ("jwe_gateway_upstream_requests_in_flight_limit", "Limit of requests in flight to the upstream"),
        ],
        |route| route.capacity.in_flight(),
    ),
    (
        [
            ("jwe_gateway_upstream_responses", "Requests to the upstream, and responses in progress"),
            ("jwe_gateway_upstream_responses_limit", "Limit of requests and responses in progress together"),
        ],
        |route| route.capacity.responses(),
    ),
    (
        [
            ("jwe_gateway_buffered_bytes", "Memory that is reserved for request bodies"),
            ("jwe_gateway_buffered_limit_bytes", "Limit of the memory for request bodies"),
        ],
        |route| route.capacity.budget.usage(),
    ),
];

/// `of_gateway`: requests in flight, and connections.
pub(super) fn encode(
    routes: &[Route],
    of_gateway: [Usage; OF_GATEWAY.len()],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let mut highest = 0.0_f64;
    for (names, usage) in OF_GATEWAY.into_iter().zip(of_gateway) {
        highest = highest.max(usage.ratio());
        for ((name, help), value) in names.into_iter().zip([usage.used, usage.limit]) {
            gauge(encoder, name, help, [(Labels::new(), value as f64)])?;
        }
    }
    for (names, usage) in OF_UPSTREAM {
        let usages: Vec<Usage> = routes.iter().map(usage).collect();
        highest = usages.iter().fold(highest, |highest, usage| highest.max(usage.ratio()));
        for ((name, help), value) in names.into_iter().zip([|usage: &Usage| usage.used, |usage: &Usage| usage.limit]) {
            let samples = routes.iter().zip(&usages);
            let sample = |(route, usage): (&Route, &Usage)| {
                (vec![("upstream", route.name.to_string().into())], value(usage) as f64)
            };
            gauge(encoder, name, help, samples.map(sample))?;
        }
    }
    let (name, help) = ("jwe_gateway_saturation_ratio", "The most used of all limits, from 0 to 1");
    gauge(encoder, name, help, [(Labels::new(), highest)])
}
