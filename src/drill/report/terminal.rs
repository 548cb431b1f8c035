//! The report on a terminal of 80 columns, without colour: it is as often read in a log.

use std::fmt;

use super::Report;
use crate::drill::events::Event;
use crate::drill::timeline::{KeyUsage, Timeline};

/// Wide enough for a kid of the sandbox.
const LABEL: usize = 20;

/// Lost requests with their trace: the verdict must stay in sight. The other reports have more.
const MAX_LISTED: usize = 5;

/// Eight heights of a bar.
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
        writeln!(f, "\n{}  {}", self.verdict.label(), self.verdict.reason())
    }
}

fn timeline(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let timeline = &report.timeline;
    let max_count = timeline.max_count();
    for band in &timeline.keys {
        row(f, &band.kid, (0..timeline.columns()).map(|column| cell(timeline, band, column, max_count)))?;
    }
    if !report.score.lost.is_empty() {
        row(f, "LOST", timeline.lost.iter().map(|count| if *count > 0 { block(*count, max_count) } else { ' ' }))?;
    }
    axis(f, timeline)?;
    for (index, marks) in marks(report).into_iter().enumerate() {
        row(f, if index == 0 { "events" } else { "" }, marks.into_iter())?;
    }
    let second = timeline.bucket.as_secs_f64();
    writeln!(f, "\n  a column is {second:.2} s, a full block {max_count} requests; · published, not used")?;
    writeln!(f, "  {}", legend(&report.events))
}

fn cell(timeline: &Timeline, band: &KeyUsage, column: usize, max_count: u32) -> char {
    let is_published = timeline.column(band.published) <= column && column <= timeline.column(band.withdrawn);
    match band.counts[column] {
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

/// Five moments, each at its column.
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

/// A letter for each event at its column; where several meet, the later ones a line below.
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

/// What the letters mean, of those that are there.
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
        writeln!(f, "\n  lost: number {}, due at {due:.3} s, over at {ended:.3} s: {}", lost.number, lost.reason)?;
        let provider = if lost.attempts.is_empty() { "nothing".to_owned() } else { lost.attempts.join(", then ") };
        writeln!(f, "    provider saw  {provider}")?;
        if let Some(gateway) = &lost.gateway {
            writeln!(f, "    gateway says  {gateway}")?;
        }
    }
    match lost.len().saturating_sub(MAX_LISTED) {
        0 => Ok(()),
        more => writeln!(f, "\n  and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{failed, report};
    use super::*;
    use crate::drill::events::Change;
    use crate::drill::testing::{event, observations};

    #[test]
    fn a_person_sees_one_key_take_over_from_the_other() {
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
                "  a column is 0.07 s, a full block 1 requests; · published, not used",
            ],
            "{text}"
        );
    }

    #[test]
    fn the_table_and_the_verdict_are_there() {
        let text = report(&observations()).to_string();
        for line in [
            "jwe-gateway drill: hard-cut, 1 requests/s for 4 s, seed 1",
            "  requests                    4",
            "  lost                        0",
            "  keys adopted                1 of 1 published",
            "  rotation to adoption        p50 130 ms, p99 130 ms, max 130 ms",
            "  latency, calm               p50 5.0 ms, p99 5.0 ms, max 5.0 ms",
            "PASS  4 requests through 1 hard cut: none lost, none duplicated",
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_lost_request_has_a_row_and_a_trace() {
        let text = failed().to_string();
        assert!(text.contains("                LOST "), "{text}");
        assert!(text.contains("lost: number 9, due at 3.000 s, over at 3.001 s: no answer: "), "{text}");
        assert!(text.contains("provider saw  nothing\n    gateway says  no record"), "{text}");
    }

    #[test]
    fn the_height_of_a_bar_is_its_share_of_the_highest() {
        assert_eq!([1, 50, 99, 100].map(|count| block(count, 100)), ['▁', '▄', '█', '█']);
    }
}
