//! Outgoing connections through an HTTP proxy by CONNECT, for API requests, key sets and tokens.
//!
//! `NO_PROXY`, read as curl reads it, lists the hosts that are reached directly. Loopback addresses
//! always are, so a sidecar reaches an egress or a sandbox on the same machine. The tunnel carries TLS
//! between the gateway and the provider: the proxy sees a host name and nothing else.
//!
//! With `allow_http`, key sets and tokens of an http provider go through the proxy in absolute-form.

use std::fmt;

use http::uri::Authority;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use super::ConnectorError;
use crate::secret::Secret;

/// Hosts that are always reached directly.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// A proxy that accepts CONNECT, or one for each scheme of the target.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    https: Option<ProxyUri>,
    http: Option<ProxyUri>,
    except: String,
}

#[derive(Clone, PartialEq, Eq)]
struct ProxyUri {
    /// With user and password, if there are any.
    url: Secret,
    /// Without user and password.
    display: String,
}

impl Proxy {
    /// Returns the proxy at `url` (`http://[user:password@]host:port`) for all hosts except those in
    /// `except`: a comma-separated list of names (which include their subdomains), addresses and
    /// networks.
    ///
    /// # Errors
    /// If `url` does not have this form. The error does not repeat the URL.
    pub fn new(url: &str, except: &str) -> Result<Self, BadProxy> {
        let proxy = ProxyUri::new(url)?;
        Ok(Self { https: Some(proxy.clone()), http: Some(proxy), except: [LOOPBACK, except].join(",") })
    }

    /// Combines a proxy for https targets and one for http targets. Returns `None` if both are `None`.
    #[must_use]
    pub fn by_scheme(https: Option<Self>, http: Option<Self>) -> Option<Self> {
        let except = https.as_ref().or(http.as_ref())?.except.clone();
        Some(Self { https: https.and_then(|proxy| proxy.https), http: http.and_then(|proxy| proxy.http), except })
    }

    /// Returns the proxy's address and the `Proxy-Authorization` for `target`; `None` if `target` is
    /// reached directly.
    pub(super) fn route_to(&self, target: &Uri) -> Option<(Uri, Option<HeaderValue>)> {
        let url =
            |proxy: &Option<ProxyUri>| proxy.as_ref().map(|proxy| proxy.url.expose().to_owned()).unwrap_or_default();
        let matcher = Matcher::builder().https(url(&self.https)).http(url(&self.http)).no(self.except.clone()).build();
        let found = matcher.intercept(target)?;
        Some((found.uri().clone(), found.basic_auth().cloned()))
    }

    /// Returns the proxies in the form that the client for key sets and tokens takes.
    pub(super) fn for_reqwest(&self) -> Result<Vec<reqwest::Proxy>, ConnectorError> {
        let https = self.https.iter().map(|proxy| reqwest::Proxy::https(proxy.url.expose()));
        let http = self.http.iter().map(|proxy| reqwest::Proxy::http(proxy.url.expose()));
        let except = || reqwest::NoProxy::from_string(&self.except);
        https.chain(http).map(|proxy| Ok(proxy.map_err(ConnectorError::Client)?.no_proxy(except()))).collect()
    }
}

impl ProxyUri {
    fn new(url: &str) -> Result<Self, BadProxy> {
        let parsed = Url::parse(url).map_err(|_| BadProxy)?;
        if parsed.scheme() != "http" || parsed.host().is_none() || !matches!(parsed.path(), "" | "/") {
            return Err(BadProxy);
        }
        let (host, port) = (parsed.host_str().unwrap_or_default(), parsed.port_or_known_default().unwrap_or(80));
        Ok(Self { display: format!("http://{host}:{port}"), url: Secret::new(parsed.into()) })
    }
}

