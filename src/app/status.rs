//! The parts in use, for the status page.

use super::reload::Reloader;
use super::reload_state::Trigger;
use crate::admin::StatusPages;
use crate::config::Origins;
use crate::gateway::generation::Current;
use crate::gateway::server::drain::Drain;
use crate::status::{CONNECTIONS, Configuration, Facts, History, StatusReporter, Usage};
use crate::telemetry;

pub(super) fn reporter(history: History, current: Current, drain: Drain, reloader: Reloader) -> StatusReporter {
    StatusReporter::new(history, move || {
        let generation = current.generation();
        Facts {
            routes: generation.routes.clone(),
            is_stopping: drain.is_announced(),
            certificate_expires: generation.tls.as_ref().map(|tls| tls.snapshot().not_after),
            limits: vec![
                Usage::of("requests in flight", current.in_flight()),
                Usage::of(CONNECTIONS, current.open_connections()),
            ],
            configuration: configuration(&reloader),
            log_lines_dropped: telemetry::lines_dropped(),
        }
    })
}

fn configuration(reloader: &Reloader) -> Configuration {
    let Origins { flags, variables } = reloader.source().map(|source| source.origins()).unwrap_or_default();
    let file = reloader.source().and_then(|source| source.file()).map(|file| file.display().to_string());
    let last = reloader.last();
    let last_reload = (last.trigger != Trigger::Start).then(|| {
        let error = last.outcome.as_ref().err().map(ToString::to_string);
        (last.at, error)
    });
    Configuration { file, flags, variables, last_reload }
}

/// What the admin listener shows.
pub(super) fn pages(reporter: &StatusReporter) -> StatusPages {
    let (html, json) = (reporter.clone(), reporter.clone());
    StatusPages {
        html: Box::new(move || html.html()),
        policy: StatusReporter::policy(),
        json: Box::new(move || json.json()),
    }
}
