//! Checks of the files that settings name. They are checked while the configuration is read, so that an
//! operator sees a wrong path at once and not at the first request.

use std::io;
use std::path::{Path, PathBuf};

use super::report::Reporter;
use super::setting::Setting;
use crate::error_chain::io_cause;
use crate::secret::SecretSource;

/// Why a file cannot be read, for a message.
pub(super) fn reason(error: &io::Error) -> String {
    io_cause(error.kind())
}

/// Reports a file that cannot be read, or has no line that begins a PEM certificate.
pub(super) fn check_certificates(file: &Setting<PathBuf>, report: &Reporter) {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    match std::fs::read(&file.value) {
        Err(error) => file.fault(report, format!("{} cannot be read: {}", file.value.display(), reason(&error))),
        Ok(bytes) if !bytes.windows(BEGIN.len()).any(|window| window == BEGIN) => {
            file.fault(report, format!("{} contains no PEM certificate", file.value.display()));
        }
        Ok(_) => {}
    }
}

/// Reports a file that cannot be opened, and a directory. `setting` names the file `path`.
pub(super) fn check_readable(setting: &Setting<impl Sized>, path: &Path, report: &Reporter) {
    let open = || match std::fs::File::open(path)?.metadata()?.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Ok(()),
    };
    if let Err(error) = open() {
        setting.fault(report, format!("{} cannot be read: {}", path.display(), reason(&error)));
    }
}

/// Reports a private key that cannot be opened, and warns if every user can read it.
pub(super) fn check_private_key(file: &Setting<PathBuf>, report: &Reporter) {
    if file.is_faulty() {
        return;
    }
    check_readable(file, &file.value, report);
    warn_if_world_readable(file, &SecretSource::File(file.value.clone()), report);
}

/// Warns if every user of this machine can read a secret.
pub(super) fn warn_if_world_readable(file: &Setting<impl Sized>, secret: &SecretSource, report: &Reporter) {
    if secret.is_world_readable() {
        report.warn(&file.origin, &file.key, "every user of this machine can read the file: run chmod 600 on it");
    }
}
