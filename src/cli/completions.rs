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
    let script = String::from_utf8(script)?;
    output::bytes(corrected(&script).as_bytes())?;
    Ok(())
}

/// The script with one name for each state. clap_complete 4.6 writes the hyphen of the program's name in two ways, so bash
/// would complete no flag of a command (clap-rs/clap#6421). A script that has one name already stays as it is.
fn corrected(script: &str) -> String {
    script.replace("jwe__subcmd__gateway", "jwe__gateway")
}
