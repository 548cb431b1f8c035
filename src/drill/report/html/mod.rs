//! The report as one HTML page: no script, no other file, no external resource.
//!
//! Its content security policy allows one style sheet, identified by its hash, and nothing else. Even a
//! mistake in the escaping could therefore run no script. Kids, URLs and error messages come from other
//! programs, so every text is escaped where it is inserted into the page.
//!
//! The chart shows at the top the requests in each bucket of time, stacked by key, with lost requests in red.
//! Below it, each key has a band for the time while it was published, with the requests sealed with it. Keys
//! and buckets are the same as in the terminal's report. A second chart shows the latency over the same time.

mod chart;
mod latency;

use std::fmt::{self, Write};

use self::chart::Chart;
use super::{MAX_LISTED, Report};
use crate::html::{Escaped, EscapedWhole, policy};

const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2430;--dim:#5d6b7c;--line:#d5dbe3;--band:#eaeef3;\
--good:#0b6b3a;--bad:#c0182b;--k0:#2563c9;--k1:#0d8577;--k2:#8247c4;--k3:#b25a00;--k4:#4a6b12;--k5:#a62c78}\
@media(prefers-color-scheme:dark){:root{--bg:#12161c;--fg:#e3e8ee;--dim:#94a1b1;--line:#313a46;--band:#222a34;\
--good:#4cc38a;--bad:#ff6371;--k0:#6ea1ff;--k1:#3fc1ae;--k2:#b58bf0;--k3:#eb9a45;--k4:#9cc04e;--k5:#ec7fc0}}\
body{margin:2rem auto;padding:0 1.5rem;max-width:60rem;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}\
h1{font-size:1.5rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}p{margin:.3rem 0}\
.dim{color:var(--dim)}.verdict{margin:1rem 0;padding:.7rem 1rem;border-left:.35rem solid;font-size:1.05rem}\
.PASS{border-color:var(--good)}.PASS b{color:var(--good)}.FAIL{border-color:var(--bad)}.FAIL b{color:var(--bad)}\
table{border-collapse:collapse}td,th{text-align:left;padding:.2rem 1.2rem .2rem 0;border-bottom:1px solid var(--line);\
font-variant-numeric:tabular-nums;vertical-align:top;overflow-wrap:anywhere}th{font-weight:normal;color:var(--dim)}\
.wide{overflow-x:auto}svg{display:block;width:100%;min-width:44rem;height:auto}svg text{font:11px system-ui,sans-serif;fill:var(--dim)}\
svg .kid{fill:var(--fg)}.band{fill:var(--band)}.axis{stroke:var(--line)}.event{stroke:var(--dim);stroke-dasharray:2 3}\
.down{fill:var(--bad);opacity:.12}.lost{fill:var(--bad)}svg .lostlabel{fill:var(--bad)}\
.p50,.p99,.max{fill:none;stroke-width:1.6;stroke-linejoin:round}.p50{stroke:var(--k0)}.p99{stroke:var(--k3)}.max{stroke:var(--bad)}\
.k0{fill:var(--k0)}.k1{fill:var(--k1)}.k2{fill:var(--k2)}.k3{fill:var(--k3)}.k4{fill:var(--k4)}.k5{fill:var(--k5)}";

pub(super) fn page(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut page, report);
    page
}

fn write_page(page: &mut String, report: &Report) -> fmt::Result {
    let title = report.title();
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <p class=\"dim\">{}, {}<br>target {}, provider {} (sandbox)</p>\n",
        Escaped(&report.parameters()),
        Escaped(&report.at.strftime("%Y-%m-%d %H:%M UTC").to_string()),
        Escaped(&report.gateway),
        Escaped(&report.provider),
        title = Escaped(&title),
        policy = policy(STYLE),
    )?;
    let (word, reason) = (report.verdict.label(), Escaped(report.verdict.reason()));
    writeln!(page, "<p class=\"verdict {word}\"><b>{word}</b> {reason}</p>")?;
    if !report.causes.is_empty() {
        page.push_str("<h2>Why</h2>\n<ul>\n");
        for cause in &report.causes {
            writeln!(page, "<li>{}</li>", EscapedWhole(&cause.text))?;
        }
        page.push_str("</ul>\n");
    }
    page.push_str("<h2>Requests sealed with each key</h2>\n<div class=\"wide\">\n");
    let chart = Chart::new(report);
    chart.write(page)?;
    page.push_str("</div>\n<h2>Latency</h2>\n<div class=\"wide\">\n");
    latency::write(page, &chart, &report.latency)?;
    page.push_str("</div>\n<h2>Results</h2>\n<table>\n");
    for (what, value) in report.rows() {
        writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", Escaped(what), Escaped(&value))?;
    }
    page.push_str("</table>\n");
    write_lost(page, report)?;
    page.push_str("<h2>Events</h2>\n<table>\n");
    for event in &report.events {
        let at = event.at.as_secs_f64();
        writeln!(page, "<tr><th>{at:.2} s</th><td>{}</td></tr>", Escaped(&event.change.to_string()))?;
    }
    page.push_str("</table>\n</body>\n</html>\n");
    Ok(())
}

