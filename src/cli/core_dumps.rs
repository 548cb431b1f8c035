//! No core dumps of this process.
//!
//! A dump contains bodies, keys and tokens. It would go to a disk, or to a program that collects crash reports.
//!
//! A limit of 0 bytes prevents the file. A program in `core_pattern` gets a dump in spite of the limit, so on Linux
//! the process also says that it must not be dumped. Other processes of the same user can then neither trace it nor
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn the_process_cannot_be_dumped() {
        disable().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let Rlimit { current, maximum } = getrlimit(Resource::Core);
        assert_eq!((current, maximum), (Some(0), Some(0)));
    }
}
