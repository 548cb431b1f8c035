//! The files that the listener's TLS is made of, and what can be wrong with them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, Digest, SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use zeroize::Zeroizing;

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
pub enum BadTls {
    /// A file cannot be read.
    #[error("{}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A file is not PEM, or not whole.
    #[error("{}: {cause}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: pem::Error,
    },
    /// A file holds no certificate.
    #[error("{}: holds no certificate", .0.display())]
    NoCertificate(PathBuf),
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

/// The files as they were at one moment. Wiped afterwards: one is a private key.
pub(super) struct Contents {
    certificate: Vec<u8>,
    private_key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    pub(super) async fn read(files: &TlsFiles) -> Result<Self, BadTls> {
        let client_ca = match &files.client_ca {
            Some(path) => Some(read(path).await?),
            None => None,
        };
        let private_key = Zeroizing::new(read(&files.private_key).await?);
        Ok(Self { certificate: read(&files.certificate).await?, private_key, client_ca })
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut context = Context::new(&SHA256);
        for file in [&self.certificate, &*self.private_key, self.client_ca.as_deref().unwrap_or_default()] {
            // With its length, so that no byte can move from one file to the next unseen.
            context.update(&(file.len() as u64).to_be_bytes());
            context.update(file);
        }
        Fingerprint(context.finish())
    }

    /// The configuration they make, and the end of its certificate.
    pub(super) fn config(&self, files: &TlsFiles) -> Result<(ServerConfig, SystemTime), BadTls> {
        let chain = certificates(&self.certificate, &files.certificate)?;
        let not_after = not_after(&chain, &files.certificate)?;
        let private_key = PrivateKeyDer::from_pem_slice(&self.private_key)
            .map_err(|cause| BadTls::Pem { path: files.private_key.clone(), cause })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match (&self.client_ca, &files.client_ca) {
            (Some(authorities), Some(path)) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots(authorities, path)?, provider);
                let verifier =
                    if files.require_client_certificate { verifier } else { verifier.allow_unauthenticated() };
                let verifier = verifier.build().map_err(|cause| BadTls::ClientCa { path: path.clone(), cause })?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, private_key).map_err(|cause| BadTls::Pair {
            certificate: files.certificate.clone(),
            private_key: files.private_key.clone(),
            cause,
        })?;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        if files.client_ca.is_some() {
            // A resumed session shows no certificate: one that has expired since would still do.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok((config, not_after))
    }
}

/// What tells one state of the files from another, and nothing about the key.
#[derive(Clone)]
pub(super) struct Fingerprint(Digest);

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref() == other.0.as_ref()
    }
}

impl Eq for Fingerprint {}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, BadTls> {
    tokio::fs::read(path).await.map_err(|cause| BadTls::Unreadable { path: path.to_owned(), cause })
}

fn certificates(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|cause| BadTls::Pem { path: path.to_owned(), cause })?;
    if found.is_empty() { Err(BadTls::NoCertificate(path.to_owned())) } else { Ok(found) }
}

fn roots(text: &[u8], path: &Path) -> Result<Arc<RootCertStore>, BadTls> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(text, path)? {
        roots.add(certificate).map_err(|cause| BadTls::Certificate { path: path.to_owned(), cause })?;
    }
    Ok(Arc::new(roots))
}

fn not_after(chain: &[CertificateDer<'_>], path: &Path) -> Result<SystemTime, BadTls> {
    let leaf = chain.first().ok_or_else(|| BadTls::NoCertificate(path.to_owned()))?;
    end_of(leaf).map_err(|cause| BadTls::Validity { path: path.to_owned(), cause })
}

pub(super) fn end_of(certificate: &CertificateDer<'_>) -> Result<SystemTime, x509_cert::der::Error> {
    Ok(Certificate::from_der(certificate)?.tbs_certificate.validity.not_after.to_system_time())
}
