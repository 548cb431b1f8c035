//! No core dumps of this process.
//!
//! A dump contains bodies, keys and tokens. It would go to a disk, or to a program that collects crash reports.
//!
//! A limit of 0 bytes prevents the file. A program in `core_pattern` gets a dump in spite of the limit. On Linux the
//! process is therefore also marked as not dumpable. Other processes of the same user can then neither trace it nor
//! read its memory.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Disables core dumps. A later change back is impossible.
///
/// # Errors
/// If the operating system refuses.
pub(super) fn disable() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
