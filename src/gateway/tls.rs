//! The listener's TLS: its certificate, and whose certificates callers may show.
//!
//! TLS 1.2 and 1.3 by rustls on AWS-LC; HTTP/2 or HTTP/1.1 by ALPN.
//!
//! The files are read again every ten seconds, and what they hold is compared, not when they were
//! written: Kubernetes swaps a symbolic link, other tools write in place. The hard case is a reader
//! that comes while they write, and finds half a file, or a new certificate beside the old key.
//! Such a state is not taken; what was in use stays, the log says so once, and the next look may
//! find it mended. A chain cut between two certificates looks whole, and lasts until that look.
//!
//! Connections keep what they began with, and end with the certificate that the caller showed. A new configuration has a new store of sessions, so a
//! caller cannot resume past a change of the CA; and with a client CA nothing is resumed at all, or
//! a session would outlive the certificate it was begun with. No request is taken as early data.
//!
//! Rejected: watching the directory. Network file systems and swapped links tell nobody; a look
//! every ten seconds costs three small reads.

mod files;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;
use webpki::EndEntityCert;

pub use files::{BadTls, TlsFiles};

use self::files::{Contents, Fingerprint};
use super::peer::Peer;
use crate::clock::Clock;

/// Between two looks at the files: a certificate is renewed days before its end, and nobody who
/// has just put a new one there wants to wait for minutes.
const LOOK: Duration = Duration::from_secs(10);

/// What the listener presents and asks for. All clones of the [`Arc`] see a reload.
#[derive(Debug)]
pub struct ServerTls {
    files: TlsFiles,
    in_use: ArcSwap<InUse>,
    reloads_ok: AtomicU64,
    reloads_failed: AtomicU64,
}

#[derive(Debug)]
struct InUse {
    config: Arc<ServerConfig>,
    not_after: SystemTime,
    fingerprint: Fingerprint,
}

/// How TLS is doing, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
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
    pub async fn load(files: TlsFiles) -> Result<Self, BadTls> {
        let contents = Contents::read(&files).await?;
        let in_use = InUse::new(&contents, &files)?;
        in_use.warn_if_expired(&files);
        let in_use = ArcSwap::from_pointee(in_use);
        Ok(Self { files, in_use, reloads_ok: AtomicU64::new(0), reloads_failed: AtomicU64::new(0) })
    }

    /// For the next handshake.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.in_use.load().config))
    }

    /// How it is doing.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            reloads_ok: self.reloads_ok.load(Ordering::Relaxed),
            reloads_failed: self.reloads_failed.load(Ordering::Relaxed),
            not_after: self.in_use.load().not_after,
        }
    }

    /// Follows the files. Never ends.
    pub async fn keep_fresh(self: Arc<Self>, clock: Clock) {
        let mut fault = None;
        loop {
            clock.sleep(LOOK).await;
            fault = self.look(fault).await;
        }
    }

    /// Takes what the files hold now, if it is new. `known` is the fault that was found last; the
    /// one found now is returned.
    async fn look(&self, known: Option<Fault>) -> Option<Fault> {
        let contents = Contents::read(&self.files).await;
        let fingerprint = contents.as_ref().ok().map(Contents::fingerprint);
        if fingerprint.as_ref() == Some(&self.in_use.load().fingerprint) {
            if known.is_some() {
                tracing::info!("the listener's TLS files are again those in use");
            }
            return None;
        }
        // Broken in the same way as before: that was said.
        if let (Some(known), Some(_)) = (&known, &fingerprint)
            && known.fingerprint == fingerprint
        {
            return Some(known.clone());
        }
        match contents.and_then(|contents| InUse::new(&contents, &self.files)) {
            Ok(new) => {
                self.reloads_ok.fetch_add(1, Ordering::Relaxed);
                let valid_for_s = new.not_after.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
                tracing::info!(certificate = %self.files.certificate.display(), valid_for_s, "listener's TLS reloaded");
                new.warn_if_expired(&self.files);
                self.in_use.store(Arc::new(new));
                None
            }
            Err(error) => {
                let fault = Fault { fingerprint, message: error.to_string() };
                if known.as_ref() != Some(&fault) {
                    self.reloads_failed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "the listener's TLS files cannot be used; the former ones stay in use");
                }
                Some(fault)
            }
        }
    }
}

