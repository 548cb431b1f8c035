//! TLS on the listener: the gateway's certificate, and the certificates of callers.
//!
//! TLS 1.2 and 1.3 by rustls on AWS-LC. ALPN chooses HTTP/2 or HTTP/1.1. The gateway reloads the files when
//! they change (see [`Reloaded`]).
//!
//! An open connection keeps the configuration that it began with. It ends when the caller's certificate
//! expires. A reload starts with an empty session store, so a caller cannot resume a session across a change
//! of the CA. With a client CA, no session is resumed at all: it could outlive the certificate that it began
//! with. The gateway accepts no early data (0-RTT).

mod files;

use std::slice;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;
use webpki::EndEntityCert;

pub(crate) use files::TlsError;
pub use files::TlsFiles;

use crate::clock::Clock;
use crate::gateway::server::peer::Peer;
use crate::watched_files::{self, FileAge, PollOutcome, Reloaded};

/// The listener's TLS configuration. All clones see a reload.
#[derive(Clone, Debug)]
pub(crate) struct ServerTls(Arc<Reloaded<TlsFiles>>);

/// The metrics of the listener's TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub reloads_ok: u64,
    /// Unusable states of the files. Each counts once, however long it lasts.
    pub reloads_failed: u64,
    /// The expiry of the certificate in use.
    pub not_after: SystemTime,
}

impl ServerTls {
    /// Reads the files. An expired certificate is accepted, with a warning in the log.
    ///
    /// # Errors
    /// If the files cannot be used.
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(Reloaded::load(files)?)))
    }

    /// The acceptor for the next handshake.
    #[must_use]
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.current().config)
    }

    #[must_use]
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            reloads_ok: self.0.reloads(),
            reloads_failed: self.0.failed_states(),
            not_after: self.0.current().not_after,
        }
    }

    /// Reloads the files when they change. Never returns.
    pub(crate) async fn run_refresh(self, clock: Clock) {
        watched_files::run_refresh(&[self.0], &clock).await;
    }

    /// Reads the files now.
    pub(crate) async fn reread(&self) -> Vec<PollOutcome> {
        watched_files::poll(slice::from_ref(&self.0)).await
    }

    #[must_use]
    pub(crate) fn file_ages(&self) -> Vec<FileAge> {
        self.0.file_ages()
    }
}

/// The peer that presented this verified chain, with the names of its first certificate.
#[must_use]
pub(crate) fn peer(chain: Option<&[CertificateDer<'_>]>) -> Peer {
    let Some(leaf) = chain.and_then(<[_]>::first) else { return Peer::default() };
    // Cannot fail: rustls has parsed it with the same code to verify it.
    let Ok(leaf) = EndEntityCert::try_from(leaf) else { return Peer::default() };
    Peer::certified(leaf.valid_dns_names().chain(leaf.valid_uri_names()).map(str::to_owned).collect())
}

/// The expiry of the caller's own certificate, the first of this chain. The other certificates do not
/// count, because the verification may not have used them.
#[must_use]
pub(crate) fn expiry(chain: Option<&[CertificateDer<'_>]>) -> Option<SystemTime> {
    let expiry = files::expiry(chain?.first()?);
    expiry.map_err(|error| tracing::warn!(%error, "the expiry of a caller's certificate cannot be read")).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn an_expired_certificate_is_accepted_and_its_expiry_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["gateway.test".into()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let files = TlsFiles {
            certificate: directory.path().join("cert.pem"),
            private_key: directory.path().join("key.pem"),
            client_ca: None,
            require_client_certificate: false,
        };
        std::fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&files.private_key, key.serialize_pem()).unwrap();
        let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800);
        assert_eq!(ServerTls::load(files).unwrap().snapshot().not_after, expiry);
    }

    #[test]
    fn a_peer_has_the_dns_and_uri_names_of_its_own_certificate() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["portfolio.internal".into()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://bank/portfolio".try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("mail@bank.test".try_into().unwrap()));
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(peer(Some(&[certificate.der().clone()])).names(), ["portfolio.internal", "spiffe://bank/portfolio"]);
        assert_eq!(peer(None), Peer::default());
    }
}
