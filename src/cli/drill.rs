//! `jwe-gateway drill`: key rotations under load, with a verdict.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::fmt::friendly::SpanParser;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::failure::Failure;
use super::init_log;
use super::output;
use super::sandbox::{ReadyFile, connection, not_started};
use super::signals::Signals;
use crate::clock::Clock;
use crate::config::Environment;
use crate::drill::{Config, Drill, DrillError, MAX_DURATION, MAX_RATE, Progress, RATE, Report, Scenario, Target};
use crate::error_chain;
use crate::telemetry::{self, Stream};

/// Long enough for eight rotations, each with a pause after it.
const DURATION: &str = "20s";

/// The interval of progress lines if the output is not a terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// What the provider does during the drill
    #[arg(long, value_enum)]
    scenario: Scenario,
    /// Requests per second
    #[arg(long, value_name = "N", default_value_t = RATE, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_RATE)))]
    rate: u32,
    /// How long requests are sent, such as 20s or 2m
    #[arg(long, default_value = DURATION, value_parser = duration)]
    duration: Duration,
    /// Seed of the plan: the same seed gives the same plan [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write the report to this file as one HTML page
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the checks to this file as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Drill another sealing client, which accepts plain JSON at this URL
    // `--gateway` is the name that this option had first.
    #[arg(long, alias = "gateway", value_name = "URL", value_parser = http_url)]
    target: Option<Url>,
    /// With --target: address of the sandbox
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090", requires = "target")]
    listen: SocketAddr,
    /// With --target: address of the sandbox's management interface
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8091", requires = "target")]
    management: SocketAddr,
    /// With --target: allow a management address that other hosts can reach, without a credential
    #[arg(long, requires = "target")]
    allow_remote_management: bool,
    /// With --target: write addresses and credentials to this file as one line of JSON, as `sandbox` does
    #[arg(long, value_name = "FILE", requires = "target")]
    ready_file: Option<PathBuf>,
    /// With --target: start the client with this command and end it after the drill. It gets PROVIDER_URL, CLIENT_ID,
    /// CLIENT_SECRET, and the port of the target as PORT
    #[arg(last = true, value_name = "COMMAND", requires = "target")]
    command: Vec<String>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    // A drill causes thousands of access records. They are logged only if RUST_LOG is set.
    let environment = Environment::of_process();
    if environment.log_filter().is_some() {
        init_log(&telemetry::Config::default(), &environment, Stream::Stderr)?;
    }
    // The client that the drill starts has a process group of its own, so a terminal that closes ends only the drill.
    let mut hang_up = signal(SignalKind::hangup())?;
    let is_hung_up = async {
        match arguments.command.as_slice() {
            [] => std::future::pending().await,
            _ => hang_up.recv().await,
        }
    };
    tokio::select! {
        result = execute(&arguments) => result,
        _ = signals.next() => Err(Failure::new("stopped before the verdict")),
        _ = is_hung_up => Err(Failure::new("stopped before the verdict")),
    }
}

async fn execute(arguments: &Arguments) -> Result<(), Failure> {
    // The files are created first, so that a wrong path does not waste a drill.
    let html = arguments.report.as_deref().map(create).transpose().map_err(Failure::unavailable)?;
    let json = arguments.json.as_deref().map(create).transpose().map_err(Failure::unavailable)?;
    let junit = arguments.junit.as_deref().map(create).transpose().map_err(Failure::unavailable)?;
    let report = drill(arguments).await?;
    output::text(&report);
    if let Some(mut file) = html {
        file.write_all(report.to_html().as_bytes())?;
    }
    if let Some(mut file) = json {
        writeln!(file, "{:#}", report.to_json())?;
    }
    if let Some(mut file) = junit {
        file.write_all(report.to_junit().as_bytes())?;
    }
    if report.verdict.is_pass() {
        Ok(())
    } else {
        let what = if arguments.target.is_some() { "client" } else { "gateway" };
        Err(Failure::new(format!("the {what} did not pass the drill")))
    }
}

