//! The chart of latency over time, below the chart of keys and on the same time axis.
//!
//! The scale is logarithmic: a request without a fault takes two milliseconds, and one during an outage can take seconds.

use std::fmt::{self, Write};

use super::chart::{AXIS, Chart, LABEL_LINE, LABEL_LINES, LEFT, RIGHT, WIDTH};
use crate::drill::latency::LatencyOverTime;
use crate::drill::quantiles::Quantiles;

const HEIGHT: f64 = 150.0;
const TOP: f64 = LABEL_LINES as f64 * LABEL_LINE + 4.0;

/// The latency at the bottom. Shorter ones are drawn there.
const FLOOR_MS: f64 = 0.1;

pub(super) fn write(page: &mut String, chart: &Chart<'_>, latency: &LatencyOverTime) -> fmt::Result {
    let floor = TOP + HEIGHT;
    writeln!(
        page,
        "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"Latency over time, with events\">",
        floor + AXIS
    )?;
    chart.outages(page, floor)?;
    chart.events(page, floor)?;
    // The whole decades that the longest latency needs.
    let decades = (latency.max().as_secs_f64() * 1e3 / FLOOR_MS).max(10.0).log10().ceil();
    let y = |milliseconds: f64| floor - HEIGHT * (milliseconds.max(FLOOR_MS) / FLOOR_MS).log10() / decades;
    for decade in 0..=decades as i32 {
        let milliseconds = FLOOR_MS * 10f64.powi(decade);
        let (line, x, end) = (y(milliseconds), LEFT - 8.0, WIDTH - RIGHT);
        let text =
            if milliseconds < 1000.0 { format!("{milliseconds} ms") } else { format!("{:.0} s", milliseconds / 1e3) };
        writeln!(page, "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{line:.1}\" x2=\"{end}\" y2=\"{line:.1}\"/>")?;
        writeln!(page, "<text x=\"{x}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", line + 4.0)?;
    }
    for (index, name) in ["max", "p99", "p50"].into_iter().enumerate() {
        let label = TOP + 14.0 * (index as f64 + 1.0);
        writeln!(
            page,
            "<path class=\"{name}\" d=\"M4 {:.1}h24\"/><text class=\"kid\" x=\"34\" y=\"{label}\">{name}</text>",
            label - 4.0
        )?;
        let mut path = String::new();
        let mut is_drawing = false;
        for (index, bucket) in (0..).zip(&latency.buckets) {
            let Some(Quantiles { p50, p99, max, .. }) = bucket else {
                is_drawing = false;
                continue;
            };
            let value = match name {
                "max" => max,
                "p99" => p99,
                _ => p50,
            };
            // A step for each bucket, so that a single bucket between empty ones is visible.
            let (from, to) = (chart.x(latency.bucket * index), chart.x(latency.bucket * (index + 1)));
            let command = if is_drawing { 'L' } else { 'M' };
            write!(path, "{command}{from:.1} {:.1}H{to:.1}", y(value.as_secs_f64() * 1e3))?;
            is_drawing = true;
        }
        writeln!(page, "<path class=\"{name}\" d=\"{path}\"/>")?;
    }
    chart.axis(page, floor)?;
    page.push_str("</svg>\n");
    Ok(())
}
