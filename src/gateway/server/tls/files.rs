//! Loads the listener's TLS configuration from PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::pem::{self, BadPem};
use crate::watched_files::{FileContent, FileContents, Loader, UnreadableFile};

/// The protocols offered by ALPN, in order of preference.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// `tls` under `[listen]`. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The listener's certificate, followed by its intermediate certificates.
    pub certificate: PathBuf,
    /// The private key of the first certificate.
    pub private_key: PathBuf,
    /// The CAs that sign callers' certificates. If none, the gateway asks for no client certificate.
    pub client_ca: Option<PathBuf>,
    /// Whether the gateway refuses connections without a client certificate. Has no effect without
    /// `client_ca`.
    pub require_client_certificate: bool,
}

/// Why the listener's TLS files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Unreadable(#[from] UnreadableFile),
    #[error(transparent)]
    Pem(#[from] BadPem),
    /// A certificate of the client CA file cannot be used as a root.
    #[error("{}: {cause}", path.display())]
    Root { path: PathBuf, cause: rustls::Error },
    /// The validity of the listener's certificate cannot be parsed.
    #[error("{}: the certificate's validity cannot be read: {cause}", path.display())]
    Validity { path: PathBuf, cause: x509_cert::der::Error },
    /// The new certificate is not valid now, and the one in use is.
    #[error("{}: the certificate {reason}, and the certificate in use is valid", path.display())]
    NotValidNow { path: PathBuf, reason: NotValidNow },
    /// The private key does not belong to the certificate, or its type is not supported.
    #[error("{} with {}: {cause}", certificate.display(), private_key.display())]
    Pair { certificate: PathBuf, private_key: PathBuf, cause: rustls::Error },
    /// The client CA file cannot verify any certificate.
    #[error("{}: {cause}", path.display())]
    ClientCa { path: PathBuf, cause: rustls::server::VerifierBuilderError },
    /// rustls refuses its own default protocol versions.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Why a certificate is not valid at a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotValidNow {
    #[error("expired on {}", utc(*.0))]
    Expired(SystemTime),
    #[error("is not valid before {}", utc(*.0))]
    NotYet(SystemTime),
}

/// The TLS configuration of new handshakes, and the validity of its certificate.
#[derive(Clone, Debug)]
pub(crate) struct LoadedTls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) validity: Validity,
}

/// The time in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Validity {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, x509_cert::der::Error> {
        let validity = Certificate::from_der(certificate)?.tbs_certificate.validity;
        let (not_before, not_after) = (validity.not_before.to_system_time(), validity.not_after.to_system_time());
        Ok(Self { not_before, not_after })
    }

    /// Both ends belong to the validity (RFC 5280 section 4.1.2.5).
    fn check(&self, now: SystemTime) -> Result<(), NotValidNow> {
        match *self {
            Self { not_before, .. } if now < not_before => Err(NotValidNow::NotYet(not_before)),
            Self { not_after, .. } if now > not_after => Err(NotValidNow::Expired(not_after)),
            _ => Ok(()),
        }
    }
}

fn utc(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map_or_else(|_| "a date that cannot be displayed".to_owned(), |time| time.to_string())
}

impl Loader for TlsFiles {
    type Output = LoadedTls;
    type Error = TlsError;

    fn files(&self) -> Vec<&Path> {
        let files = [Some(&self.certificate), Some(&self.private_key), self.client_ca.as_ref()];
        files.into_iter().flatten().map(PathBuf::as_path).collect()
    }

    fn load(&self, contents: &FileContents) -> Result<LoadedTls, TlsError> {
        let (certificate, key) = (contents.of(&self.certificate)?, contents.of(&self.private_key)?);
        let client_ca = self.client_ca.as_ref().map(|path| contents.of(path)).transpose()?;
        let chain = pem::certificates(certificate)?;
        let validity = validity(&chain, certificate.path())?;
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
        let mut config = builder.with_single_cert(chain, pem::private_key(key)?).map_err(|cause| TlsError::Pair {
            certificate: certificate.path().to_owned(),
            private_key: key.path().to_owned(),
            cause,
        })?;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        if client_ca.is_some() {
            // A resumed session presents no certificate, so it could outlive the certificate it began with.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(LoadedTls { config: Arc::new(config), validity })
    }

    fn name(&self) -> &str {
        "the listener's TLS"
    }

    /// A tool that renews certificates may write an old pair, or write before the clocks agree.
    fn may_replace(&self, current: &LoadedTls, loaded: &LoadedTls) -> Result<(), TlsError> {
        let now = SystemTime::now();
        match (current.validity.check(now), loaded.validity.check(now)) {
            (Ok(()), Err(reason)) => Err(TlsError::NotValidNow { path: self.certificate.clone(), reason }),
            _ => Ok(()),
        }
    }

    fn adopted(&self, loaded: &LoadedTls) {
        let certificate = self.certificate.display();
        match loaded.validity.check(SystemTime::now()) {
            Ok(()) => tracing::debug!(%certificate, "the listener's certificate is in use"),
            Err(reason) => {
                tracing::warn!(%certificate, %reason, "the listener's certificate is not valid now; callers will refuse it");
            }
        }
    }
}

fn roots(authorities: &FileContent) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(authorities)? {
        let path = || authorities.path().to_owned();
        roots.add(certificate).map_err(|cause| TlsError::Root { path: path(), cause })?;
    }
    Ok(Arc::new(roots))
}

fn validity(chain: &[CertificateDer<'_>], path: &Path) -> Result<Validity, TlsError> {
    let leaf = chain.first().ok_or_else(|| BadPem::NoCertificate(path.to_owned()))?;
    Validity::of(leaf).map_err(|cause| TlsError::Validity { path: path.to_owned(), cause })
}
