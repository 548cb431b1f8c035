//! How long a JWK Set counts as fresh.
//!
//! The gateway is a private cache (RFC 9111). The lifetime is `max-age` minus `Age`; `s-maxage` and `Expires` are
//! ignored. `must-revalidate` is ignored too: a stale set must stay in use for a while, so that requests survive an
//! outage of the provider.

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL};

use super::Config;

/// The age of a set, compared with its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Younger than its lifetime.
    Fresh,
    /// Older than its lifetime, by less than `max_stale`.
    Stale,
    /// Older than that.
    Expired,
}

impl Freshness {
    /// An age that equals the lifetime is stale. An age that equals the lifetime plus `max_stale` is expired.
    pub(super) fn of(age: Duration, lifetime: Duration, max_stale: Duration) -> Self {
        if age < lifetime {
            Self::Fresh
        } else if age < lifetime.saturating_add(max_stale) {
            Self::Stale
        } else {
            Self::Expired
        }
    }
}

/// The lifetime that a response states, within the configured limits. `None` if it states none, or none that can be
/// parsed.
///
/// `no-store` and `no-cache` cannot be followed literally, because sealing needs a cached key. They mean the shortest
/// lifetime. If there are several `max-age`, the smallest counts.
pub(crate) fn stated_lifetime(headers: &HeaderMap, config: &Config) -> Option<Duration> {
    let directives = || {
        let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).map(|directive| {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            (name.trim(), value.trim())
        })
    };
    let forbids = |name: &str| name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache");
    if directives().any(|(name, _)| forbids(name)) {
        return Some(config.min_lifetime);
    }
    let stated = directives().filter(|(name, _)| name.eq_ignore_ascii_case("max-age"));
    let seconds = stated.filter_map(|(_, value)| delta_seconds(value)).min()?;
    let age = headers.get(AGE).and_then(|age| delta_seconds(age.to_str().ok()?.trim())).unwrap_or(0);
    let left = Duration::from_secs(seconds.saturating_sub(age));
    Some(left.min(config.max_lifetime).max(config.min_lifetime))
}

/// RFC 9111 section 1.2.2: any number of digits. The quoted form is accepted too (section 5.2).
fn delta_seconds(value: &str) -> Option<u64> {
    let digits = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;
    use proptest::prelude::*;

    fn config() -> Config {
        Config::new(Source::File("keys.json".into()))
    }

    fn lifetime(lines: &[&str], age: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, line.parse().unwrap());
        }
        if let Some(age) = age {
            headers.insert(AGE, age.parse().unwrap());
        }
        stated_lifetime(&headers, &config()).map(|lifetime| lifetime.as_secs())
    }

    #[test]
    fn the_lifetime_is_max_age_minus_age() {
        assert_eq!(lifetime(&["max-age=600"], None), Some(600));
        assert_eq!(lifetime(&["public, MAX-AGE=\"600\" , must-revalidate"], Some("20")), Some(580));
        assert_eq!(lifetime(&["public", "max-age=600"], Some("soon")), Some(600));
        assert_eq!(lifetime(&["max-age=600, max-age=300", "s-maxage=90"], None), Some(300));
    }

    #[test]
    fn the_lifetime_is_between_half_a_minute_and_an_hour() {
        assert_eq!(lifetime(&["max-age=0"], None), Some(30));
        assert_eq!(lifetime(&["max-age=600"], Some("9999999999999999999999")), Some(30));
        assert_eq!(lifetime(&["max-age=86400"], None), Some(3600));
        assert_eq!(lifetime(&["max-age=1000000000000000000000000"], None), Some(3600));
    }

    #[test]
    fn no_store_and_no_cache_mean_the_shortest_lifetime() {
        assert_eq!(lifetime(&["no-store, max-age=600"], None), Some(30));
        assert_eq!(lifetime(&["max-age=600", "No-Cache=\"set-cookie\""], None), Some(30));
    }

    #[test]
    fn a_missing_or_malformed_cache_control_states_no_lifetime() {
        for line in
            ["", "public", "max-age", "max-age=", "max-age=-1", "max-age=1e3", "max-age=ten", "max-age=\"", ",,="]
        {
            assert_eq!(lifetime(&[line], None), None, "{line:?}");
        }
        assert_eq!(lifetime(&[], Some("10")), None);
    }

    #[test]
    fn a_set_is_first_fresh_then_stale_then_expired() {
        let at = |age| Freshness::of(Duration::from_secs(age), Duration::from_secs(300), Duration::from_secs(86_400));
        assert_eq!([at(0), at(299)], [Freshness::Fresh; 2]);
        assert_eq!([at(300), at(86_699)], [Freshness::Stale; 2]);
        assert_eq!(at(86_700), Freshness::Expired);
        assert_eq!(Freshness::of(Duration::MAX, Duration::MAX, Duration::MAX), Freshness::Expired);
    }

    proptest! {
        #[test]
        fn the_lifetime_keeps_its_limits_for_any_header(line in "[ -~]{0,60}", age in "[ -~]{0,12}") {
            if let Some(seconds) = lifetime(&[&line], Some(&age)) {
                prop_assert!((30..=3600).contains(&seconds));
            }
        }
    }
}
