//! The status as one HTML page: no script, no other file, no external resource.
//!
//! The order is that of the questions at three in the morning: is something wrong, what, since when, and what to do. Then
//! the evidence: traffic, each upstream, refusals. Every plot has its numbers beside it in a table or in words, so the
//! page is complete without pictures too.
//!
//! The plots are stretched to the width of the page, so they hold no text: their labels are HTML and keep their size on a
//! narrow screen. A wide table scrolls by itself, and the page does not.
//!
//! The page asks the browser to load it again after [`REFRESH_S`] seconds. That needs no script.

mod plots;
mod style;
mod upstream;

use std::fmt::{self, Display, Write};

use self::style::STYLE;
use super::model::{ConfigurationStatus, Finding, RefusalStatus, State, Status, Time, TrafficSummary, Usage, Verdict};
use super::text;
use super::verdict::{DOCUMENT, SECTION, documentation_url};
use crate::html::{self, Escaped, EscapedWhole};

const REFRESH_S: u32 = 10;

/// The content security policy of the page. Unlike one in the page itself, it can also forbid frames.
pub(super) fn policy() -> String {
    format!("{}; frame-ancestors 'none'", html::policy(STYLE))
}

pub(super) fn page(status: &Status) -> String {
    let mut page = String::with_capacity(32 * 1024);
    // Writing to a String cannot fail.
    let _ = write_page(&mut page, status);
    page
}

fn write_page(page: &mut String, status: &Status) -> fmt::Result {
    let now = status.at;
    write_head(page, status)?;
    write_verdict(page, status)?;
    page.push_str("<section>\n<h2>All requests</h2>\n");
    plots::write_traffic(page, &status.traffic)?;
    page.push_str("</section>\n");
    for upstream in &status.upstreams {
        upstream::write(page, upstream, status.upstreams.len() > 1, now)?;
    }
    write_refusals(page, &status.refusals, now)?;
    if !status.limits.is_empty() {
        page.push_str("<section>\n<h2>Limits of the gateway</h2>\n");
        write_limits(page, &status.limits)?;
        page.push_str("</section>\n");
    }
    write_configuration(page, status)?;
    page.push_str("</main>\n</body>\n</html>\n");
    Ok(())
}

fn write_head(page: &mut String, status: &Status) -> fmt::Result {
    let word = word(status.verdict.state);
    writeln!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"refresh\" content=\"{REFRESH_S}\">\n\
         <title>{word}: jwe-gateway</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n\
         <p><b>jwe-gateway</b> {version}</p>\n\
         <p>{at}; started {started}; loads again every {REFRESH_S} s; <a href=\"/status\">JSON</a>, \
         <a href=\"/metrics\">metrics</a></p>\n</header>\n<main>",
        version = Escaped(status.gateway.version),
        at = status.at.0.strftime("%F %H:%M:%S UTC"),
        started = text::relative(status.gateway.started, status.at),
    )
}

fn word(state: State) -> &'static str {
    match state {
        State::Well => "Well",
        State::Attention => "Attention",
        State::Failing => "Failing",
        State::Stopping => "Stopping",
    }
}

fn class(state: State) -> &'static str {
    match state {
        State::Well => "well",
        State::Attention => "attention",
        State::Failing => "failing",
        State::Stopping => "stopping",
    }
}

fn write_verdict(page: &mut String, status: &Status) -> fmt::Result {
    let (now, Verdict { state, sentence, findings }) = (status.at, &status.verdict);
    writeln!(
        page,
        "<section class=\"verdict {}\">\n<p class=\"word\">{}</p>\n<h1>{}</h1>",
        class(*state),
        word(*state),
        EscapedWhole(findings.first().map_or(sentence, |worst| &worst.sentence)),
    )?;
    if findings.is_empty() {
        let TrafficSummary { requests, gateway_errors, upstream_errors, .. } = &status.traffic.last_5_min;
        writeln!(
            page,
            "<p>{requests} requests in the last 5 min, {gateway_errors} errors of the gateway, {upstream_errors} of the provider.</p>"
        )?;
    }
    if let Some((worst, others)) = findings.split_first() {
        write_finding(page, worst, now)?;
        if !others.is_empty() {
            writeln!(page, "<p class=\"also\">Also:</p>\n<ol>")?;
            for other in others {
                writeln!(page, "<li><p class=\"sentence\">{}</p>", EscapedWhole(&other.sentence))?;
                write_finding(page, other, now)?;
                writeln!(page, "</li>")?;
            }
            writeln!(page, "</ol>")?;
        }
    }
    writeln!(page, "</section>")
}

