//! The chart of the HTML report: requests sealed with each key, over time.

use std::fmt::{self, Write};
use std::time::Duration;

use crate::drill::report::Report;
use crate::drill::timeline::Timeline;
use crate::html::Escaped;

/// The number of colours that can be distinguished. Further keys repeat them.
const COLOURS: usize = 6;

/// Units of the SVG; the page scales it.
pub(super) const WIDTH: f64 = 900.0;
pub(super) const LEFT: f64 = 150.0;
pub(super) const RIGHT: f64 = 12.0;
/// Event labels use three lines, so that neighbours do not overlap.
pub(super) const LABEL_LINES: usize = 3;
pub(super) const LABEL_LINE: f64 = 13.0;
/// The approximate width of a letter in a label.
const LETTER: f64 = 6.0;
const STACK: f64 = 110.0;
const BAND: f64 = 24.0;
const GAP: f64 = 6.0;
pub(super) const AXIS: f64 = 24.0;

pub(super) struct Chart<'a> {
    report: &'a Report,
    timeline: &'a Timeline,
    /// The height of one request in the stack.
    unit: f64,
}

impl<'a> Chart<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        let timeline = &report.timeline;
        Self { report, timeline, unit: STACK / f64::from(timeline.max_count().max(1)) }
    }

    pub(super) fn write(&self, page: &mut String) -> fmt::Result {
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

    /// The requests of all keys, stacked, with the lost requests on top.
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
        // A single lost request must be visible.
        self.bars(page, "lost", &self.timeline.lost, &mut tops, self.unit, 4.0)
    }

    fn band(&self, page: &mut String, index: usize, kid: &str, top: f64) -> fmt::Result {
        let band = &self.timeline.keys[index];
        let (from, to) = (self.x(band.published), self.x(band.withdrawn));
        let (x, y) = (LEFT - 8.0, top + BAND - 8.0);
        // The provider chooses the kids, so their length is limited to the margin.
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

    /// One path with a bar for each bucket that is not empty. The bars begin at `tops` and raise it.
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

    /// A vertical line for each event, with its label in the first of the three lines that has space.
    pub(super) fn events(&self, page: &mut String, floor: f64) -> fmt::Result {
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

    /// A shaded area for each outage.
    pub(super) fn outages(&self, page: &mut String, floor: f64) -> fmt::Result {
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

    pub(super) fn axis(&self, page: &mut String, floor: f64) -> fmt::Result {
        let end = self.timeline.bucket * u32::try_from(self.timeline.columns()).unwrap_or(u32::MAX);
        for part in 0..=5 {
            let at = end * part / 5;
            let (x, y, seconds) = (self.x(at), floor + 15.0, at.as_secs_f64());
            let anchor = if part == 5 { "end" } else { "middle" };
            writeln!(page, "<text x=\"{x:.1}\" y=\"{y:.0}\" text-anchor=\"{anchor}\">{seconds:.1} s</text>")?;
        }
        Ok(())
    }

    pub(super) fn x(&self, at: Duration) -> f64 {
        let whole = self.timeline.bucket.as_secs_f64() * self.timeline.columns() as f64;
        LEFT + (WIDTH - LEFT - RIGHT) * (at.as_secs_f64() / whole).min(1.0)
    }
}
