//! The plots: bars, and lines over time. A plot is stretched to the width that it gets, so it holds no text.

use std::fmt::{self, Display, Write};

use super::super::model::{TrafficStatus, TrafficSummary};
use super::super::text;

/// The width of every plot in units of its own.
pub(super) const WIDTH: f64 = 1000.0;

const HEIGHT: f64 = 100.0;

/// A bar that shows a share of its track.
pub(super) struct Bar {
    pub(super) class: &'static str,
    pub(super) ratio: f64,
}

impl Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, width) = (self.class, self.ratio * WIDTH);
        write!(
            f,
            "<svg class=\"bar\" viewBox=\"0 0 {WIDTH} 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect class=\"track\" width=\"{WIDTH}\" height=\"10\"/><rect class=\"{class}\" width=\"{width:.0}\" height=\"10\"/></svg>"
        )
    }
}

/// The three plots of the last 15 minutes, and their numbers in a table.
pub(super) fn write_traffic(page: &mut String, traffic: &TrafficStatus) -> fmt::Result {
    if traffic.last_15_min.requests == 0 {
        return writeln!(page, "<p>No requests in the last 15 min.</p>");
    }
    page.push_str("<div class=\"plots\">\n");
    write_rates(page, "Requests per second", &traffic.requests_per_s, "area")?;
    write_rates(page, "Errors per second", &traffic.errors_per_s, "err")?;
    write_latencies(page, traffic)?;
    page.push_str("</div>\n");
    write_table(page, [&traffic.last_30_s, &traffic.last_5_min, &traffic.last_15_min])
}

fn write_rates(page: &mut String, title: &str, rates: &[f64], class: &str) -> fmt::Result {
    let highest = rates.iter().copied().fold(0.0, f64::max);
    let caption = format!("{title} <span>up to {}</span>", text::rate(highest));
    begin_plot(page, &caption, &format!("{title} in the last 15 minutes, up to {}", text::rate(highest)))?;
    if highest > 0.0 {
        let column = WIDTH / rates.len() as f64;
        let mut path = String::new();
        for (index, rate) in rates.iter().enumerate().filter(|(_, rate)| **rate > 0.0) {
            // A single error must be visible.
            let height = (rate / highest * (HEIGHT - 8.0)).max(4.0);
            let (x, width) = (column * index as f64, column - 1.5);
            write!(path, "M{x:.0} {HEIGHT}v-{height:.0}h{width:.0}v{height:.0}z")?;
        }
        write!(page, "<path class=\"{class}\" d=\"{path}\"/>")?;
    }
    end_plot(page)
}

fn write_latencies(page: &mut String, traffic: &TrafficStatus) -> fmt::Result {
    let highest = traffic.p99_ms.iter().flatten().copied().fold(0.0, f64::max);
    let caption = format!("Latency: p99, p50 <span>p99 up to {}</span>", text::latency(highest));
    let label = format!("Latency in the last 15 minutes, p99 up to {}", text::latency(highest));
    begin_plot(page, &caption, &label)?;
    for (class, latencies) in [("line2", &traffic.p50_ms), ("line", &traffic.p99_ms)] {
        let step = WIDTH / latencies.len() as f64;
        let mut path = String::new();
        let mut is_connected = false;
        for (index, latency) in latencies.iter().enumerate() {
            if let Some(latency) = latency {
                let (x, y) = (step * index as f64, HEIGHT - latency / highest.max(f64::MIN_POSITIVE) * (HEIGHT - 8.0));
                // A horizontal step, so that an interval without neighbours is visible too.
                write!(path, "{}{x:.0} {y:.0}h{step:.0}", if is_connected { 'L' } else { 'M' })?;
            }
            is_connected = latency.is_some();
        }
        write!(page, "<path class=\"{class}\" d=\"{path}\"/>")?;
    }
    end_plot(page)
}

fn begin_plot(page: &mut String, caption: &str, label: &str) -> fmt::Result {
    write!(
        page,
        "<figure><figcaption>{caption}</figcaption><svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">"
    )
}

fn end_plot(page: &mut String) -> fmt::Result {
    writeln!(page, "</svg><div class=\"axis\"><span>15 min ago</span><span>now</span></div></figure>")
}

/// A number of requests in a table.
type Count = fn(&TrafficSummary) -> u64;

fn write_table(page: &mut String, summaries: [&TrafficSummary; 3]) -> fmt::Result {
    page.push_str(
        "<table class=\"counts\">\n<tr><th>in the last</th><th>30 s</th><th>5 min</th><th>15 min</th></tr>\n",
    );
    let latency = |latency: Option<f64>| latency.map_or_else(|| "\u{2013}".to_owned(), text::latency);
    let rows: [(&str, Count); 3] = [
        ("requests", |summary| summary.requests),
        ("errors of the gateway (5xx)", |summary| summary.gateway_errors),
        ("errors of the provider (5xx)", |summary| summary.upstream_errors),
    ];
    for (name, count) in rows {
        write!(page, "<tr><td>{name}</td>")?;
        for summary in summaries {
            let class = if name != "requests" && count(summary) > 0 { " class=\"bad\"" } else { "" };
            write!(page, "<td{class}>{}</td>", count(summary))?;
        }
        page.push_str("</tr>\n");
    }
    for (name, quantile) in [("p50", true), ("p99", false)] {
        write!(page, "<tr><td>latency {name}</td>")?;
        for summary in summaries {
            write!(page, "<td>{}</td>", latency(if quantile { summary.p50_ms } else { summary.p99_ms }))?;
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
    Ok(())
}