async fn drill(arguments: &Arguments) -> Result<Report, Failure> {
    let Arguments { scenario, rate, duration, listen, management, allow_remote_management, .. } = *arguments;
    let target = match arguments.target.clone() {
        Some(url) => {
            let command = arguments.command.clone();
            Target::External { url, listen, management, allow_remote_management, command }
        }
        None => Target::InProcess,
    };
    let seed = arguments.seed.unwrap_or_else(|| u64::from(fastrand::u16(..)));
    // A file of a killed drill must not look like this one's.
    let ready_file = arguments.ready_file.as_deref().map(ReadyFile::at).transpose()?;
    let config = Config { scenario, rate, duration, seed, target };
    let drill = Drill::start(config, Clock::system()).await.map_err(failure)?;
    output::text(drill.greeting());
    if let Some(file) = &ready_file {
        file.write(&format!("{}\n", connection(drill.sandbox(), None)?))?;
    }
    let mut progress_line = ProgressLine { is_terminal: io::stdout().is_terminal(), printed: None };
    let report = drill.run(|progress| progress_line.show(progress)).await;
    progress_line.end();
    report.map_err(failure)
}

fn failure(error: DrillError) -> Failure {
    match error {
        DrillError::GatewayEnded | DrillError::ClientEnded(_) => Failure::new(error),
        DrillError::Sandbox(error) => not_started(error),
        other => Failure::unavailable(error_chain::chain(&other)),
    }
}

/// The progress: one redrawn line on a terminal, otherwise a line every few seconds.
struct ProgressLine {
    is_terminal: bool,
    printed: Option<Duration>,
}

impl ProgressLine {
    fn show(&mut self, progress: &Progress) {
        if self.is_terminal {
            // Carriage return, text, "erase to the end of the line".
            output::text(format!("\r{}\x1b[K", progress_text(progress)));
        } else if self.printed.is_none_or(|printed| progress.elapsed >= printed + PROGRESS_INTERVAL) {
            output::text(format!("{}\n", progress_text(progress)));
        } else {
            return;
        }
        self.printed = Some(progress.elapsed);
    }

    fn end(&self) {
        if self.is_terminal && self.printed.is_some() {
            output::text("\n");
        }
    }
}

fn progress_text(progress: &Progress) -> String {
    let Progress { elapsed, duration, sent, failed, kid, key_set_age, is_broken } = progress;
    let (elapsed, duration) = (elapsed.min(duration).as_secs_f64(), duration.as_secs_f64());
    let kid: String = kid.as_deref().unwrap_or("none").chars().filter(|c| !c.is_control()).take(24).collect();
    let age = key_set_age.map_or_else(|| "unknown".to_owned(), |age| format!("{:.1} s", age.as_secs_f64()));
    let outage = if *is_broken { "  OUTAGE" } else { "" };
    format!("{elapsed:5.1}/{duration:.0} s  sent {sent}  failed {failed}  key {kid}  set {age} old{outage}")
}

fn create(path: &Path) -> io::Result<File> {
    File::create(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = SpanParser::new().parse_unsigned_duration(text);
    let duration = duration.map_err(|_| "not a duration: use the units s and m, such as 20s or 2m".to_owned())?;
    if (Duration::from_secs(1)..=MAX_DURATION).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("must be between 1s and {}s", MAX_DURATION.as_secs()))
    }
}

fn http_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{error}"))?;
    let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
    if is_http { Ok(url) } else { Err("must begin with http:// or https://".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_and_bounds() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        for wrong in ["20", "", "-1s", "0s", "500ms", "11m", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_url_of_a_gateway_is_http_or_https() {
        assert!(http_url("http://127.0.0.1:8080").is_ok());
        for wrong in ["127.0.0.1:8080", "unix:/run/x", "ftp://h/", ""] {
            assert!(http_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_progress_line_has_counts_key_and_outage() {
        let progress = Progress {
            elapsed: Duration::from_millis(4200),
            duration: Duration::from_secs(20),
            sent: 630,
            failed: 2,
            kid: Some("sandbox-1a2b3c4d-3".to_owned()),
            key_set_age: Some(Duration::from_millis(800)),
            is_broken: true,
        };
        assert_eq!(
            progress_text(&progress),
            "  4.2/20 s  sent 630  failed 2  key sandbox-1a2b3c4d-3  set 0.8 s old  OUTAGE"
        );
    }
}
