//! What was found, one line a step, printed as it is found.

use std::fmt::Display;

use crate::cli::output;

/// The steps so far.
#[derive(Default)]
pub(super) struct Findings {
    failed: usize,
}

impl Findings {
    /// How many failed.
    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// What the next steps are about.
    pub(super) fn about(&mut self, what: impl Display) {
        output::text(format_args!("{what}\n"));
    }

    pub(super) fn ok(&mut self, step: &str, seen: impl Display) {
        line("ok", step, seen);
    }

    /// It works, and will not for long, or not for everyone.
    pub(super) fn warn(&mut self, step: &str, seen: impl Display, advice: impl Display) {
        line("warn", step, seen);
        line("", "", format_args!("-> {advice}"));
    }

    pub(super) fn fail(&mut self, step: &str, seen: impl Display, advice: impl Display) {
        self.failed += 1;
        line("FAIL", step, seen);
        line("", "", format_args!("-> {advice}"));
    }

    /// It was not looked at, for this reason.
    pub(super) fn skip(&mut self, step: &str, reason: impl Display) {
        line("skip", step, reason);
    }
}

fn line(verdict: &str, step: &str, text: impl Display) {
    output::text(format_args!("  {verdict:<4}  {step:<6}  {text}\n"));
}
