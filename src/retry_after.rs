//! `Retry-After` (RFC 9110 section 10.2.3): seconds or an HTTP-date.

use std::time::{Duration, SystemTime};

use http::HeaderValue;
use jiff::fmt::rfc2822::DateTimeParser;

/// Longest wait that is honoured. A server that asks for an hour in a short overload must not stop the attempts for an
/// hour.
const MAX: Duration = Duration::from_secs(60);

/// The wait, at most [`MAX`]. Zero for a date in the past. `None` if the value cannot be parsed.
pub(crate) fn parse(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that is too large for the type is a long wait.
        return Some(text.parse().map_or(MAX, Duration::from_secs).min(MAX));
    }
    // An IMF-fixdate is an RFC 5322 date. A wrong day name is accepted.
    let date = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
    let wait = SystemTime::from(date).duration_since(now).unwrap_or(Duration::ZERO);
    Some(wait.min(MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_at(value: &str, unix_seconds: u64) -> Option<u64> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(unix_seconds);
        parse(&HeaderValue::from_str(value).unwrap(), now).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_are_honoured_up_to_a_minute() {
        assert_eq!(parse_at("7", 0), Some(7));
        assert_eq!(parse_at("0", 0), Some(0));
        assert_eq!(parse_at("3600", 0), Some(60));
        assert_eq!(parse_at("99999999999999999999999", 0), Some(60));
    }

    #[test]
    fn a_date_is_honoured_up_to_a_minute_and_a_past_date_means_no_wait() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(parse_at(date, 784_111_777 - 20), Some(20));
        assert_eq!(parse_at(date, 784_111_777 - 3600), Some(60));
        assert_eq!(parse_at(date, 784_111_777 + 20), Some(0));
    }

    #[test]
    fn a_malformed_value_means_no_stated_wait() {
        for malformed in ["", "soon", "-1", "1.5", "7s", "Sun, 06 Nov"] {
            assert_eq!(parse_at(malformed, 0), None, "{malformed:?}");
        }
    }
}