fn write_lost(page: &mut String, report: &Report) -> fmt::Result {
    let lost = &report.score.lost;
    if lost.is_empty() {
        return Ok(());
    }
    page.push_str("<h2>Lost requests</h2>\n<table>\n<tr><th>due</th><th>reason</th><th>provider recorded</th><th>gateway recorded</th></tr>\n");
    for lost in lost.iter().take(MAX_LISTED) {
        let (due, gateway) = (lost.due.as_secs_f64(), lost.gateway.as_deref().unwrap_or("not known"));
        let (reason, seen) = (Escaped(&lost.reason), lost.attempts.join(", then "));
        let (seen, gateway) = (Escaped(&seen), Escaped(gateway));
        writeln!(page, "<tr><td>{due:.3} s</td><td>{reason}</td><td>{seen}</td><td>{gateway}</td></tr>")?;
    }
    page.push_str("</table>\n");
    match lost.len().saturating_sub(MAX_LISTED) {
        0 => Ok(()),
        more => writeln!(page, "<p class=\"dim\">and {more} more</p>"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{failed, noisy, report};
    use crate::drill::events::Change;
    use crate::drill::observations::ReplyOutcome;
    use crate::drill::testing::{event, observations, reply};

    #[test]
    fn the_page_has_a_title_a_verdict_a_table_and_a_chart() {
        let page = report(&observations()).to_html();
        for part in [
            "<!doctype html>",
            "<title>jwe-gateway drill: hard-cut</title>",
            "<p class=\"verdict PASS\"><b>PASS</b> 4 requests, 1 hard cut",
            "<tr><th>lost</th><td>0</td></tr>",
            "<svg ",
            "<h2>Latency</h2>",
            "<path class=\"p99\"",
            "class=\"k0\"",
            "class=\"k1\"",
            ">cut<title>2.00 s: hard cut",
        ] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        assert!(!page.contains("class=\"lost\""));
    }

    #[test]
    fn the_page_has_the_latencies_of_noisy_400() {
        let page = report(&noisy(191)).to_html();
        for part in [
            "<b>FAIL</b> p99 of ordinary 400s 191 ms, of the others 140 ms",
            "<tr><th>latency of ordinary 400s</th><td>p50 191 ms, p99 191 ms, max 191 ms</td></tr>",
            "<tr><th>latency of the others</th><td>p50 5.0 ms, p99 140 ms, max 140 ms</td></tr>",
        ] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
    }

    #[test]
    fn the_page_loads_no_resource_and_runs_no_script() {
        let page = failed().to_html();
        for forbidden in ["<script", "http-equiv=\"refresh", "src=", "href=", "@import", "url(", " style=", "onload"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        let policy = page.split("Security-Policy\" content=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    }

    #[test]
    fn external_texts_are_escaped() {
        let page = failed().to_html();
        assert!(page.contains("&lt;script&gt;alert(&quot;&amp;&#39;&quot;)&lt;/script&gt;"));
        let mut observations = observations();
        observations.first_kid = "<b>\"a\"\n".to_owned();
        let page = report(&observations).to_html();
        assert!(page.contains("&lt;b&gt;&quot;a&quot; <title>"), "{page}");
        assert!(!page.contains("<b>\"a\""));
    }

    #[test]
    fn lost_requests_are_in_the_chart_and_in_a_table() {
        let page = failed().to_html();
        assert!(page.contains("<path class=\"lost\""));
        assert!(page.contains("1 lost</text>"));
        assert!(page.contains("<h2>Lost requests</h2>"));
    }

    #[test]
    fn the_largest_page_is_below_60_kb() {
        let mut observations = observations();
        let long = "a long word \"".repeat(100);
        for number in 0..60u64 {
            let change =
                if number % 2 == 0 { Change::Cut(format!("sandbox-1a2b3c4d-{number}")) } else { Change::OutageStarted };
            observations.events.push(event(number * 60, change));
            for outcome in 0..200 {
                observations.replies.push(reply(
                    100 + number * 200 + outcome,
                    0,
                    outcome * 20,
                    ReplyOutcome::NoReply(long.clone()),
                ));
            }
        }
        let page = report(&observations).to_html();
        assert!(page.len() < 60_000, "{}", page.len());
    }
}
