//! The two text formats of `/metrics`, and which one a scraper gets.
//!
//! A scraper that accepts OpenMetrics gets it. All others get the classic text format 0.0.4: a person with curl,
//! `promtool check metrics`, and tools that know no other format.
//!
//! The two differ little. OpenMetrics names a counter without `_total` in its description, has units, and ends with
//! `# EOF`. The library writes OpenMetrics only, so [`classic`] rewrites the descriptions.

use std::fmt;

use http::HeaderMap;
use http::header::ACCEPT;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

const OPENMETRICS: &str = "application/openmetrics-text";

/// A format, as the value of `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    Classic,
}

impl Format {
    /// The format for a request with these headers: OpenMetrics, if `Accept` names it with a weight that is not below
    /// that of `text/plain` (RFC 9110 section 12.5.1).
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let fields = headers.get_all(ACCEPT).iter().filter_map(|field| field.to_str().ok());
        let ranges = fields.flat_map(|field| field.split(','));
        let (mut openmetrics, mut plain) = (0.0, 0.0);
        for range in ranges {
            let mut parts = range.split(';').map(str::trim);
            let weight = match parts.next().unwrap_or_default() {
                media if media.eq_ignore_ascii_case(OPENMETRICS) => &mut openmetrics,
                media if media.eq_ignore_ascii_case("text/plain") => &mut plain,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            *weight = f64::max(*weight, quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0)));
        }
        if openmetrics > 0.0 && openmetrics >= plain { Self::OpenMetrics } else { Self::Classic }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The metrics of `registry` in this format.
    ///
    /// # Errors
    /// If a collector fails.
    pub(super) fn encode(self, registry: &Registry) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, registry)?;
        Ok(match self {
            Self::OpenMetrics => text,
            Self::Classic => classic(&text),
        })
    }
}

/// The classic text format of `openmetrics`. Values of labels cannot look like a description: their line breaks are
/// escaped.
fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        match line.strip_prefix("# ").map(|rest| rest.split_once(' ').unwrap_or((rest, ""))) {
            Some(("HELP", description)) => help = Some(description),
            Some(("TYPE", kind)) => {
                // The encoder writes each description as HELP, then TYPE.
                let name = kind.split(' ').next().unwrap_or_default();
                let suffix = if kind.ends_with(" counter") { "_total" } else { "" };
                for (keyword, rest) in [("HELP", help.take()), ("TYPE", Some(kind))] {
                    if let Some(rest) = rest.and_then(|rest| rest.strip_prefix(name)) {
                        text.extend(["# ", keyword, " ", name, suffix, rest, "\n"]);
                    }
                }
            }
            Some(("UNIT", _) | ("EOF", _)) => {}
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn format(accept: &[&'static str]) -> Format {
        Format::of(&accept.iter().map(|value| (ACCEPT, HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn openmetrics_is_for_scrapers_that_prefer_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert_eq!(format(&[prometheus]), Format::OpenMetrics);
        assert_eq!(format(&["text/plain", "application/openmetrics-text"]), Format::OpenMetrics);
        for other in [
            "*/*",
            "text/plain",
            "text/html, */*",
            "application/openmetrics-text; q=0",
            "application/openmetrics-text; q=none",
            "application/openmetrics-text; q=0.4, text/plain; version=0.0.4; q=0.5",
            "application/openmetrics-textual",
        ] {
            assert_eq!(format(&[other]), Format::Classic, "{other}");
        }
        assert_eq!(format(&[]), Format::Classic);
    }

    #[test]
    fn the_classic_format_names_counters_as_their_samples_do() {
        let openmetrics = "# HELP a Some\n# TYPE a counter\n# UNIT a seconds\na_total{b=\"# TYPE a counter\"} 1\n\
            # HELP c Other\n# TYPE c gauge\nc 2.0\n# EOF\n";
        let expected = "# HELP a_total Some\n# TYPE a_total counter\na_total{b=\"# TYPE a counter\"} 1\n\
            # HELP c Other\n# TYPE c gauge\nc 2.0\n";
        assert_eq!(classic(openmetrics), expected);
    }
}
