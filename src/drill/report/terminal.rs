//! The report for a terminal of 80 columns. It has no colours, because it is often read in a log.

use std::fmt;

use super::Report;
use crate::drill::events::Event;
use crate::drill::timeline::{KeyUsage, Timeline};

/// Wide enough for a `kid` of the sandbox.
const LABEL: usize = 20;

/// The number of lost requests with their trace. The verdict must stay visible; the other formats list more.
const MAX_LISTED: usize = 5;

/// The eight heights of a bar.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}, {}\n", self.title(), self.parameters())?;
        for (what, value) in self.rows() {
            writeln!(f, "  {what:<26}  {value}")?;
        }
        writeln!(f)?;
        timeline(f, self)?;
        lost(f, self)?;
        if !self.causes.is_empty() {
            writeln!(f, "\n  why")?;
        }
        for cause in &self.causes {
            let text: String = cause.text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            writeln!(f, "    {text}")?;
        }
        writeln!(f, "\n{}  {}", self.verdict.label(), self.verdict.reason())
    }
}

fn timeline(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let timeline = &report.timeline;
    let max_count = timeline.max_count();
    for usage in &timeline.keys {
        row(f, &usage.kid, (0..timeline.columns()).map(|column| cell(timeline, usage, column, max_count)))?;
    }
    if !report.score.lost.is_empty() {
        row(f, "LOST", timeline.lost.iter().map(|count| if *count > 0 { block(*count, max_count) } else { ' ' }))?;
    }
    axis(f, timeline)?;
    for (index, marks) in marks(report).into_iter().enumerate() {
        row(f, if index == 0 { "events" } else { "" }, marks.into_iter())?;
    }
    let second = timeline.bucket.as_secs_f64();
    writeln!(f, "\n  a column is {second:.2} s, a full block is {max_count} requests, · means published and not used")?;
    writeln!(f, "  {}", legend(&report.events))
}

fn cell(timeline: &Timeline, usage: &KeyUsage, column: usize, max_count: u32) -> char {
    let is_published = timeline.column(usage.published) <= column && column <= timeline.column(usage.withdrawn);
    match usage.counts[column] {
        0 if is_published => '·',
        0 => ' ',
        count => block(count, max_count),
    }
}

fn block(count: u32, max_count: u32) -> char {
    let height = (count as usize * BLOCKS.len()).div_ceil(max_count.max(1) as usize);
    BLOCKS[height.clamp(1, BLOCKS.len()) - 1]
}

fn row(f: &mut fmt::Formatter<'_>, label: &str, cells: impl Iterator<Item = char>) -> fmt::Result {
    let label: String = label.chars().map(|c| if c.is_control() { '?' } else { c }).take(LABEL).collect();
    let cells: String = cells.collect();
    writeln!(f, "{}", format!("{label:>LABEL$} {cells}").trim_end())
}

/// About five points in time, each at its column.
fn axis(f: &mut fmt::Formatter<'_>, timeline: &Timeline) -> fmt::Result {
    let mut line = String::new();
    for column in (0..timeline.columns()).step_by(timeline.columns() / 5) {
        while line.chars().count() < column {
            line.push(' ');
        }
        let seconds = timeline.bucket.as_secs_f64() * column as f64;
        line += &format!("{seconds:.1}s");
    }
    row(f, "", line.chars())
}

/// A letter for each event at its column. Events in the same column are written below each other.
fn marks(report: &Report) -> Vec<Vec<char>> {
    let mut lines: Vec<Vec<char>> = Vec::new();
    for event in &report.events {
        let column = report.timeline.column(event.at);
        let free = lines.iter().position(|line| line[column] == ' ').unwrap_or_else(|| {
            lines.push(vec![' '; report.timeline.columns()]);
            lines.len() - 1
        });
        lines[free][column] = event.change.letter();
    }
    lines
}

/// The meaning of each letter in use.
fn legend(events: &[Event]) -> String {
    let mut meanings: Vec<_> = events.iter().map(|Event { change, .. }| (change.letter(), change.label())).collect();
    meanings.sort_unstable();
    meanings.dedup();
    meanings.iter().map(|(letter, word)| format!("{letter} {word}")).collect::<Vec<_>>().join("   ")
}

fn lost(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let lost = &report.score.lost;
    for lost in lost.iter().take(MAX_LISTED) {
        let (due, ended) = (lost.due.as_secs_f64(), lost.ended.as_secs_f64());
        writeln!(f, "\n  lost: number {}, due at {due:.3} s, ended at {ended:.3} s: {}", lost.number, lost.reason)?;
        let provider = if lost.attempts.is_empty() { "nothing".to_owned() } else { lost.attempts.join(", then ") };
        writeln!(f, "    provider recorded  {provider}")?;
        if let Some(gateway) = &lost.gateway {
            writeln!(f, "    gateway recorded   {gateway}")?;
        }
    }
    match lost.len().saturating_sub(MAX_LISTED) {
        0 => Ok(()),
        more => writeln!(f, "\n  and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{failed, noisy, report};
    use super::*;
    use crate::drill::events::Change;
    use crate::drill::testing::{event, observations};

    #[test]
    fn the_chart_shows_one_key_replace_the_other() {
        let mut observations = observations();
        observations.events.push(event(2000, Change::Revoked));
        let text = report(&observations).to_string();
        let lines: Vec<_> = text.lines().skip_while(|line| !line.trim_start().starts_with("a ")).collect();
        assert_eq!(
            lines[..7],
            [
                "                   a █······█·····················",
                "                   b                             ··█·····█·····················",
                "                     0.0s       0.8s       1.5s       2.3s       3.0s       3.8s",
                "              events                             C",
                "                                                 T",
                "",
                "  a column is 0.07 s, a full block is 1 requests, · means published and not used",
            ],
            "{text}"
        );
    }

    #[test]
    fn the_text_has_the_table_and_the_verdict() {
        let text = report(&observations()).to_string();
        for line in [
            "jwe-gateway drill: hard-cut, 1 requests/s for 4 s, seed 1",
            "  requests                    4",
            "  lost                        0",
            "  new keys used               1 of 1 published",
            "  publication to first use    p50 130 ms, p99 130 ms, max 130 ms",
            "  latency without faults      p50 5.0 ms, p99 5.0 ms, max 5.0 ms",
            "PASS  4 requests, 1 hard cut: none lost, none duplicated",
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line} in\n{text}");
        }
        assert!(!text.contains("400s"), "{text}");
    }

    #[test]
    fn the_text_has_the_latencies_of_noisy_400() {
        let text = report(&noisy(7)).to_string();
        for line in [
            "  latency of ordinary 400s    p50 7.0 ms, p99 7.0 ms, max 7.0 ms",
            "  latency of the others       p50 5.0 ms, p99 140 ms, max 140 ms",
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line} in\n{text}");
        }
        assert!(text.ends_with(", p99 of ordinary 400s 7.0 ms, of the others 140 ms\n"), "{text}");
    }

    #[test]
    fn a_lost_request_has_a_row_and_a_trace() {
        let text = failed().to_string();
        assert!(text.contains("                LOST "), "{text}");
        assert!(text.contains("lost: number 9, due at 3.000 s, ended at 3.001 s: no reply: "), "{text}");
        assert!(text.contains("provider recorded  nothing\n    gateway recorded   no record"), "{text}");
    }

    #[test]
    fn the_height_of_a_bar_is_proportional_to_the_highest_count() {
        assert_eq!([1, 50, 99, 100].map(|count| block(count, 100)), ['▁', '▄', '█', '█']);
    }
}
