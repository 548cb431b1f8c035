//! Why a request for a key set or a token got no response, in words for an operator.
//!
//! The texts of the HTTP client and of rustls do not say what to do about a certificate. They contain URLs, which may
//! contain secrets. [`describe`] removes the URL; the error types of `keys` and `credentials` add the [`location`].

use std::error::Error;
use std::io;

use rustls::CertificateError;
use url::Url;

use crate::error_chain::chain;

const CA_FILE_HINT: &str = "if you trust its issuer, name the issuer's certificate in `ca_file`";

/// Scheme, host, port and path of a URL. User, password and query may be secrets.
#[must_use]
pub(crate) fn location(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// The error with its causes, without the URL. For a rejected certificate or a server without TLS: an explanation.
#[must_use]
pub(crate) fn describe(error: reqwest::Error) -> String {
    match tls_error(&error) {
        Some(rustls::Error::InvalidCertificate(fault)) => {
            let hint = if is_fixed_by_ca_file(fault) { format!("; {CA_FILE_HINT}") } else { String::new() };
            format!("the server's certificate is not trusted: {}{hint}", certificate_fault(fault))
        }
        Some(fault @ rustls::Error::InvalidMessage(_)) => {
            format!("the server does not answer with TLS; check scheme and port of the URL ({fault})")
        }
        _ => chain(&error.without_url()),
    }
}

/// What is wrong with a server's certificate.
#[must_use]
pub(crate) fn certificate_fault(fault: &CertificateError) -> String {
    match fault {
        CertificateError::UnknownIssuer => "its issuer is unknown".to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another host name".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        fault if is_ca_certificate(fault) => {
            "it is the certificate of a CA, but a server needs one that a CA has issued to it".to_owned()
        }
        other => other.to_string(),
    }
}

fn is_fixed_by_ca_file(fault: &CertificateError) -> bool {
    matches!(fault, CertificateError::UnknownIssuer) || is_ca_certificate(fault)
}

/// Whether the server presents a CA's own certificate. Self-signed certificates often are: it is the default
/// of `openssl req -x509`.
fn is_ca_certificate(fault: &CertificateError) -> bool {
    let CertificateError::Other(other) = fault else { return false };
    matches!(other.0.downcast_ref::<webpki::Error>(), Some(webpki::Error::CaUsedAsEndEntity))
}

fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let in_io_error = || -> Option<&'e rustls::Error> {
        // `io::Error::source` skips the error that it wraps.
        let wrapped: &'e (dyn Error + Send + Sync + 'static) = error.downcast_ref::<io::Error>()?.get_ref()?;
        tls_error(wrapped)
    };
    error.downcast_ref().or_else(in_io_error).or_else(|| tls_error(error.source()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::client;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    /// What a client without trusted certificates reports about a server with this self-signed certificate.
    async fn reported(is_ca: IsCa) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = is_ca;
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://user:canary@{}/?key=canary", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (connection, _) = listener.accept().await.unwrap();
            let _ = TlsAcceptor::from(Arc::new(config)).accept(connection).await;
        });
        describe(client().get(url).send().await.unwrap_err())
    }

    #[tokio::test]
    async fn a_self_signed_certificate_is_not_trusted_and_ca_file_is_named() {
        let text = reported(IsCa::NoCa).await;
        assert_eq!(text, format!("the server's certificate is not trusted: its issuer is unknown; {CA_FILE_HINT}"));
        let text = reported(IsCa::Ca(BasicConstraints::Unconstrained)).await;
        assert!(text.contains("not trusted: it is the certificate of a CA") && text.contains("`ca_file`"), "{text}");
    }

    #[tokio::test]
    async fn a_server_without_tls_is_reported_as_such() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/?key=canary", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 1024]).await;
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = connection.read(&mut [0; 1024]).await;
        });
        let text = describe(client().get(url).send().await.unwrap_err());
        assert!(text.starts_with("the server does not answer with TLS; check scheme and port"), "{text}");
        assert!(!text.contains("ca_file") && !text.contains("canary"), "{text}");
    }

    #[test]
    fn a_location_has_neither_user_nor_query() {
        let location = |url: &str| location(&url.parse().unwrap());
        assert_eq!(location("https://user:canary@a.test:443/v0/token?key=canary#x"), "https://a.test/v0/token");
        assert_eq!(location("http://a.test:8080"), "http://a.test:8080/");
    }
}
