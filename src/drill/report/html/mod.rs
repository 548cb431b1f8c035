//! The report as one page: no script, no file beside it, nothing loaded.
//!
//! Its content security policy allows one style sheet, by its hash, and nothing else, so that even
//! a mistake in escaping could run nothing. Texts come from kids, URLs and error messages, which
//! others choose: everything is escaped at the place where it is put into the page.
//!
//! The picture: above, the requests of each moment, stacked by key, lost ones on top in red; below
//! it a band for each key, light while it was published, with the requests sealed under it. Rows
//! and columns are the terminal's.

use std::fmt::{self, Write};
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{MAX_LISTED, Report};
use crate::drill::timeline::Timeline;

/// Characters of a text that are shown; with [`LOST_SHOWN`] and the bounds of a plan it keeps the
/// page below 60 KB.
const MAX_TEXT: usize = 200;

/// As many colours as can be told apart; then they begin again.
const COLOURS: usize = 6;

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
.k0{fill:var(--k0)}.k1{fill:var(--k1)}.k2{fill:var(--k2)}.k3{fill:var(--k3)}.k4{fill:var(--k4)}.k5{fill:var(--k5)}";

pub(super) fn page(report: &Report) -> String {
    let mut page = String::new();
    // A String takes everything.
    let _ = write_page(&mut page, report);
    page
}

fn write_page(page: &mut String, report: &Report) -> fmt::Result {
    let title = report.title();
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <p class=\"dim\">{}, {}<br>gateway {}, provider {} (sandbox)</p>\n",
        Escaped(&report.parameters()),
        Escaped(&report.at.strftime("%Y-%m-%d %H:%M UTC").to_string()),
        Escaped(&report.gateway),
        Escaped(&report.provider),
        title = Escaped(&title),
    )?;
    let (word, reason) = (report.verdict.label(), Escaped(report.verdict.reason()));
    writeln!(page, "<p class=\"verdict {word}\"><b>{word}</b> {reason}</p>")?;
    page.push_str("<h2>Which key sealed how many requests</h2>\n<div class=\"wide\">\n");
    Chart::new(report).write(page)?;
    page.push_str("</div>\n<h2>Figures</h2>\n<table>\n");
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
    page.push_str("<h2>Lost requests</h2>\n<table>\n<tr><th>due</th><th>why</th><th>provider saw</th><th>gateway says</th></tr>\n");
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

/// Units of the drawing; the page scales it.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 12.0;
/// Three lines of event labels, so that neighbours do not overlap.
const LABEL_LINES: usize = 3;
const LABEL_LINE: f64 = 13.0;
/// Width of a letter of a label, about.
const LETTER: f64 = 6.0;
const STACK: f64 = 110.0;
const BAND: f64 = 24.0;
const GAP: f64 = 6.0;
const AXIS: f64 = 24.0;

struct Chart<'a> {
    report: &'a Report,
    timeline: &'a Timeline,
    /// Pixels for one request in the stack.
    unit: f64,
}

impl<'a> Chart<'a> {
    fn new(report: &'a Report) -> Self {
        let timeline = &report.timeline;
        Self { report, timeline, unit: STACK / f64::from(timeline.max_count().max(1)) }
    }

    fn write(&self, page: &mut String) -> fmt::Result {
        let bands_at = Self::stack_floor() + GAP * 2.0;
        let floor = bands_at + self.timeline.keys.len() as f64 * (BAND + GAP);
        let height = floor + AXIS;
        writeln!(
            page,
            "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"Requests over time by key, with events\">"
        )?;
        self.outages(page, floor)?;
        self.events(page, floor)?;
        self.stack(page)?;
        for (index, band) in self.timeline.keys.iter().enumerate() {
            self.band(page, index, &band.kid, bands_at + index as f64 * (BAND + GAP))?;
        }
        self.axis(page, floor)?;
        page.push_str("</svg>\n");
        Ok(())
    }

    fn stack_floor() -> f64 {
        LABEL_LINES as f64 * LABEL_LINE + 4.0 + STACK
    }

