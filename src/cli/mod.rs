//! The commands: one file a verb.
//!
//! Results go to stdout, everything else to stderr; `run` is a service and logs to stdout.

mod check;
#[cfg(feature = "sandbox")]
mod demo;
mod doctor;
#[cfg(feature = "sandbox")]
mod drill;
mod failure;
mod keys;
mod open;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;
mod seal;
#[cfg(feature = "sandbox")]
mod secrets;
mod signals;
mod source;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use failure::Failure;

/// Called without a command.
const FIRST_STEPS: &str = "\
Three commands to begin with:

  jwe-gateway demo       a gateway and a made-up provider in one process: watch requests being sealed
  jwe-gateway sandbox    the made-up provider alone; prints the `run` line that goes with it
  jwe-gateway run --upstream https://api.flanks.io --client-id ID --client-secret-file FILE
                         the gateway: send plain JSON to http://127.0.0.1:8080

`jwe-gateway help` lists the others.
";

#[derive(Parser)]
#[command(name = "jwe-gateway", version, about, long_about = None, disable_help_subcommand = false)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the gateway: plain JSON in, sealed requests out
    Run(run::Arguments),
    /// Watch requests being sealed, against a made-up provider in the same process
    #[cfg(feature = "sandbox")]
    Demo(demo::Arguments),
    /// Run the made-up provider
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::Arguments),
    /// Rotate keys and revoke tokens under load, and say whether a request was lost
    #[cfg(feature = "sandbox")]
    Drill(drill::Arguments),
    /// Check the configuration and print what is in force
    Check(check::Arguments),
    /// Go the way of a request step by step, and say where it ends and what to do about it
    Doctor(doctor::Arguments),
    /// Seal JSON from stdin; the compact JWE goes to stdout
    Seal(seal::Arguments),
    /// Open a compact JWE from stdin with private keys; the content goes to stdout
    Open(open::Arguments),
    /// Show a provider's keys: usable or why not, and which one would be used
    Keys(keys::Arguments),
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed stdout or stderr leaves nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let Some(verb) = arguments.verb else {
        output::text(FIRST_STEPS);
        return ExitCode::from(2);
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(error).report(),
    };
    let ended = runtime.block_on(async {
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
            Verb::Open(arguments) => open::run(arguments).await,
            Verb::Keys(arguments) => keys::run(arguments).await,
        }
    });
    // A blocking read of stdin cannot be interrupted; it must not keep the process either.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The one place that writes to the terminal.
mod output {
    use std::fmt::Display;
    use std::io::{self, Write};

    /// Writes `text` to stdout as it is. A reader that has gone is no failure of ours.
    pub(super) fn text(text: impl Display) {
        let mut stdout = io::stdout().lock();
        let _ = write!(stdout, "{text}").and_then(|()| stdout.flush());
    }

    /// Writes a result to stdout.
    pub(super) fn bytes(bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// Says something on stderr.
    pub(super) fn note(text: impl Display) {
        let mut stderr = io::stderr().lock();
        let _ = writeln!(stderr, "jwe-gateway: {text}");
    }
}

#[cfg(all(test, feature = "sandbox"))]
mod tests {
    use super::*;

    #[test]
    fn every_command_line_of_the_readme_and_the_examples_is_understood() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let documents = ["README.md", "deploy/full.toml", "deploy/sidecar.toml", "deploy/flinks.toml"];
        let mut verbs = std::collections::BTreeSet::new();
        for document in documents {
            let text = std::fs::read_to_string(root.join(document)).unwrap();
            for line in text.lines().map(|line| line.trim_start_matches(['#', ' '])) {
                let cargo = line.split_once("cargo run --release -- ").map(|(_, arguments)| arguments);
                let Some(arguments) = cargo.or_else(|| line.strip_prefix("jwe-gateway ")) else { continue };
                let arguments = arguments.split(" #").next().unwrap_or_default().split_whitespace();
                if let Err(error) = Arguments::try_parse_from(std::iter::once("jwe-gateway").chain(arguments.clone())) {
                    panic!("{document}: {line}: {error}");
                }
                verbs.extend(arguments.take(1).map(str::to_owned));
            }
        }
        assert!(verbs.len() >= 5, "the documents were read: {verbs:?}");
    }
}
