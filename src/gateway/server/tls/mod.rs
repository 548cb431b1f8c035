//! TLS on the listener: the gateway's certificate, and the certificates of callers.
//!
//! TLS 1.2 and 1.3 by rustls on AWS-LC. ALPN chooses HTTP/2 or HTTP/1.1. The gateway reloads the files when
//! they change (see [`Reloaded`]). The gateway does not replace a valid
//! certificate by one that has expired or is not yet valid.
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
use files::Validity;

use crate::clock::Clock;
use crate::gateway::server::peer::Peer;
use crate::watched_files::{self, FileAge, PollOutcome, Reloaded};

/// The listener's TLS configuration. All clones see a reload.
#[derive(Clone, Debug)]
pub(crate) struct ServerTls {
    files: Arc<Reloaded<TlsFiles>>,
    /// The counts of the files that the listener had before.
    former: (u64, u64),
}

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
    /// Reads the files. An expired certificate is accepted, with a warning in the log. The counts of `former` continue.
    ///
    /// # Errors
    /// If the files cannot be used.
    pub(crate) fn load(files: TlsFiles, former: Option<&Self>) -> Result<Self, TlsError> {
        let counts = |tls: &Self| (tls.snapshot().reloads_ok, tls.snapshot().reloads_failed);
        Ok(Self { files: Arc::new(Reloaded::load(files)?), former: former.map(counts).unwrap_or_default() })
    }

    /// The acceptor for the next handshake.
    #[must_use]
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.files.current().config)
    }

    #[must_use]
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            reloads_ok: self.former.0 + self.files.reloads(),
            reloads_failed: self.former.1 + self.files.failed_states(),
            not_after: self.files.current().validity.not_after,
        }
    }

    /// Reloads the files when they change. Never returns.
    pub(crate) async fn run_refresh(self, clock: Clock) {
        watched_files::run_refresh(&[self.files], &clock).await;
    }

    /// Reads the files now.
    pub(crate) async fn reread(&self) -> Vec<PollOutcome> {
        watched_files::poll(slice::from_ref(&self.files)).await
    }

    #[must_use]
    pub(crate) fn file_ages(&self) -> Vec<FileAge> {
        self.files.file_ages()
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
    let validity = Validity::of(chain?.first()?);
    let validity =
        validity.map_err(|error| tracing::warn!(%error, "the expiry of a caller's certificate cannot be read"));
    validity.ok().map(|validity| validity.not_after)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;
    use crate::watched_files::Change;

    /// The files of a listener.
    fn files(directory: &tempfile::TempDir) -> TlsFiles {
        TlsFiles {
            certificate: directory.path().join("cert.pem"),
            private_key: directory.path().join("key.pem"),
            client_ca: None,
            require_client_certificate: false,
        }
    }

    /// Writes a certificate that is valid from one year to another.
    fn write(files: &TlsFiles, years: (i32, i32)) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["gateway.test".into()]).unwrap();
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(years.0, 1, 1), rcgen::date_time_ymd(years.1, 1, 1));
        std::fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&files.private_key, key.serialize_pem()).unwrap();
    }

    /// The first second of a year from 1970 to 2099.
    fn year(year: u64) -> SystemTime {
        let leap_days = (year - 1969) / 4;
        SystemTime::UNIX_EPOCH + Duration::from_secs(((year - 1970) * 365 + leap_days) * 24 * 3600)
    }

    #[tokio::test]
    async fn an_expired_certificate_is_accepted_at_start_and_gives_way_to_any_other() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(&directory);
        write(&files, (2019, 2020));
        let tls = ServerTls::load(files.clone(), None).unwrap();
        assert_eq!(tls.snapshot().not_after, year(2020));
        write(&files, (2019, 2021));
        assert_eq!(tls.reread().await[0].result, Ok(Change::InUse));
        assert_eq!(tls.snapshot().not_after, year(2021));
    }

    #[tokio::test]
    async fn a_valid_certificate_does_not_give_way_to_one_that_is_not_valid_now() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(&directory);
        write(&files, (2020, 2090));
        let tls = ServerTls::load(files.clone(), None).unwrap();
        let path = files.certificate.display();
        for (years, reason) in [
            ((2019, 2020), "expired on 2020-01-01T00:00:00Z"),
            ((2080, 2090), "is not valid before 2080-01-01T00:00:00Z"),
        ] {
            write(&files, years);
            let error = format!("{path}: the certificate {reason}, and the certificate in use is valid");
            assert_eq!(tls.reread().await[0].result, Err(error));
            tls.reread().await;
        }
        assert_eq!((tls.snapshot().not_after, tls.snapshot().reloads_failed), (year(2090), 2), "each counts once");
        write(&files, (2020, 2091));
        assert_eq!(tls.reread().await[0].result, Ok(Change::InUse));
        assert_eq!(tls.snapshot().not_after, year(2091));
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