    /// All keys, one on the other, and what was lost on top.
    fn stack(&self, page: &mut String) -> fmt::Result {
        let floor = Self::stack_floor();
        let (end, max_count) = (WIDTH - RIGHT, self.timeline.max_count());
        writeln!(page, "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{floor}\" x2=\"{end}\" y2=\"{floor}\"/>")?;
        let (x, top) = (LEFT - 8.0, floor - STACK + 9.0);
        let per = self.timeline.bucket.as_secs_f64();
        writeln!(page, "<text class=\"kid\" x=\"{x}\" y=\"{top}\" text-anchor=\"end\">{max_count} requests</text>")?;
        writeln!(page, "<text x=\"{x}\" y=\"{:.0}\" text-anchor=\"end\">in {per:.2} s</text>", top + 14.0)?;
        if !self.report.score.lost.is_empty() {
            let (y, lost) = (floor - 4.0, self.report.score.lost.len());
            writeln!(page, "<text class=\"lostlabel\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{lost} lost</text>")?;
        }
        let mut tops = vec![floor; self.timeline.columns()];
        for (index, band) in self.timeline.keys.iter().enumerate() {
            self.bars(page, &format!("k{}", index % COLOURS), &band.counts, &mut tops, self.unit, 0.0)?;
        }
        // One lost request among many must be seen.
        self.bars(page, "lost", &self.timeline.lost, &mut tops, self.unit, 4.0)
    }

    fn band(&self, page: &mut String, index: usize, kid: &str, top: f64) -> fmt::Result {
        let band = &self.timeline.keys[index];
        let (from, to) = (self.x(band.published), self.x(band.withdrawn));
        let (x, y) = (LEFT - 8.0, top + BAND - 8.0);
        // Kids are the provider's, and the margin is as wide as it is.
        let (name, whole) = (Escaped(&kid.chars().take(22).collect::<String>()).to_string(), Escaped(kid));
        writeln!(
            page,
            "<text class=\"kid\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{name}<title>{whole}</title></text>"
        )?;
        let width = (to - from).max(1.0);
        writeln!(
            page,
            "<rect class=\"band\" x=\"{from:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAND}\" rx=\"2\"/>"
        )?;
        let unit = (BAND - 3.0) / f64::from(self.timeline.max_count().max(1));
        let mut tops = vec![top + BAND; self.timeline.columns()];
        self.bars(page, &format!("k{}", index % COLOURS), &band.counts, &mut tops, unit, 1.5)
    }

    /// A bar for each bucket with something in it, as one path, standing on `tops` and raising
    /// them.
    fn bars(
        &self,
        page: &mut String,
        class: &str,
        counts: &[u32],
        tops: &mut [f64],
        unit: f64,
        min_height: f64,
    ) -> fmt::Result {
        let width = (WIDTH - LEFT - RIGHT) / self.timeline.columns() as f64;
        let mut path = String::new();
        for (column, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let height = (f64::from(*count) * unit).max(min_height);
            let (x, y) = (LEFT + width * column as f64, tops[column]);
            write!(path, "M{:.1} {y:.1}v-{height:.1}h{:.1}v{height:.1}z", x + 0.5, width - 1.0)?;
            tops[column] -= height;
        }
        if path.is_empty() { Ok(()) } else { writeln!(page, "<path class=\"{class}\" d=\"{path}\"/>") }
    }

    /// A line for each event, and its word beside it in whichever of three lines has room.
    fn events(&self, page: &mut String, floor: f64) -> fmt::Result {
        let mut occupied = [f64::MIN; LABEL_LINES];
        for event in &self.report.events {
            let (x, word, what) = (self.x(event.at), event.change.label(), event.change.to_string());
            let width = LETTER * word.len() as f64;
            let is_at_the_edge = x + width > WIDTH;
            let (anchor, at, from) = if is_at_the_edge { ("end", x - 3.0, x - width) } else { ("start", x + 3.0, x) };
            let line = (0..LABEL_LINES).find(|line| occupied[*line] <= from).unwrap_or(LABEL_LINES - 1);
            occupied[line] = if is_at_the_edge { x } else { x + width + 8.0 };
            let y = LABEL_LINE * (line + 1) as f64 - 3.0;
            let (seconds, what) = (event.at.as_secs_f64(), Escaped(&what));
            let top = y - 8.0;
            writeln!(page, "<line class=\"event\" x1=\"{x:.1}\" y1=\"{top:.0}\" x2=\"{x:.1}\" y2=\"{floor:.0}\"/>")?;
            writeln!(
                page,
                "<text x=\"{at:.1}\" y=\"{y:.0}\" text-anchor=\"{anchor}\">{word}<title>{seconds:.2} s: {what}</title></text>"
            )?;
        }
        Ok(())
    }

