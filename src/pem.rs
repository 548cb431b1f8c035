//! Certificates and private keys from PEM files (RFC 7468).

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::watched_files::{FileContent, UnreadableFile};

/// Reads the certificates of a file, in their order. There is at least one. Blocks.
///
/// # Errors
/// See [`certificates`].
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BadPem> {
    certificates(&FileContent::read(path)?)
}

/// The certificates of a file, in their order. There is at least one.
///
/// # Errors
/// If the file has no certificate, or ends within one.
pub(crate) fn certificates(file: &FileContent) -> Result<Vec<CertificateDer<'static>>, BadPem> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(file.bytes()).collect();
    let certificates = certificates.map_err(|cause| malformed(file, cause))?;
    if certificates.is_empty() { Err(BadPem::NoCertificate(file.path().to_owned())) } else { Ok(certificates) }
}

/// The first private key of a file.
///
/// # Errors
/// If the file has no private key, or ends within one.
pub(crate) fn private_key(file: &FileContent) -> Result<PrivateKeyDer<'static>, BadPem> {
    PrivateKeyDer::from_pem_slice(file.bytes()).map_err(|cause| malformed(file, cause))
}

fn malformed(file: &FileContent, cause: pem::Error) -> BadPem {
    BadPem::Malformed { path: file.path().to_owned(), cause }
}

/// A PEM file that cannot be used. The text never repeats the file's content.
#[derive(Debug, thiserror::Error)]
pub enum BadPem {
    #[error(transparent)]
    Unreadable(#[from] UnreadableFile),
    /// The file is not PEM, is incomplete, or lacks the kind of section that is needed.
    #[error("{}: {cause}", path.display())]
    Malformed { path: PathBuf, cause: pem::Error },
    #[error("{}: holds no certificate", .0.display())]
    NoCertificate(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> (tempfile::NamedTempFile, FileContent) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let read = FileContent::read(file.path()).unwrap();
        (file, read)
    }

    #[test]
    fn an_error_names_the_file_and_does_not_repeat_its_content() {
        let (on_disk, not_pem) = file("canary");
        let path = on_disk.path().display().to_string();
        for error in [certificates(&not_pem).unwrap_err().to_string(), private_key(&not_pem).unwrap_err().to_string()] {
            assert!(error.starts_with(&path) && !error.contains("canary"), "{error}");
        }
        let error = read_certificates(Path::new("/nowhere/ca.pem")).unwrap_err().to_string();
        assert_eq!(error, "/nowhere/ca.pem: cannot be read: no such file");
    }

    #[test]
    fn a_truncated_file_is_an_error_and_two_certificates_are_two() {
        let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        let whole = made.cert.pem();
        let (_on_disk, truncated) = file(&whole[..whole.len() / 2]);
        assert!(matches!(certificates(&truncated), Err(BadPem::Malformed { .. })));
        let (_on_disk, both) = file(&(whole.clone() + &whole));
        assert_eq!(certificates(&both).unwrap().len(), 2);
    }
}
