//! The commands, one file each.
//!
//! A result goes to stdout and all other text to stderr. `run` is a service and logs to stdout.

mod admin_client;
mod check;
mod completions;
mod core_dumps;
#[cfg(feature = "sandbox")]
mod demo;
mod doctor;
#[cfg(feature = "sandbox")]
mod drill;
mod failure;
mod health;
mod json;
mod keys;
mod lint;
mod man;
#[cfg(feature = "sandbox")]
mod open;
mod reload;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;
mod schema;
mod seal;
#[cfg(feature = "sandbox")]
mod secrets;
mod shutdown;
mod signals;
mod source;
mod systemd;

use std::io;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};
use failure::Failure;
use tokio::runtime::{Builder, Runtime};

use crate::build_info::BUILD;
use crate::config::Environment;
use crate::telemetry::{self, InitError};

/// Printed if no command is given.
#[cfg(feature = "sandbox")]
const FIRST_STEPS: &str = "\
Three commands to start with:

  jwe-gateway demo       runs a gateway and a simulated provider, and prints each request
  jwe-gateway sandbox    runs the simulated provider, and prints the `run` command for it
  jwe-gateway run --upstream https://api.flanks.io --client-id ID --client-secret-file FILE
                         runs the gateway: send plain JSON to http://127.0.0.1:8080

`jwe-gateway help` lists all commands.
";

#[cfg(not(feature = "sandbox"))]
const FIRST_STEPS: &str = "\
A command to start with:

  jwe-gateway run --upstream https://api.flanks.io --client-id ID --client-secret-file FILE
                         runs the gateway: send plain JSON to http://127.0.0.1:8080

`jwe-gateway help` lists all commands.
";

const NAME: &str = "jwe-gateway";

/// The output of `--version`. `-V` prints the first line.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| BUILD.to_string());

#[derive(Parser)]
#[command(name = NAME, version, long_version = LONG_VERSION.as_str(), about, long_about = None, disable_help_subcommand = false)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the gateway: it accepts plain JSON and sends sealed requests
    Run(run::Arguments),
    /// Run a gateway and a simulated provider, and print what happens to each request
    #[cfg(feature = "sandbox")]
    Demo(demo::Arguments),
    /// Run the simulated provider
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::Arguments),
    /// Rotate keys and revoke tokens under load, and report lost requests
    #[cfg(feature = "sandbox")]
    Drill(drill::Arguments),
    /// Check the configuration: print all faults, or the settings in effect
    Check(check::Arguments),
    /// Try each step of a request, and say which one fails and how to correct it
    Doctor(doctor::Arguments),
    /// Seal JSON from stdin and write the compact JWE to stdout
    Seal(seal::Arguments),
    /// Open a compact JWE from stdin with private keys and write the content to stdout
    #[cfg(feature = "sandbox")]
    Open(open::Arguments),
    /// Say why the provider would refuse a compact JWE
    Lint(lint::Arguments),
    /// Ask a running gateway to read its configuration again
    Reload(reload::Arguments),
    /// Ask whether a running gateway is ready: exit code 0 or 1, for health checks
    Health(health::HealthArguments),
    /// Wait until a running gateway is ready
    Wait(health::WaitArguments),
    /// Ask a running gateway to shut down in order
    Shutdown(shutdown::Arguments),
    /// List a provider's keys, why a key is not usable, and the key that would be used
    Keys(keys::Arguments),
    /// Print the JSON Schema of the configuration file
    Schema,
    /// Print a script that completes commands and flags in a shell
    Completions(completions::Arguments),
    /// Print the manual page, or write all manual pages
    Man(man::Arguments),
}

/// Runs the command that the command line names, and returns the exit code of the process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // If stdout or stderr is closed, there is nowhere to report that.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let Some(verb) = arguments.verb else {
        output::text(FIRST_STEPS);
        return ExitCode::from(2);
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(error).report(),
    };
    let result = runtime.block_on(async {
        match verb {
            Verb::Run(arguments) => run::run(arguments).await,
            #[cfg(feature = "sandbox")]
            Verb::Demo(arguments) => demo::run(arguments).await,
            #[cfg(feature = "sandbox")]
            Verb::Sandbox(arguments) => sandbox::run(arguments).await,
            #[cfg(feature = "sandbox")]
            Verb::Drill(arguments) => drill::run(arguments).await,
            Verb::Check(arguments) => check::run(&arguments).await,
            Verb::Doctor(arguments) => doctor::run(arguments).await,
            Verb::Seal(arguments) => seal::run(arguments).await,
            #[cfg(feature = "sandbox")]
            Verb::Open(arguments) => open::run(arguments).await,
            Verb::Lint(arguments) => lint::run(arguments).await,
            Verb::Keys(arguments) => keys::run(arguments).await,
            Verb::Reload(arguments) => reload::run(arguments).await,
            Verb::Health(arguments) => health::run(arguments).await,
            Verb::Wait(arguments) => health::wait(arguments).await,
            Verb::Shutdown(arguments) => shutdown::run(arguments).await,
            Verb::Schema => schema::run(),
            Verb::Completions(arguments) => completions::run(&arguments),
            Verb::Man(arguments) => man::run(&arguments),
        }
    });
    // A blocking read of stdin cannot be cancelled, and must not keep the process alive.
    runtime.shutdown_background();
    telemetry::flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Returns a runtime for the cores that the process may use. With one core, tasks run on the main thread: no worker
