//! The result of each step, printed at once: one line, and a second one with advice.

use std::fmt::Display;

use crate::cli::output;

#[derive(Default)]
pub(super) struct Findings {
    failed: usize,
}

impl Findings {
    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// Prints the subject of the next steps.
    pub(super) fn heading(&mut self, subject: impl Display) {
        output::text(format_args!("{subject}\n"));
    }

    pub(super) fn ok(&mut self, step: &str, result: impl Display) {
        print_line("ok", step, result);
    }

    /// The step succeeded, but it will fail soon, or for some callers.
    pub(super) fn warn(&mut self, step: &str, result: impl Display, advice: impl Display) {
        print_line("warn", step, result);
        print_advice(advice);
    }

    pub(super) fn fail(&mut self, step: &str, result: impl Display, advice: impl Display) {
        self.failed += 1;
        print_line("FAIL", step, result);
        print_advice(advice);
    }

    /// The step was not tried.
    pub(super) fn skip(&mut self, step: &str, reason: impl Display) {
        print_line("skip", step, reason);
    }
}

fn print_line(verdict: &str, step: &str, text: impl Display) {
    output::text(format_args!("  {verdict:<4}  {step:<6}  {text}\n"));
}

fn print_advice(advice: impl Display) {
    print_line("", "", format_args!("-> {advice}"));
}
