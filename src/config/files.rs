//! Files that are named: looked at now, while somebody is looking.

use std::path::PathBuf;

use super::file::Setting;
use super::report::Reporter;
use crate::secret::SecretSource;

/// That it can be read, and holds a certificate at first sight.
pub(super) fn check_certificates(file: &Setting<PathBuf>, report: &Reporter) {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    match std::fs::read(&file.value) {
        Err(error) => file.fault(report, format!("{} cannot be read: {}", file.value.display(), error.kind())),
        Ok(bytes) if !bytes.windows(BEGIN.len()).any(|window| window == BEGIN) => {
            file.fault(report, format!("{} holds no PEM certificate", file.value.display()));
        }
        Ok(_) => {}
    }
}

/// That it can be opened.
pub(super) fn check_readable(file: &Setting<PathBuf>, report: &Reporter) {
    if let Err(error) = std::fs::File::open(&file.value) {
        file.fault(report, format!("{} cannot be read: {}", file.value.display(), error.kind()));
    }
}

/// The same, and that it is not everybody's to read.
pub(super) fn check_private_key(file: &Setting<PathBuf>, report: &Reporter) {
    if file.is_faulty() {
        return;
    }
    check_readable(file, report);
    warn_if_world_readable(file, &SecretSource::File(file.value.clone()), report);
}

/// Says so when every user of this machine can read a secret.
pub(super) fn warn_if_world_readable(file: &Setting<impl Sized>, secret: &SecretSource, report: &Reporter) {
    if secret.is_world_readable() {
        report.warn(&file.origin, &file.key, "every user of this machine can read the file: chmod 600");
    }
}
