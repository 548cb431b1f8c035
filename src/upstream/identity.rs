//! The certificate that we show the provider, where it wants one.
//!
//! Such certificates may live for an hour. The files are read again for each handshake, of which
//! there are few, so a rotated one needs no restart; files that are broken at that moment (half
//! written, or the one without the other) leave the last good ones in use.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

/// A client certificate and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and those between it and a root.
    pub certificate: PathBuf,
    /// Its private key.
    pub private_key: PathBuf,
}

/// An [`Identity`] that cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum BadIdentity {
    /// A file cannot be read.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::ErrorKind,
    },
    /// A file is not what it should be.
    #[error("{}: {cause}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: pem::Error,
    },
    /// No certificate, or a key that is not the certificate's.
    #[error("{}: {cause}", path.display())]
    Unfit {
        /// The certificate's file.
        path: PathBuf,
        /// What rustls says.
        cause: rustls::Error,
    },
}

/// Shows what the files hold at each handshake.
#[derive(Debug)]
pub(super) struct Shown {
    files: Identity,
    provider: Arc<CryptoProvider>,
    last_good: ArcSwap<CertifiedKey>,
}

impl Shown {
    pub(super) fn new(files: Identity, provider: Arc<CryptoProvider>) -> Result<Self, BadIdentity> {
        let read = read(&files, &provider)?;
        Ok(Self { files, provider, last_good: ArcSwap::from_pointee(read) })
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        match read(&self.files, &self.provider) {
            Ok(read) => self.last_good.store(Arc::new(read)),
            Err(error) => tracing::error!(%error, "the last good client certificate stays in use"),
        }
        let shown = self.last_good.load_full();
        shown.key.choose_scheme(schemes).map(|_| shown)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn read(files: &Identity, provider: &CryptoProvider) -> Result<CertifiedKey, BadIdentity> {
    let pem = |path: &Path, cause| BadIdentity::Pem { path: path.to_owned(), cause };
    let unfit = |cause| BadIdentity::Unfit { path: files.certificate.clone(), cause };
    let certificate = contents(&files.certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let chain = chain.map_err(|cause| pem(&files.certificate, cause))?;
    let key = contents(&files.private_key)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|cause| pem(&files.private_key, cause))?;
    if chain.is_empty() {
        return Err(unfit(rustls::Error::NoCertificatesPresented));
    }
    CertifiedKey::from_der(chain, key, provider).map_err(unfit)
}

fn contents(path: &Path) -> Result<Zeroizing<Vec<u8>>, BadIdentity> {
    let unreadable = |error: io::Error| BadIdentity::Io { path: path.to_owned(), cause: error.kind() };
    std::fs::read(path).map(Zeroizing::new).map_err(unreadable)
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.certificate.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(directory: &Path) -> Identity {
        let made = rcgen::generate_simple_self_signed(vec!["client.test".to_owned()]).unwrap();
        let files = Identity { certificate: directory.join("client.pem"), private_key: directory.join("client.key") };
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.private_key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn a_rotated_certificate_is_shown_and_a_broken_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let files = pair(directory.path());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let shown = Shown::new(files.clone(), provider).unwrap();
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let certificate = || shown.resolve(&[], &schemes).unwrap().cert[0].clone();
        let first = certificate();
        pair(directory.path());
        let second = certificate();
        assert_ne!(first, second);
        let whole = std::fs::read(&files.certificate).unwrap();
        std::fs::write(&files.certificate, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(certificate(), second, "half a file");
        let other = rcgen::generate_simple_self_signed(vec!["client.test".to_owned()]).unwrap();
        std::fs::write(&files.certificate, other.cert.pem()).unwrap();
        assert_eq!(certificate(), second, "a certificate of another key");
        assert!(shown.resolve(&[], &[SignatureScheme::RSA_PKCS1_SHA256]).is_none(), "nothing the server can check");
    }

    #[test]
    fn an_identity_that_is_broken_at_the_start_names_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let files = pair(directory.path());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let fault = |files| Shown::new(files, Arc::clone(&provider)).unwrap_err().to_string();
        let nowhere = Identity { private_key: "/nowhere/key".into(), ..files.clone() };
        assert!(fault(nowhere).contains("/nowhere/key"));
        let swapped = Identity { private_key: files.certificate.clone(), certificate: files.private_key };
        assert!(fault(swapped).contains("client"));
    }
}