/// A state of the files that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    /// None when they could not even be read.
    fingerprint: Option<Fingerprint>,
    message: String,
}

impl InUse {
    fn new(contents: &Contents, files: &TlsFiles) -> Result<Self, BadTls> {
        let (config, not_after) = contents.config(files)?;
        Ok(Self { config: Arc::new(config), not_after, fingerprint: contents.fingerprint() })
    }

    fn warn_if_expired(&self, files: &TlsFiles) {
        if self.not_after < SystemTime::now() {
            let certificate = files.certificate.display();
            tracing::warn!(%certificate, "the listener's certificate has expired: callers will refuse it");
        }
    }
}

/// Who showed this verified chain: the names of its first certificate. Nobody in particular when
/// there is none.
#[must_use]
pub fn peer(chain: Option<&[CertificateDer<'_>]>) -> Peer {
    let Some(leaf) = chain.and_then(<[_]>::first) else { return Peer::default() };
    // rustls has parsed it by the same code, to verify it.
    let Ok(leaf) = EndEntityCert::try_from(leaf) else { return Peer::default() };
    Peer::certified(leaf.valid_dns_names().chain(leaf.valid_uri_names()).map(str::to_owned).collect())
}

/// When this verified chain ends: with the first of its certificates that does. None when there is
/// none, or one cannot be read, which the verifier has done by other code.
#[must_use]
pub fn end_of(chain: Option<&[CertificateDer<'_>]>) -> Option<SystemTime> {
    chain?.iter().filter_map(|certificate| files::end_of(certificate).ok()).min()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    /// A directory with a certificate and its key.
    struct Pair(tempfile::TempDir);

    impl Pair {
        fn new() -> Self {
            let pair = Self(tempfile::tempdir().unwrap());
            pair.renew();
            pair
        }

        fn files(&self) -> TlsFiles {
            let at = |name: &str| self.0.path().join(name);
            TlsFiles {
                certificate: at("cert.pem"),
                private_key: at("key.pem"),
                client_ca: None,
                require_client_certificate: false,
            }
        }

        fn renew(&self) {
            let (certificate, key) = Self::made();
            self.put("cert.pem", &certificate);
            self.put("key.pem", &key);
        }

        fn made() -> (String, String) {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(["gateway.test".into()]).unwrap().self_signed(&key).unwrap();
            (certificate.pem(), key.serialize_pem())
        }

        fn put(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).unwrap();
        }
    }

    fn counts(tls: &ServerTls) -> (u64, u64) {
        let snapshot = tls.snapshot();
        (snapshot.reloads_ok, snapshot.reloads_failed)
    }

    #[tokio::test]
    async fn a_broken_state_is_not_taken_and_counts_once_and_a_good_one_is() {
        let pair = Pair::new();
        let tls = ServerTls::load(pair.files()).await.unwrap();
        let first = Arc::clone(&tls.in_use.load().config);
        assert!(tls.look(None).await.is_none());
        let (certificate, key) = Pair::made();
        pair.put("cert.pem", &certificate[..certificate.len() / 2]);
        let fault = tls.look(None).await;
        let fault = tls.look(fault).await;
        assert_eq!(counts(&tls), (0, 1), "{fault:?}");
        // Whole, and the key is still the old one's.
        pair.put("cert.pem", &certificate);
        let fault = tls.look(fault).await;
        assert_eq!(counts(&tls), (0, 2), "{fault:?}");
        std::fs::remove_file(pair.files().private_key).unwrap();
        let fault = tls.look(fault).await;
        let fault = tls.look(fault).await;
        assert_eq!(counts(&tls), (0, 3), "{fault:?}");
        assert!(Arc::ptr_eq(&first, &tls.in_use.load().config));
        pair.put("key.pem", &key);
        assert_eq!(tls.look(fault).await, None);
        assert_eq!(counts(&tls), (1, 3));
        assert!(!Arc::ptr_eq(&first, &tls.in_use.load().config));
    }

    #[tokio::test]
    async fn the_end_of_the_certificate_in_use_is_known() {
        let pair = Pair::new();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["gateway.test".into()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        pair.put("cert.pem", &params.self_signed(&key).unwrap().pem());
        pair.put("key.pem", &key.serialize_pem());
        let tls = ServerTls::load(pair.files()).await.unwrap();
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800);
        assert_eq!(tls.snapshot().not_after, end, "expired, and taken all the same");
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
