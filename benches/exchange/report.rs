//! The table of goals, and the faults.

use std::process::ExitCode;

use crate::common::Spread;
use crate::load::Outcome;
use crate::upstream::Upstream;

#[derive(Default)]
pub(crate) struct Report {
    goals: Vec<Goal>,
    faults: Vec<String>,
}

struct Goal {
    what: String,
    unit: &'static str,
    limit: Option<f64>,
    /// One for each gateway, in their order.
    values: Vec<(&'static str, Spread)>,
}

impl Report {
    /// Adds a value of the proxy called `name`. Without a value, because a peer is missing, nothing is added.
    pub(crate) fn add(
        &mut self,
        what: &str,
        unit: &'static str,
        limit: Option<f64>,
        name: &'static str,
        value: Option<Spread>,
    ) {
        let Some(value) = value else { return };
        match self.goals.iter_mut().find(|goal| goal.what == what) {
            Some(goal) => goal.values.push((name, value)),
            None => self.goals.push(Goal { what: what.to_owned(), unit, limit, values: vec![(name, value)] }),
        }
    }

    /// Notes requests that were not served as they must be.
    pub(crate) fn check(&mut self, name: &str, outcome: &Outcome) {
        if outcome.wrong > 0 {
            let fault = outcome.fault.as_deref().unwrap_or("unknown");
            self.faults.push(format!("{name}: {} requests failed, the first with: {fault}", outcome.wrong));
        }
    }

    /// Notes refusals where there is capacity for all.
    pub(crate) fn check_all_served(&mut self, name: &str, outcome: &Outcome) {
        self.check(name, outcome);
        if outcome.refused > 0 {
            self.faults.push(format!("{name}: {} requests were refused with 503", outcome.refused));
        }
    }

    pub(crate) fn check_bodies(&mut self, upstream: &Upstream) {
        self.faults.extend(upstream.take_fault().map(|fault| format!("the upstream received a wrong body: {fault}")));
    }

    /// Prints the goals and the faults. Only faults make the run fail.
    pub(crate) fn print(&self) -> ExitCode {
        if !self.goals.is_empty() {
            println!("\n{:<44} {:>9} {:>7}   {:<20} {:<10}", "goals", "median", "goal", "lowest to highest", "of");
        }
        for Goal { what, unit, limit, values } in &self.goals {
            for (name, Spread { median, lowest, highest }) in values {
                let limit = limit.map_or_else(String::new, |limit| format!("{limit}"));
                let value = format!("{median:.2}{unit}");
                let spread = format!("{lowest:.2} to {highest:.2}");
                println!("{what:<44} {value:>9} {limit:>7}   {spread:<20} {name:<10}");
            }
        }
        for fault in &self.faults {
            println!("FAULT: {fault}");
        }
        if self.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
