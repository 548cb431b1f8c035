//! The result of each step. As text it is printed at once: one line, and a second one with advice. As JSON all results
//! are printed at the end.

use std::fmt::Display;

use serde::Serialize;
use serde_json::json;

use crate::cli::{json, output};

pub(super) struct Findings {
    is_json: bool,
    subject: Subject,
    steps: Vec<Step>,
}

/// What a step is about: the listener and its address, or an upstream and its name.
#[derive(Clone, Serialize)]
struct Subject {
    subject: &'static str,
    name: String,
}

#[derive(Serialize)]
struct Step {
    #[serde(flatten)]
    subject: Subject,
    step: &'static str,
    verdict: Verdict,
    result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
    Skip,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
            Self::Skip => "skip",
        }
    }
}

impl Findings {
    pub(super) fn new(is_json: bool) -> Self {
        Self { is_json, subject: Subject { subject: "", name: String::new() }, steps: Vec::new() }
    }

    /// Ends the report. Returns the number of failed steps.
    pub(super) fn finish(self, warnings: &[String]) -> usize {
        let failed = self.steps.iter().filter(|step| step.verdict == Verdict::Fail).count();
        if self.is_json {
            json::print(failed == 0, json!({ "steps": self.steps, "warnings": warnings }));
        }
        failed
    }

    /// Begins the steps of `subject`.
    pub(super) fn heading(&mut self, subject: &'static str, name: impl Display) {
        if !self.is_json {
            output::text(format_args!("{subject} {name}\n"));
        }
        self.subject = Subject { subject, name: name.to_string() };
    }

    pub(super) fn ok(&mut self, step: &'static str, result: impl Display) {
        self.add(Verdict::Ok, step, result, None);
    }

    /// The step succeeded, but it will fail soon, or for some callers.
    pub(super) fn warn(&mut self, step: &'static str, result: impl Display, advice: impl Display) {
        self.add(Verdict::Warn, step, result, Some(advice.to_string()));
    }

    pub(super) fn fail(&mut self, step: &'static str, result: impl Display, advice: impl Display) {
        self.add(Verdict::Fail, step, result, Some(advice.to_string()));
    }

    /// The step was not tried.
    pub(super) fn skip(&mut self, step: &'static str, reason: impl Display) {
        self.add(Verdict::Skip, step, reason, None);
    }

    fn add(&mut self, verdict: Verdict, step: &'static str, result: impl Display, advice: Option<String>) {
        let result = result.to_string();
        if !self.is_json {
            print_line(verdict.word(), step, &result);
            if let Some(advice) = &advice {
                print_line("", "", format_args!("-> {advice}"));
            }
        }
        self.steps.push(Step { subject: self.subject.clone(), step, verdict, result, advice });
    }
}

fn print_line(verdict: &str, step: &str, text: impl Display) {
    output::text(format_args!("  {verdict:<4}  {step:<6}  {text}\n"));
}
