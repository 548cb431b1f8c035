//! The `jwe-gateway` process: arguments, configuration (all faults at once), assembly, service, drain.
//!
//! [`jwe_gateway::cli`] has the commands and the exit codes, [`jwe_gateway::app`] the assembly.

use std::process::ExitCode;

fn main() -> ExitCode {
    jwe_gateway::cli::main()
}
