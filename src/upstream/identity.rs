//! The client certificate, for a provider that asks for one.
//!
//! Such certificates may be valid for an hour only. The gateway therefore re-reads the files when they
//! change (see [`Reloaded`]); a rotation needs no restart. Open connections keep the certificate that
//! they began with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::pem::{self, BadPem};
use crate::watched_files::{FileContents, Loader, Reloaded, UnreadableFile};

/// A client certificate and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by its intermediate certificates.
    pub certificate: PathBuf,
    /// Its private key.
    pub private_key: PathBuf,
}

/// Why an [`Identity`] cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadIdentity {
    /// A file has no certificate or key.
    #[error(transparent)]
    Pem(#[from] BadPem),
    /// A file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableFile),
    /// The private key does not belong to the certificate, or its type is not supported.
    #[error("{}: {cause}", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// The error of rustls.
        cause: rustls::Error,
    },
}

/// Presents the certificate that the files hold at the time of each handshake. All clones see a reload.
#[derive(Clone, Debug)]
pub(super) struct ClientCertResolver(pub(super) Arc<Reloaded<Files>>);

/// Loads the certificate from its files.
pub(super) struct Files {
    identity: Identity,
    provider: Arc<CryptoProvider>,
    name: String,
}

impl ClientCertResolver {
    pub(super) fn new(identity: Identity, provider: Arc<CryptoProvider>) -> Result<Self, BadIdentity> {
        let name = format!("the client certificate {identity}");
        Ok(Self(Arc::new(Reloaded::load(Files { identity, provider, name })?)))
    }

    /// The end of validity of the certificate in use. `None` if it cannot be read: a server would refuse it.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        let certified = self.0.current();
        let leaf = Certificate::from_der(certified.cert.first()?).ok()?;
        Some(leaf.tbs_certificate.validity.not_after.to_system_time())
    }
}

impl ResolvesClientCert for ClientCertResolver {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let certified = self.0.current();
        certified.key.choose_scheme(schemes).map(|_| certified)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Loader for Files {
    type Output = Arc<CertifiedKey>;
    type Error = BadIdentity;

    fn files(&self) -> Vec<&Path> {
        vec![&self.identity.certificate, &self.identity.private_key]
    }

    fn load(&self, contents: &FileContents) -> Result<Arc<CertifiedKey>, BadIdentity> {
        let Identity { certificate, private_key } = &self.identity;
        let (certificate, key) = (contents.of(certificate)?, contents.of(private_key)?);
        let certified = CertifiedKey::from_der(pem::certificates(certificate)?, pem::private_key(key)?, &self.provider);
        certified.map(Arc::new).map_err(|cause| BadIdentity::Unusable { path: certificate.path().to_owned(), cause })
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.certificate.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::watched_files;

    fn pair(directory: &Path) -> Identity {
        let made = rcgen::generate_simple_self_signed(vec!["client.test".to_owned()]).unwrap();
        let files = Identity { certificate: directory.join("client.pem"), private_key: directory.join("client.key") };
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.private_key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    #[tokio::test]
    async fn a_rotated_certificate_is_presented_and_one_with_a_foreign_key_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let files = pair(directory.path());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let resolver = ClientCertResolver::new(files.clone(), provider).unwrap();
        let (clock, control) = Clock::manual();
        let watched = [Arc::clone(&resolver.0)];
        let refresh = tokio::spawn(async move { watched_files::run_refresh(&watched, &clock).await });
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let certificate = || resolver.resolve(&[], &schemes).unwrap().cert[0].clone();
        let wait_until = async |condition: &dyn Fn() -> bool| {
            let waiting = async {
                while !condition() {
                    control.advance(Duration::from_secs(10));
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
        };
        let first = certificate();
        let other = rcgen::generate_simple_self_signed(vec!["client.test".to_owned()]).unwrap();
        std::fs::write(&files.certificate, other.cert.pem()).unwrap();
        wait_until(&|| resolver.0.failed_states() == 1).await;
        assert_eq!(certificate(), first);
        std::fs::write(&files.private_key, other.signing_key.serialize_pem()).unwrap();
        wait_until(&|| resolver.0.reloads() == 1).await;
        assert_eq!(certificate(), *other.cert.der());
        assert!(
            resolver.resolve(&[], &[SignatureScheme::RSA_PKCS1_SHA256]).is_none(),
            "the server supports no scheme of this key"
        );
        refresh.abort();
    }

    #[test]
    fn an_error_at_start_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let files = pair(directory.path());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let fault = |files| ClientCertResolver::new(files, Arc::clone(&provider)).unwrap_err().to_string();
        let nowhere = Identity { private_key: "/nowhere/key".into(), ..files.clone() };
        assert!(fault(nowhere).contains("/nowhere/key"));
        let swapped = Identity { private_key: files.certificate.clone(), certificate: files.private_key };
        assert!(fault(swapped).contains("client"));
    }
}
