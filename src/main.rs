//! The `jwe-gateway` process. Its biography: arguments, configuration (all faults at once),
//! assembly, addresses, service, drain. See [`jwe_gateway::cli`] for the commands and the exit
//! codes, and [`jwe_gateway::app`] for the assembly.

use std::process::ExitCode;

fn main() -> ExitCode {
    jwe_gateway::cli::main()
}
