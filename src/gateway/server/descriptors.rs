//! File descriptors: raises their limit, and divides them between callers and providers.
//!
//! Each caller's connection takes a descriptor, and each connection to a provider takes one more. If callers' idle
//! connections could take all of them, every request would fail with a 502 that blames the provider.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::gateway::Config;
use crate::gateway::capacity::{QuotaOverrides, RESPONSES};
use crate::gateway::server::connections::MAX_CLOSING;

/// Descriptors for everything else. The admin listener takes 64. Closing connections, fetches, files and the process's
/// own sockets take the rest.
const RESERVE: usize = 128 + MAX_CLOSING;

/// The limits that are in use instead of the configured ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reduced {
    limit: usize,
    needed: usize,
    /// `max_connections` and `in_flight`.
    configured: (usize, usize),
    /// The same.
    allowed: (usize, usize),
}

impl Reduced {
    /// Logs a warning.
    pub(crate) fn warn(self) {
        let Self { limit, needed, configured, allowed } = self;
        tracing::warn!(
            limit,
            needed,
            configured_max_connections = configured.0,
            configured_in_flight = configured.1,
            max_connections = allowed.0,
            in_flight = allowed.1,
            "the limit of file descriptors allows fewer connections than max_connections and in_flight: raise it \
             (LimitNOFILE), or lower them"
        );
    }
}

/// Raises the soft limit of descriptors to the hard one. Reduces `max_connections` and `in_flight` to what it allows,
/// and the `in_flight` of each upstream with them. `None` if nothing had to be reduced.
pub(crate) fn limit_to_descriptors(config: &mut Config, upstreams: &mut [QuotaOverrides]) -> Option<Reduced> {
    reduce(config, upstreams, raise()?)
}

fn reduce(config: &mut Config, upstreams: &mut [QuotaOverrides], limit: usize) -> Option<Reduced> {
    let (max_connections, in_flight) = (&mut config.listen.max_connections, &mut config.limits.in_flight);
    let needed = max_connections.saturating_add(in_flight.saturating_mul(RESPONSES)).saturating_add(RESERVE);
    if needed <= limit {
        return None;
    }
    let configured = (*max_connections, *in_flight);
    let allowed = allocate(limit, *max_connections, *in_flight);
    (*max_connections, *in_flight) = allowed;
    let per_address = &mut config.listen.connections_per_address;
    *per_address = scale(*per_address, configured.0, allowed.0);
    for quota in upstreams.iter_mut().filter_map(|upstream| upstream.in_flight.as_mut()) {
        *quota = scale(*quota, configured.1, allowed.1);
    }
    Some(Reduced { limit, needed, configured, allowed })
}

/// The same fraction of `reduced` as `value` is of `configured`.
fn scale(value: usize, configured: usize, reduced: usize) -> usize {
    (value.saturating_mul(reduced) / configured.max(1)).max(1)
}

/// The limit of the process after it was raised. None if there is no limit.
fn raise() -> Option<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let limit = if current == maximum || setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        maximum
    } else {
        // Some systems have an infinite hard limit and do not accept it as a soft one.
        current
    };
    limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Allocates `limit` to callers' connections and to requests. Each request in flight and each response in progress
/// takes a connection to the provider. The provider's side gets at most half, unless callers need less.
fn allocate(limit: usize, max_connections: usize, in_flight: usize) -> (usize, usize) {
    let available = limit - RESERVE.min(limit / 2);
    let for_provider = (available / 2).max(available.saturating_sub(max_connections));
    let in_flight = in_flight.min(for_provider / RESPONSES).max(1);
    (max_connections.min(available.saturating_sub(in_flight * RESPONSES)).max(1), in_flight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::capacity::divide;

    #[test]
    fn callers_leave_descriptors_for_the_providers_side() {
        assert_eq!(allocate(7000, 4096, 1024), (4096, 1024));
        assert_eq!(allocate(5000, 4096, 1024), (2760, 1024));
        assert_eq!(allocate(1024, 4096, 1024), (416, 208));
        assert_eq!(allocate(1024, 100, 1024), (100, 366));
        assert_eq!(allocate(1024, 4096, 10), (812, 10));
        assert_eq!(allocate(64, 4096, 1024), (16, 8));
        assert_eq!(allocate(0, 4096, 1024), (1, 1));
    }

    #[test]
    fn the_upstreams_together_get_no_more_than_the_reduced_in_flight() {
        let mut config = Config::default();
        config.listen.connections_per_address = 1024;
        let own = |in_flight| QuotaOverrides { in_flight, ..QuotaOverrides::default() };
        let mut upstreams = [own(Some(512)), own(None), own(None)];
        let reduced = reduce(&mut config, &mut upstreams, 1024).unwrap();
        assert_eq!((reduced.configured, reduced.allowed), ((4096, 1024), (416, 208)));
        assert_eq!((config.listen.max_connections, config.listen.connections_per_address), (416, 104));
        let quotas = divide(&config.limits, &upstreams).into_iter().map(|quota| quota.in_flight);
        assert_eq!(quotas.collect::<Vec<_>>(), [104, 52, 52]);
    }

    #[test]
    fn limits_are_kept_if_the_descriptors_suffice_and_zero_causes_no_panic() {
        let mut config = Config::default();
        let mut upstreams = [QuotaOverrides { in_flight: Some(1024), ..QuotaOverrides::default() }];
        assert_eq!(reduce(&mut config, &mut upstreams, 6336), None);
        assert_eq!((config.listen.max_connections, config.limits.in_flight), (4096, 1024));
        assert_eq!(upstreams[0].in_flight, Some(1024));
        (config.listen.max_connections, config.limits.in_flight) = (0, 0);
        reduce(&mut config, &mut upstreams, 64);
        assert_eq!((config.listen.max_connections, config.limits.in_flight), (1, 1));
    }
}
