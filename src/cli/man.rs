//! `jwe-gateway man`: the manual pages, from the same description of the commands as `--help`.
//!
//! The page of the program goes to stdout. With `--out` all pages go into a directory, one for the program and one for
//! each command: `jwe-gateway.1`, `jwe-gateway-run.1`.

use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::failure::Failure;
use super::output;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Write a page for the program and one for each command into this directory
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // `help` repeats the other pages.
    let mut program = super::Arguments::command().disable_help_subcommand(true);
    program.build();
    match &arguments.out {
        None => {
            let mut page = Vec::new();
            page_of(&program).render(&mut page)?;
            output::bytes(&page)?;
        }
        Some(directory) => {
            let failure = |error| Failure::new(format!("--out {}: {error}", directory.display()));
            std::fs::create_dir_all(directory).map_err(failure)?;
            for command in std::iter::once(&program).chain(program.get_subcommands()) {
                page_of(command).generate_to(directory).map_err(failure)?;
            }
        }
    }
    Ok(())
}

/// The page of a command. Its foot has name and version of the program, and no date, so that a build can be repeated.
fn page_of(command: &Command) -> Man {
    Man::new(command.clone()).source(concat!("jwe-gateway ", env!("CARGO_PKG_VERSION")))
}
