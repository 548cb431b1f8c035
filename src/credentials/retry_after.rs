//! Retry-After (RFC 9110 section 10.2.3): seconds, or an HTTP-date.

use std::time::{Duration, SystemTime};

use http::HeaderValue;
use jiff::fmt::rfc2822::DateTimeParser;

/// The longest wait that is honoured. An hour's Retry-After, meant for one moment of overload,
/// would be an hour without tokens.
const MAX: Duration = Duration::from_secs(60);

/// What it asks for, at most [`MAX`]; none when it says nothing that can be understood. A date in
/// the past asks for nothing.
pub(super) fn parse(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a long time.
        return Some(text.parse().map_or(MAX, Duration::from_secs).min(MAX));
    }
    // An IMF-fixdate is an RFC 5322 date; a wrong name of the day is no reason to come back early.
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
    fn a_date_is_honoured_up_to_a_minute_and_a_past_one_asks_for_nothing() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(parse_at(date, 784_111_777 - 20), Some(20));
        assert_eq!(parse_at(date, 784_111_777 - 3600), Some(60));
        assert_eq!(parse_at(date, 784_111_777 + 20), Some(0));
    }

    #[test]
    fn nonsense_says_nothing() {
        for nonsense in ["", "soon", "-1", "1.5", "7s", "Sun, 06 Nov"] {
            assert_eq!(parse_at(nonsense, 0), None, "{nonsense:?}");
        }
    }
}
