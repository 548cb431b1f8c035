//! `jwe-gateway completions`: prints a script that completes commands and flags in a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::failure::Failure;
use super::output;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, super::NAME, &mut script);
    output::bytes(&script)?;
    Ok(())
}
