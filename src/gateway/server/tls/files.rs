//! The files that the listener's TLS is made of, and what can be wrong with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::pem::{BadPem, FileContents, Loader, PemFile};

/// What is offered by ALPN, best first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// `tls` under `[listen]`: PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The listener's certificate, and those that lead from it to a root, in this order.
    pub certificate: PathBuf,
    /// The key of its first certificate.
    pub private_key: PathBuf,
    /// Who may sign callers' certificates; without it callers are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// Whether a caller without a certificate is turned away. Means nothing without `client_ca`.
    pub require_client_certificate: bool,
}

/// Why the listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file does not hold what it should.
    #[error(transparent)]
    Pem(#[from] BadPem),
    /// A file holds a certificate that cannot be used.
    #[error("{}: {cause}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: rustls::Error,
    },
    /// The certificate's validity cannot be read.
    #[error("{}: {cause}", path.display())]
    Validity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: x509_cert::der::Error,
    },
    /// The key is of no use, or another certificate's.
    #[error("{} with {}: {cause}", certificate.display(), private_key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        private_key: PathBuf,
        /// What is wrong with the two.
        cause: rustls::Error,
    },
    /// The client CA cannot verify anybody.
    #[error("{}: {cause}", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: rustls::server::VerifierBuilderError,
    },
    /// rustls refuses its own defaults.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// What handshakes are made with, and the end of its certificate.
#[derive(Clone, Debug)]
pub(crate) struct Presented {
    pub(super) config: Arc<ServerConfig>,
    pub(super) not_after: SystemTime,
}

impl Loader for TlsFiles {
    type Output = Presented;
    type Fault = TlsError;

    fn files(&self) -> Vec<&Path> {
        let files = [Some(&self.certificate), Some(&self.private_key), self.client_ca.as_ref()];
        files.into_iter().flatten().map(PathBuf::as_path).collect()
    }

    fn make(&self, contents: &FileContents) -> Result<Presented, TlsError> {
        let (certificate, key) = (contents.of(&self.certificate)?, contents.of(&self.private_key)?);
        let client_ca = self.client_ca.as_ref().map(|path| contents.of(path)).transpose()?;
        let chain = certificate.certificates()?;
        let not_after = not_after(&chain, certificate.path())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match client_ca {
            Some(authorities) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots(authorities)?, provider);
                let verifier =
                    if self.require_client_certificate { verifier } else { verifier.allow_unauthenticated() };
                let path = authorities.path().to_owned();
                builder.with_client_cert_verifier(verifier.build().map_err(|cause| TlsError::ClientCa { path, cause })?)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key.private_key()?).map_err(|cause| TlsError::Pair {
            certificate: certificate.path().to_owned(),
            private_key: key.path().to_owned(),
            cause,
        })?;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        if client_ca.is_some() {
            // A resumed session shows no certificate: one that has expired since would still do.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Presented { config: Arc::new(config), not_after })
    }

    fn name(&self) -> &str {
        "the listener's TLS"
    }

    fn adopted(&self, presented: &Presented) {
        let certificate = self.certificate.display();
        match presented.not_after.duration_since(SystemTime::now()) {
            Ok(left) => {
                tracing::debug!(%certificate, valid_for_s = left.as_secs(), "the listener's certificate is in use")
            }
            Err(_) => tracing::warn!(%certificate, "the listener's certificate has expired: callers will refuse it"),
        }
    }
}

fn roots(authorities: &PemFile) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities.certificates()? {
        let path = || authorities.path().to_owned();
        roots.add(certificate).map_err(|cause| TlsError::Certificate { path: path(), cause })?;
    }
    Ok(Arc::new(roots))
}

fn not_after(chain: &[CertificateDer<'_>], path: &Path) -> Result<SystemTime, TlsError> {
    let leaf = chain.first().ok_or_else(|| BadPem::NoCertificate(path.to_owned()))?;
    end_of(leaf).map_err(|cause| TlsError::Validity { path: path.to_owned(), cause })
}

pub(super) fn end_of(certificate: &CertificateDer<'_>) -> Result<SystemTime, x509_cert::der::Error> {
    Ok(Certificate::from_der(certificate)?.tbs_certificate.validity.not_after.to_system_time())
}