/// Returns `target` with an explicit port. hyper-util's tunnel would use 443 also for http.
pub(super) fn with_port(target: Uri) -> Uri {
    let port = match (target.scheme_str(), target.port()) {
        (Some("http"), None) => 80,
        _ => return target,
    };
    let mut parts = target.clone().into_parts();
    let authority = target.host().map(|host| Authority::try_from(format!("{host}:{port}")));
    // A valid host stays valid with a port appended.
    let Some(Ok(authority)) = authority else { return target };
    parts.authority = Some(authority);
    Uri::from_parts(parts).unwrap_or(target)
}

/// Shows no user and no password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.https, &self.http) {
            (Some(one), Some(other)) if one == other => f.write_str(&one.display),
            (Some(https), Some(http)) => write!(f, "{} for https, {} for http", https.display, http.display),
            (Some(https), None) => write!(f, "{} for https", https.display),
            (None, Some(http)) => write!(f, "{} for http", http.display),
            (None, None) => f.write_str("none"),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// The URL of a proxy is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a proxy has the form http://[user:password@]host:port")]
pub struct BadProxy;

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy_for(proxy: &Proxy, target: &'static str) -> Option<String> {
        proxy.route_to(&Uri::from_static(target)).map(|(uri, _)| uri.authority().unwrap().to_string())
    }

    #[test]
    fn all_hosts_use_the_proxy_except_loopback_and_listed_ones() {
        let proxy = Proxy::new("http://proxy.test:3128", "internal.test, 10.0.0.0/8").unwrap();
        for target in ["https://api.flanks.io", "http://api.flanks.io:8080", "https://11.0.0.1"] {
            assert_eq!(proxy_for(&proxy, target).as_deref(), Some("proxy.test:3128"), "{target}");
        }
        for target in [
            "https://localhost",
            "http://127.0.0.1:8090",
            "http://[::1]:1",
            "https://x.internal.test",
            "https://10.1.2.3",
        ] {
            assert_eq!(proxy_for(&proxy, target), None, "{target}");
        }
    }

    #[test]
    fn each_scheme_can_have_its_own_proxy() {
        let proxy = |url: &str| Some(Proxy::new(url, "").unwrap());
        let both = Proxy::by_scheme(proxy("http://s.test:1"), proxy("http://p.test:2")).unwrap();
        assert_eq!(proxy_for(&both, "https://api.test").as_deref(), Some("s.test:1"));
        assert_eq!(proxy_for(&both, "http://api.test").as_deref(), Some("p.test:2"));
        let one = Proxy::by_scheme(proxy("http://s.test:1"), None).unwrap();
        assert_eq!((proxy_for(&one, "http://api.test"), one.to_string().as_str()), (None, "http://s.test:1 for https"));
        assert_eq!(one.for_reqwest().unwrap().len(), 1);
        assert!(Proxy::by_scheme(None, None).is_none());
    }

    #[test]
    fn a_tunnel_uses_the_default_port_of_the_scheme() {
        for (target, placed) in [
            ("http://api.test/x", "http://api.test:80/x"),
            ("http://[::1]/", "http://[::1]:80/"),
            ("http://api.test:8080/", "http://api.test:8080/"),
            ("https://api.test/", "https://api.test/"),
        ] {
            assert_eq!(with_port(Uri::from_static(target)), placed);
        }
    }

    #[test]
    fn user_and_password_are_sent_to_the_proxy_and_never_displayed() {
        let proxy = Proxy::new("http://user:canary@proxy.test:3128", "").unwrap();
        let (_, authorization) = proxy.route_to(&Uri::from_static("https://api.flanks.io")).unwrap();
        assert_eq!(authorization.unwrap(), "Basic dXNlcjpjYW5hcnk=");
        assert!(!format!("{proxy} {proxy:?}").contains("canary"));
        for url in ["https://proxy.test", "socks5://proxy.test", "proxy.test:3128", "http://proxy.test/x", ""] {
            assert_eq!(Proxy::new(url, "").unwrap_err(), BadProxy, "{url}");
        }
    }
}
