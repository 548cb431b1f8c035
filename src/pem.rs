//! Certificates and private keys in PEM files (RFC 7468), and what is made of them.

mod reload;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

pub(crate) use reload::{FileContents, Loader, Reloaded};

/// A file as it was at one moment. Wiped afterwards: it may hold a private key.
pub(crate) struct PemFile {
    path: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
}

impl PemFile {
    /// Reads the file. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self, BadPem> {
        let bytes =
            fs::read(path).map_err(|error| BadPem::Unreadable { path: path.to_owned(), cause: error.kind() })?;
        Ok(Self { path: path.to_owned(), bytes: Zeroizing::new(bytes) })
    }

    /// Where it was read.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its certificates, in their order: at least one.
    ///
    /// # Errors
    /// When there is none, or the file is not whole.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, BadPem> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        let found = found.map_err(|cause| self.malformed(cause))?;
        if found.is_empty() { Err(BadPem::NoCertificate(self.path.clone())) } else { Ok(found) }
    }

    /// Its private key.
    ///
    /// # Errors
    /// When there is none, or the file is not whole.
    pub(crate) fn private_key(&self) -> Result<PrivateKeyDer<'static>, BadPem> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|cause| self.malformed(cause))
    }

    fn malformed(&self, cause: pem::Error) -> BadPem {
        BadPem::Malformed { path: self.path.clone(), cause }
    }
}

impl fmt::Debug for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PemFile({})", self.path.display())
    }
}

/// A file that does not hold what it should. Never repeats what it holds.
#[derive(Debug, thiserror::Error)]
pub enum BadPem {
    /// It cannot be read.
    #[error("{}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::ErrorKind,
    },
    /// It is not PEM, not whole, or has not the kind of section that is asked for.
    #[error("{}: {cause}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: pem::Error,
    },
    /// It holds no certificate.
    #[error("{}: holds no certificate", .0.display())]
    NoCertificate(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> (tempfile::NamedTempFile, PemFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        let read = PemFile::read(file.path()).unwrap();
        (file, read)
    }

    #[test]
    fn what_is_missing_is_told_by_the_files_name() {
        let (on_disk, empty) = file("canary");
        let name = on_disk.path().display().to_string();
        for fault in [empty.certificates().unwrap_err().to_string(), empty.private_key().unwrap_err().to_string()] {
            assert!(fault.starts_with(&name) && !fault.contains("canary"), "{fault}");
        }
        let fault = PemFile::read(Path::new("/nowhere/key.pem")).unwrap_err().to_string();
        assert_eq!(fault, "/nowhere/key.pem: entity not found");
        assert!(!format!("{empty:?}").contains("canary"));
    }

    #[test]
    fn a_file_that_was_cut_off_is_no_file_with_less_in_it() {
        let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        let whole = made.cert.pem();
        let (_on_disk, cut) = file(&whole[..whole.len() / 2]);
        assert!(matches!(cut.certificates(), Err(BadPem::Malformed { .. })));
        let (_on_disk, both) = file(&(whole.clone() + &whole));
        assert_eq!(both.certificates().unwrap().len(), 2);
    }
}