/// thread has to be woken, and no task moves to another thread.
fn runtime() -> io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = if cores == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.enable_all().build()
}

/// Initialises the log of a command that has one.
fn init_log(config: &telemetry::Config, environment: &Environment, stream: telemetry::Stream) -> Result<(), Failure> {
    let filter = environment.log_filter();
    telemetry::init(config, filter.as_deref(), environment.may_colour(), stream).map_err(|error| match error {
        InitError::Writer(_) => Failure::new(error),
        InitError::Filter(_) | InitError::AlreadySet(_) => Failure::config(error),
    })
}

/// All output to stdout and stderr, but the log.
mod output {
    use std::fmt::Display;
    use std::io::{self, Write};

    /// Writes `text` to stdout. A closed stdout is ignored.
    pub(super) fn text(text: impl Display) {
        let mut stdout = io::stdout().lock();
        let _ = write!(stdout, "{text}").and_then(|()| stdout.flush());
    }

    /// Writes a result to stdout. A closed stdout is an error.
    pub(super) fn bytes(bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// Writes a line to stderr.
    pub(super) fn note(text: impl Display) {
        let mut stderr = io::stderr().lock();
        let _ = writeln!(stderr, "jwe-gateway: {text}");
    }
}

#[cfg(all(test, feature = "sandbox"))]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn every_command_line_of_the_documents_is_valid() {
        let mut verbs = std::collections::BTreeSet::new();
        for document in documents().unwrap() {
            let text = std::fs::read_to_string(&document).unwrap();
            for line in text.lines() {
                for arguments in command_lines(line) {
                    let words = arguments.split_whitespace();
                    let parsed = Arguments::try_parse_from(std::iter::once("jwe-gateway").chain(words.clone()));
                    if let Err(error) = parsed
                        && !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
                    {
                        panic!("{}: {line}: {error}", document.display());
                    }
                    verbs.extend(words.take(1).map(str::to_owned));
                }
            }
        }
        assert!(verbs.len() >= 8, "few commands are documented, or the documents were not read: {verbs:?}");
    }

    /// The documents at the top level, and all of `docs/` and `deploy/`.
    fn documents() -> io::Result<Vec<std::path::PathBuf>> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        for directory in ["", "docs", "deploy"] {
            for file in root.join(directory).read_dir()? {
                files.push(file?.path());
            }
        }
        let is_document = |path: &std::path::PathBuf| {
            let is_in_deploy = path.parent().is_some_and(|parent| parent.ends_with("deploy"));
            path.extension().is_some_and(|ext| ext == "md" || (ext == "toml" && is_in_deploy))
        };
        files.retain(is_document);
        Ok(files)
    }

    /// The arguments of each command in a line: a shell line, a comment with one, or flags in backticks.
    fn command_lines(line: &str) -> Vec<&str> {
        let mut found = Vec::new();
        for (index, part) in line.split('`').enumerate() {
            let is_inline = index % 2 == 1;
            for command in part.split(" | ").map(|command| command.trim_start_matches(['#', ' ', '$'])) {
                let cargo = command.split_once("cargo run --release -- ").map(|(_, arguments)| arguments);
                // `jwe-gateway = "0.1"` is a dependency.
                let is_command = |rest: &&str| !rest.starts_with("= ") && (!is_inline || rest.contains(" --"));
                let own = command.strip_prefix("jwe-gateway ").filter(is_command);
                let Some(arguments) = cargo.or(own) else { continue };
                let end = [" #", " > ", " \\", " |"].iter().filter_map(|end| arguments.find(end)).min();
                found.push(&arguments[..end.unwrap_or(arguments.len())]);
            }
        }
        found
    }
}