fn write_finding(page: &mut String, finding: &Finding, now: Time) -> fmt::Result {
    let Finding { since, cause, look_at, symptom, .. } = finding;
    writeln!(
        page,
        "<dl>\n<dt>Since</dt><dd>{} ({})</dd>",
        text::clock(*since, now),
        text::duration(now.since(*since))
    )?;
    writeln!(page, "<dt>Look at</dt><dd>{}</dd>", EscapedWhole(look_at))?;
    if let Some(cause) = cause {
        writeln!(page, "<dt>Cause</dt><dd>{}</dd>", EscapedWhole(cause))?;
    }
    let symptom = symptom.replace('`', "");
    let document = match documentation_url() {
        Some(url) => format!("<a href=\"{}\">{DOCUMENT}</a>", Escaped(&url)),
        None => DOCUMENT.to_owned(),
    };
    writeln!(
        page,
        "<dt>More</dt><dd>{document}, section \u{201c}{SECTION}\u{201d}, row \u{201c}{}\u{201d}</dd>\n</dl>",
        Escaped(&symptom)
    )
}

fn write_refusals(page: &mut String, refusals: &[RefusalStatus], now: Time) -> fmt::Result {
    writeln!(page, "<section>\n<h2>Last refused requests</h2>")?;
    if refusals.is_empty() {
        return writeln!(page, "<p>The gateway has refused no request since its start.</p>\n</section>");
    }
    writeln!(
        page,
        "<div class=\"wide\"><table>\n<tr><th>time (UTC)</th><th>code</th><th>status</th><th>upstream</th><th>caller</th>\
         <th>request</th><th>took</th><th>request id</th></tr>"
    )?;
    for refusal in refusals {
        let class = if refusal.status.is_some_and(|status| status >= 500) { " class=\"bad\"" } else { "" };
        let status = refusal.status.map_or_else(|| "caller left".to_owned(), |status| status.to_string());
        writeln!(
            page,
            "<tr><td>{}</td><td{class}>{}</td><td>{status}</td><td>{}</td><td>{}</td><td>{} {}</td><td>{}</td><td class=\"code\">{}</td></tr>",
            text::clock(refusal.at, now).trim_end_matches(" UTC"),
            refusal.code,
            or_dash(refusal.upstream.as_deref()),
            or_dash(refusal.caller.as_deref()),
            Escaped(&refusal.method),
            Escaped(&refusal.path),
            text::latency(refusal.duration_ms),
            Escaped(&refusal.request_id),
        )?;
    }
    writeln!(page, "</table></div>\n</section>")
}

/// The limits, each with a bar.
fn write_limits(page: &mut String, limits: &[Usage]) -> fmt::Result {
    writeln!(page, "<table class=\"limits\">\n<tr><th>limit</th><th>in use</th><th>of</th><th></th></tr>")?;
    for usage in limits {
        let Usage { what, used, limit } = usage;
        let ratio = usage.ratio().min(1.0);
        let class = if ratio > 0.8 { "full" } else { "fill" };
        writeln!(
            page,
            "<tr><td>{what}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            text::amount(what, *used),
            text::amount(what, *limit),
            plots::Bar { class, ratio },
        )?;
    }
    writeln!(page, "</table>")
}

fn write_configuration(page: &mut String, status: &Status) -> fmt::Result {
    let now = status.at;
    let ConfigurationStatus { file, flags, variables, last_reload } = &status.configuration;
    writeln!(page, "<section>\n<h2>Configuration and log</h2>\n<table class=\"facts\">")?;
    let mut row = |name: &str, value: &dyn Display| writeln!(page, "<tr><th>{name}</th><td>{value}</td></tr>");
    row("file", &or(file.as_deref(), "none"))?;
    row("flags", &or(Some(flags.join(" ").as_str()).filter(|flags| !flags.is_empty()), "none"))?;
    row("variables", &or(Some(variables.join(" ").as_str()).filter(|names| !names.is_empty()), "none"))?;
    match last_reload {
        None => row("last reload", &"none since the start")?,
        Some(reload) => {
            let at = format!("{} ({})", text::clock(reload.at, now), text::relative(reload.at, now));
            match &reload.error {
                None => row("last reload", &format_args!("{at}, succeeded"))?,
                Some(error) => {
                    row("last reload", &format_args!("{at}, <b class=\"bad\">failed</b>: {}", EscapedWhole(error)))?
                }
            }
        }
    }
    if let Some(expires) = status.certificate_expires {
        row(
            "listener's certificate expires",
            &format_args!("{} ({})", text::clock(expires, now), text::relative(expires, now)),
        )?;
    }
    row("log lines dropped", &status.log.lines_dropped)?;
    writeln!(page, "</table>\n</section>")
}

/// The text of others, escaped, or `absent`.
fn or(value: Option<&str>, absent: &str) -> String {
    value.map_or_else(|| absent.to_owned(), |value| Escaped(value).to_string())
}

fn or_dash(value: Option<&str>) -> String {
    or(value, "\u{2013}")
}

#[cfg(test)]
mod tests;
