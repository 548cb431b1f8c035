//! HTTPS for the provider's API, with a certificate authority of its own.
//!
//! Authority and certificate are made at each start. The private key of the authority is dropped at once, so it
//! cannot sign another certificate that a client under test would accept. The certificate is valid for the names by which a
//! test reaches the sandbox. Strict verifiers (Python 3.13, Go, Apple) ask for the key usages, the authority key
//! identifier and the short validity that are set here.
//!
//! Rejected: a fixed authority in the package. Its private key would be public, and some machine would trust it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// Less than the 398 days that browsers accept. No sandbox runs so long.
const VALID_DAYS: i64 = 365;

/// A certificate for the listener, and the authority that issued it.
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    /// The certificate of the authority.
    pub(super) ca_pem: String,
}

impl Tls {
    /// Makes an authority, and a certificate for loopback, for `address` and for `hosts`, which are names or addresses.
    pub(super) fn generate(address: IpAddr, hosts: &[String]) -> io::Result<Self> {
        let mut authority = params(Vec::new())?;
        authority.distinguished_name.push(DnType::CommonName, "jwe-gateway sandbox, not for real use");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate().map_err(io::Error::other)?;
        let ca_pem = authority.self_signed(&authority_key).map_err(io::Error::other)?.pem();
        let issuer = Issuer::new(authority, authority_key);

        let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST), address];
        let mut names = vec!["localhost".to_owned()];
        names.extend(addresses.iter().filter(|address| !address.is_unspecified()).map(ToString::to_string));
        names.extend(hosts.iter().cloned());
        names.sort_unstable();
        names.dedup();
        let mut leaf = params(names)?;
        leaf.distinguished_name.push(DnType::CommonName, "jwe-gateway sandbox");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let leaf_key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = leaf.signed_by(&leaf_key, &issuer).map_err(io::Error::other)?;

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let private_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private_key)
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), ca_pem })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("ca_pem", &self.ca_pem).finish_non_exhaustive()
    }
}

/// The parameters that both certificates share: valid from yesterday, because clocks differ.
fn params(names: Vec<String>) -> io::Result<CertificateParams> {
    let mut params = CertificateParams::new(names).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("a name for the certificate is invalid: {error}"))
    })?;
    let day = |offset: i64| {
        let now = Timestamp::now().to_zoned(TimeZone::UTC);
        let day = now.checked_add(offset.days()).map_err(io::Error::other)?.date();
        Ok::<_, io::Error>(rcgen::date_time_ymd(
            day.year().into(),
            day.month().unsigned_abs(),
            day.day().unsigned_abs(),
        ))
    };
    (params.not_before, params.not_after) = (day(-1)?, day(VALID_DAYS)?);
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params)
}
