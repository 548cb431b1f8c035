//! `jwe-gateway schema`: prints the JSON Schema of the configuration file.

use super::failure::Failure;
use super::output;
use crate::config;

pub(super) fn run() -> Result<(), Failure> {
    output::bytes(format!("{:#}\n", config::schema()).as_bytes())?;
    Ok(())
}
