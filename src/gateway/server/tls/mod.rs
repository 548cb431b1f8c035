//! The listener's TLS: its certificate, and whose certificates callers may show.
//!
//! TLS 1.2 and 1.3 by rustls on AWS-LC; HTTP/2 or HTTP/1.1 by ALPN. The files are followed while the
//! gateway runs (see [`Reloaded`]).
//!
//! Connections keep what they began with, and end with the certificate that the caller showed. A new
//! configuration has a new store of sessions, so a caller cannot resume past a change of the CA; and with
//! a client CA nothing is resumed at all, or a session would outlive the certificate it was begun with.
//! No request is taken as early data.

mod files;

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;
use webpki::EndEntityCert;

pub(crate) use files::TlsError;
pub use files::TlsFiles;

use crate::clock::Clock;
use crate::gateway::server::peer::Peer;
use crate::pem::Reloaded;

/// What the listener presents and asks for. All clones see a reload.
#[derive(Clone, Debug)]
pub(crate) struct ServerTls(Arc<Reloaded<TlsFiles>>);

/// How TLS is doing, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Changes of the files that were taken.
    pub reloads_ok: u64,
    /// States of the files that could not be used; each counts once, however long it lasts.
    pub reloads_failed: u64,
    /// The end of the certificate in use.
    pub not_after: SystemTime,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be used. A certificate that has expired can; the log warns.
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(Reloaded::load(files)?)))
    }

    /// For the next handshake.
    #[must_use]
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.current().config)
    }

    /// How it is doing.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { reloads_ok: self.0.taken(), reloads_failed: self.0.refused(), not_after: self.0.current().not_after }
    }

    /// Follows the files. Never ends.
    pub(crate) async fn run_refresh(self, clock: Clock) {
        self.0.run_refresh(clock).await;
    }
}

/// Who showed this verified chain: the names of its first certificate. Nobody in particular when
/// there is none.
#[must_use]
pub(crate) fn peer(chain: Option<&[CertificateDer<'_>]>) -> Peer {
    let Some(leaf) = chain.and_then(<[_]>::first) else { return Peer::default() };
    // rustls has parsed it by the same code, to verify it.
    let Ok(leaf) = EndEntityCert::try_from(leaf) else { return Peer::default() };
    Peer::certified(leaf.valid_dns_names().chain(leaf.valid_uri_names()).map(str::to_owned).collect())
}

/// When the caller's own certificate ends, the first of this chain. Of the others it may have sent some that
/// did not count. None when there is none.
#[must_use]
pub(crate) fn end_of(chain: Option<&[CertificateDer<'_>]>) -> Option<SystemTime> {
    let end = files::end_of(chain?.first()?);
    end.map_err(|error| tracing::warn!(%error, "the end of a caller's certificate cannot be read")).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn an_expired_certificate_is_taken_and_its_end_is_known() {
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
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800);
        assert_eq!(ServerTls::load(files).unwrap().snapshot().not_after, end);
    }

    #[test]
    fn a_peer_is_called_by_the_dns_and_uri_names_of_its_own_certificate() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["portfolio.internal".into()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://bank/portfolio".try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("nobody@bank.test".try_into().unwrap()));
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(peer(Some(&[certificate.der().clone()])).names(), ["portfolio.internal", "spiffe://bank/portfolio"]);
        assert_eq!(peer(None), Peer::default());
    }
}