    /// A veil over the time in which the endpoints failed.
    fn outages(&self, page: &mut String, floor: f64) -> fmt::Result {
        let mut since = None;
        for event in &self.report.events {
            match (event.change.label(), since) {
                ("down", None) => since = Some(event.at),
                ("up", Some(from)) => {
                    self.outage_area(page, from, event.at, floor)?;
                    since = None;
                }
                _ => {}
            }
        }
        since.map_or(Ok(()), |from| self.outage_area(page, from, Duration::MAX, floor))
    }

    fn outage_area(&self, page: &mut String, from: Duration, to: Duration, floor: f64) -> fmt::Result {
        let (from, to, top) = (self.x(from), self.x(to), LABEL_LINE * LABEL_LINES as f64);
        let (width, height) = (to - from, floor - top);
        writeln!(page, "<rect class=\"down\" x=\"{from:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height:.1}\"/>")
    }

    fn axis(&self, page: &mut String, floor: f64) -> fmt::Result {
        let end = self.timeline.bucket * u32::try_from(self.timeline.columns()).unwrap_or(u32::MAX);
        for part in 0..=5 {
            let at = end * part / 5;
            let (x, y, seconds) = (self.x(at), floor + 15.0, at.as_secs_f64());
            let anchor = if part == 5 { "end" } else { "middle" };
            writeln!(page, "<text x=\"{x:.1}\" y=\"{y:.0}\" text-anchor=\"{anchor}\">{seconds:.1} s</text>")?;
        }
        Ok(())
    }

    fn x(&self, at: Duration) -> f64 {
        let whole = self.timeline.bucket.as_secs_f64() * self.timeline.columns() as f64;
        LEFT + (WIDTH - LEFT - RIGHT) * (at.as_secs_f64() / whole).min(1.0)
    }
}

/// A text that can stand in HTML, as content or in quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().take(MAX_TEXT) {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if c.is_control() => f.write_char(' ')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{failed, report};
    use crate::drill::events::Change;
    use crate::drill::observations::ReplyOutcome;
    use crate::drill::testing::{event, observations, reply};

    #[test]
    fn the_page_has_title_verdict_table_and_picture() {
        let page = report(&observations()).to_html();
        for part in [
            "<!doctype html>",
            "<title>jwe-gateway drill: hard-cut</title>",
            "<p class=\"verdict PASS\"><b>PASS</b> 4 requests through 1 hard cut",
            "<tr><th>lost</th><td>0</td></tr>",
            "<svg ",
            "class=\"k0\"",
            "class=\"k1\"",
            ">cut<title>2.00 s: hard cut",
        ] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        assert!(!page.contains("class=\"lost\""));
    }

    #[test]
    fn the_page_loads_and_runs_nothing() {
        let page = failed().to_html();
        for forbidden in ["<script", "http-equiv=\"refresh", "src=", "href=", "@import", "url(", " style=", "onload"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        let policy = page.split("Security-Policy\" content=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    }

    #[test]
    fn what_others_wrote_cannot_become_markup() {
        let page = failed().to_html();
        assert!(page.contains("&lt;script&gt;alert(&quot;&amp;&#39;&quot;)&lt;/script&gt;"));
        let mut observations = observations();
        observations.first_kid = "<b>\"a\"\n".to_owned();
        let page = report(&observations).to_html();
        assert!(page.contains("&lt;b&gt;&quot;a&quot; <title>"), "{page}");
        assert!(!page.contains("<b>\"a\""));
    }

    #[test]
    fn lost_requests_are_drawn_in_red_and_listed() {
        let page = failed().to_html();
        assert!(page.contains("<path class=\"lost\""));
        assert!(page.contains("1 lost</text>"));
        assert!(page.contains("<h2>Lost requests</h2>"));
    }

    #[test]
    fn the_largest_page_stays_small() {
        let mut observations = observations();
        let long = "a long word \"".repeat(100);
        for number in 0..60u64 {
            let change =
                if number % 2 == 0 { Change::Cut(format!("sandbox-1a2b3c4d-{number}")) } else { Change::OutageBegan };
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
