//! Opens a file that no other user can have written.
//!
//! The keys of the file decide what can read the bodies. So the file must belong to the user of the process or to
//! root, and no other user may write to it. The directory is not checked, because a volume of Kubernetes is often
//! writable by all. Another user of such a directory can remove the file, but a file of their own is refused.

use std::fs::File;
use std::io;
use std::path::Path;

/// Why another user can have written the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTrusted {
    #[cfg(unix)]
    #[error("it is not a regular file: delete it")]
    NotRegular,
    #[cfg(unix)]
    #[error(
        "other users can write to the file (mode {mode:04o}): delete it, or check its keys and run chmod 600 on it"
    )]
    WritableByOthers { mode: u32 },
    #[cfg(unix)]
    #[error(
        "user {owner} owns the file, and the gateway runs as user {own}: delete it, or check its keys and change the owner"
    )]
    OtherOwner { owner: u32, own: u32 },
}

/// Opens the file and checks that no other user can have written it. The open file is checked and not the path, which
/// can lead to another file a moment later.
///
/// # Errors
/// If the file cannot be opened.
#[cfg(unix)]
pub(super) fn open_trusted(path: &Path) -> io::Result<Result<File, NotTrusted>> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

    use rustix::fs::OFlags;

    // A named pipe that another user made would block the start without this flag.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Err(NotTrusted::NotRegular));
    }
    let access = check_access(metadata.mode(), metadata.uid(), rustix::process::geteuid().as_raw());
    Ok(access.map(|()| file))
}

#[cfg(not(unix))]
pub(super) fn open_trusted(path: &Path) -> io::Result<Result<File, NotTrusted>> {
    File::open(path).map(Ok)
}

/// Checks a file with this mode and owner for a process of user `own`.
#[cfg(unix)]
fn check_access(mode: u32, owner: u32, own: u32) -> Result<(), NotTrusted> {
    const ROOT: u32 = 0;
    const GROUP_AND_OTHERS_WRITE: u32 = 0o022;
    if owner != own && owner != ROOT {
        return Err(NotTrusted::OtherOwner { owner, own });
    }
    if mode & GROUP_AND_OTHERS_WRITE != 0 {
        return Err(NotTrusted::WritableByOthers { mode: mode & 0o7777 });
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_no_other_user_can_write_is_trusted() {
        const OWN: u32 = 1000;
        for (mode, owner) in [(0o100_600, OWN), (0o100_644, OWN), (0o100_644, 0), (0o100_400, 0)] {
            assert_eq!(check_access(mode, owner, OWN), Ok(()), "{mode:o} {owner}");
        }
        for mode in [0o100_602, 0o100_620, 0o100_666] {
            let refused = check_access(mode, OWN, OWN);
            assert_eq!(refused, Err(NotTrusted::WritableByOthers { mode: mode & 0o777 }), "{mode:o}");
        }
        let other = NotTrusted::OtherOwner { owner: 1001, own: OWN };
        assert_eq!(check_access(0o100_600, 1001, OWN), Err(other));
        assert_eq!(check_access(0o100_600, 1001, 0), Err(NotTrusted::OtherOwner { owner: 1001, own: 0 }));
        assert_eq!(
            other.to_string(),
            "user 1001 owns the file, and the gateway runs as user 1000: delete it, or check its keys and change the owner"
        );
    }
}
