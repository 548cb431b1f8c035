//! The standard variables of OpenTelemetry that turn on the export of spans.
//!
//! A variable without a valid value gets a warning, and its default applies: OpenTelemetry says so, and the same
//! variables may be set for other programs. The address and the headers of the collector, the resource and the timeout
//! of one attempt are read by the crates of OpenTelemetry.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use super::environment::Environment;
use super::faults::SettingOrigin;
use super::report::Reporter;
use crate::gateway::request::trace_context::{Sampler, TraceShare};
use crate::traces;

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const CERTIFICATES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// How spans are exported, and which ones. None if the variables do not ask for it, or this build cannot do it.
pub(super) fn read(environment: &Environment, report: &Reporter) -> Option<(traces::Config, Sampler)> {
    let variables = Variables { environment, report };
    let asked_by = variables.asked_by()?;
    if !cfg!(feature = "otlp") {
        variables.warn(asked_by, "spans are not exported: this build does not have the feature otlp");
        return None;
    }
    if let Some((name, protocol)) = variables.first(&PROTOCOLS)
        && protocol != "http/protobuf"
    {
        variables.warn(name, "is not supported: spans are exported by http/protobuf");
    }
    let default = traces::Config::default();
    let millis = |name, default: Duration| {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(variables.number(name, default))
    };
    let max_queue = variables.number("OTEL_BSP_MAX_QUEUE_SIZE", default.max_queue).max(1);
    let config = traces::Config {
        endpoint: None,
        ca_file: variables.first(&CERTIFICATES).map(|(_, path)| path.into()),
        max_queue,
        max_batch: variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", default.max_batch).clamp(1, max_queue),
        delay: millis("OTEL_BSP_SCHEDULE_DELAY", default.delay),
        timeout: millis("OTEL_BSP_EXPORT_TIMEOUT", default.timeout),
    };
    Some((config, variables.sampler()))
}

struct Variables<'a> {
    environment: &'a Environment,
    report: &'a Reporter,
}

impl Variables<'_> {
    /// The variable that asks for the export of spans.
    fn asked_by(&self) -> Option<&'static str> {
        if self.text("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return None;
        }
        let Some(exporters) = self.text(EXPORTER) else { return self.first(&ENDPOINTS).map(|(name, _)| name) };
        let mut exporters = exporters.split(',').map(str::trim);
        if exporters.clone().any(|exporter| exporter == "otlp") {
            return Some(EXPORTER);
        }
        if exporters.any(|exporter| exporter != "none") {
            self.warn(EXPORTER, "is not supported: it is `otlp` or `none`; spans are not exported");
        }
        None
    }

    fn sampler(&self) -> Sampler {
        let Some(name) = self.text(SAMPLER) else { return Sampler::default() };
        let (follows_parent, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name.as_str()),
        };
        let share = match root {
            "always_on" => TraceShare::ALL,
            "always_off" => TraceShare::NONE,
            "traceidratio" => self.ratio(),
            _ => {
                self.warn(SAMPLER, "is not supported: it is always_on, always_off or traceidratio, alone or behind parentbased_; parentbased_always_on applies");
                return Sampler::default();
            }
        };
        Sampler { follows_parent, share }
    }

    fn ratio(&self) -> TraceShare {
        let Some(text) = self.text(SAMPLER_ARG) else { return TraceShare::ALL };
        text.parse().ok().and_then(TraceShare::new).unwrap_or_else(|| {
            self.warn(SAMPLER_ARG, "is not a number from 0 to 1; 1 applies");
            TraceShare::ALL
        })
    }

    fn number<T: FromStr + Display>(&self, name: &'static str, default: T) -> T {
        let Some(text) = self.text(name) else { return default };
        text.parse().unwrap_or_else(|_| {
            self.warn(name, &format!("is not a whole number; {default} applies"));
            default
        })
    }

    /// The first of these variables that is set, with its value.
    fn first(&self, names: &[&'static str]) -> Option<(&'static str, String)> {
        names.iter().find_map(|name| Some((*name, self.text(name)?)))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.environment.get(name).map(|value| value.to_string_lossy().trim().to_owned())
    }

    fn warn(&self, name: &str, message: &str) {
        self.report.warn(&SettingOrigin::Environment(name.to_owned()), "", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from<const N: usize>(variables: [(&str, &str); N]) -> (Option<(traces::Config, Sampler)>, Vec<String>) {
        let report = Reporter::default();
        let read = read(&Environment::from(variables), &report);
        (read, report.finish().unwrap().1)
    }

    #[test]
    fn spans_are_exported_only_if_a_standard_variable_asks_for_it() {
        const COLLECTOR: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(read_from([]), (None, Vec::new()));
        assert_eq!(read_from([("OTEL_SERVICE_NAME", "egress")]), (None, Vec::new()));
        assert_eq!(read_from([COLLECTOR, ("OTEL_TRACES_EXPORTER", "none")]), (None, Vec::new()));
        assert_eq!(read_from([COLLECTOR, ("OTEL_SDK_DISABLED", "True")]), (None, Vec::new()));
        let (read, warnings) = read_from([COLLECTOR, ("OTEL_TRACES_EXPORTER", "zipkin")]);
        assert!(read.is_none() && warnings[0].starts_with("OTEL_TRACES_EXPORTER: is not supported"), "{warnings:?}");
        for (asking, name) in [
            (COLLECTOR, "OTEL_EXPORTER_OTLP_ENDPOINT"),
            (("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector/t"), "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
            (("OTEL_TRACES_EXPORTER", "console, otlp"), "OTEL_TRACES_EXPORTER"),
        ] {
            let (read, warnings) = read_from([asking]);
            if cfg!(feature = "otlp") {
                assert_eq!((read, warnings), (Some((traces::Config::default(), Sampler::default())), Vec::new()));
            } else {
                let warning = format!("{name}: spans are not exported: this build does not have the feature otlp");
                assert_eq!((read, warnings), (None, vec![warning]));
            }
        }
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn the_batch_and_the_sampler_follow_their_variables_and_faulty_ones_get_a_warning() {
        let (read, warnings) = read_from([
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ]);
        let (config, sampler) = read.unwrap();
        assert_eq!((config.max_queue, config.max_batch, config.delay), (100, 100, Duration::from_millis(50)));
        assert_eq!((config.timeout, config.ca_file), (traces::Config::default().timeout, Some("ca.pem".into())));
        assert_eq!(sampler, Sampler { follows_parent: false, share: TraceShare::new(0.25).unwrap() });
        assert_eq!(
            warnings,
            [
                "OTEL_EXPORTER_OTLP_PROTOCOL: is not supported: spans are exported by http/protobuf",
                "OTEL_BSP_EXPORT_TIMEOUT: is not a whole number; 30000 applies"
            ]
        );
        for (name, sampler, faults) in [
            ("always_off", Sampler { follows_parent: false, share: TraceShare::NONE }, 0),
            ("parentbased_always_off", Sampler { follows_parent: true, share: TraceShare::NONE }, 0),
            ("parentbased_traceidratio", Sampler::default(), 1),
            ("xray", Sampler::default(), 1),
        ] {
            let variables = [("OTEL_TRACES_EXPORTER", "otlp"), (SAMPLER, name), (SAMPLER_ARG, "2")];
            let (read, warnings) = read_from(variables);
            assert_eq!((read.unwrap().1, warnings.len()), (sampler, faults), "{name}: {warnings:?}");
        }
    }
}
