//! The output of `check`, `doctor`, `keys` and `lint` with `--json`: one object on stdout.
//!
//! The tables in `docs/commands.md` list the members. [`VERSION`] increases when a member is removed or changes its meaning.
//! The exit codes and the text on stderr are the same as without `--json`.

use serde_json::{Value, json};

use super::output;
use crate::config::{ConfigFault, ConfigFaults};

const VERSION: u32 = 1;

/// Prints the object with `version` and `ok` before its `members`.
pub(super) fn print(is_ok: bool, mut members: Value) {
    let mut document = json!({ "version": VERSION, "ok": is_ok });
    if let (Some(document), Some(members)) = (document.as_object_mut(), members.as_object_mut()) {
        document.append(members);
    }
    output::text(format_args!("{document:#}\n"));
}

/// Prints the faults of a configuration, which end every command that reads one.
pub(super) fn print_faults(faults: &ConfigFaults) {
    let listed: Vec<_> = faults.iter().map(fault).collect();
    print(false, json!({ "faults": listed, "warnings": faults.warnings() }));
}

fn fault(fault: &ConfigFault) -> Value {
    json!({ "origin": fault.origin().to_string(), "key": fault.key(), "message": fault.message() })
}
