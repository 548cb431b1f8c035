//! Times, durations and amounts as a person reads them.

use std::time::Duration;

use super::model::Time;

/// A time of the day, with the date if `now` is on another one.
pub(super) fn clock(time: Time, now: Time) -> String {
    let is_today = time.0.strftime("%F").to_string() == now.0.strftime("%F").to_string();
    time.0.strftime(if is_today { "%H:%M:%S UTC" } else { "%F %H:%M UTC" }).to_string()
}

/// `12 min ago`, or `in 12 min`.
pub(super) fn relative(time: Time, now: Time) -> String {
    if time > now { format!("in {}", duration(time.since(now))) } else { format!("{} ago", duration(now.since(time))) }
}

/// Seconds below two minutes, minutes below two hours, hours below two days, then days.
pub(super) fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// A number of what a limit counts.
pub(super) fn amount(what: &str, number: usize) -> String {
    if !what.contains("bytes") {
        return number.to_string();
    }
    match number {
        0..1_024 => format!("{number} B"),
        1_024..1_048_576 => format!("{} KiB", number / 1_024),
        _ => format!("{} MiB", number / 1_048_576),
    }
}

/// At least one digit that is not zero.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 10.0 || percent == 0.0 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

/// Milliseconds, or seconds from one second.
pub(super) fn latency(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

/// A rate per second.
pub(super) fn rate(per_second: f64) -> String {
    if per_second >= 10.0 || per_second == 0.0 { format!("{per_second:.0}") } else { format!("{per_second:.1}") }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn times_of_another_day_have_a_date() {
        let at = |text: &str| Time(text.parse::<Timestamp>().unwrap());
        let now = at("2026-11-29T03:00:00Z");
        assert_eq!(clock(at("2026-11-29T02:41:07Z"), now), "02:41:07 UTC");
        assert_eq!(clock(at("2026-11-28T23:59:59Z"), now), "2026-11-28 23:59 UTC");
        assert_eq!(relative(at("2026-11-29T02:41:07Z"), now), "18 min ago");
        assert_eq!(relative(at("2026-11-29T03:01:00Z"), now), "in 60 s");
    }

    #[test]
    fn numbers_have_two_digits_that_count() {
        assert_eq!(
            [0, 119, 120, 7_199, 7_200, 172_800].map(|s| duration(Duration::from_secs(s))).join(" "),
            "0 s 119 s 2 min 119 min 2 h 2 days"
        );
        assert_eq!([0.0, 0.004, 0.034, 0.5].map(percent).join(" "), "0 % 0.4 % 3.4 % 50 %");
        assert_eq!([0.31, 12.0, 999.0, 61_234.0].map(latency).join(" "), "0.3 ms 12 ms 999 ms 61.2 s");
        assert_eq!(
            [500, 2_048, 268_435_456].map(|bytes| amount("buffered bytes", bytes)).join(" "),
            "500 B 2 KiB 256 MiB"
        );
        assert_eq!(amount("requests in flight", 2_048), "2048");
    }
}
