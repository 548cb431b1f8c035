//! The way out through a proxy: CONNECT, for requests, key sets and tokens alike.
//!
//! Whether a host is reached through the proxy is the list's to say (`NO_PROXY`, as curl reads it).
//! This machine itself never is: a sidecar's egress or a sandbox on loopback is not the proxy's
//! affair. What passes the tunnel is TLS between us and the provider; the proxy sees a host name.
//! (Where `allow_http` lets a provider be spoken to in clear, key sets and tokens go by way of the
//! proxy in absolute-form, which for them is the same.)

use std::fmt;

use http::uri::Authority;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use super::ConnectorError;
use crate::secret::Secret;

/// Hosts that are this machine.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// A proxy that takes CONNECT, or one for each scheme of what is behind it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    https: Option<ProxyUri>,
    http: Option<ProxyUri>,
    except: String,
}

#[derive(Clone, PartialEq, Eq)]
struct ProxyUri {
    /// With user and password, when it wants them.
    url: Secret,
    shown: String,
}

impl Proxy {
    /// The proxy at `url` (`http://[user:password@]host:port`), for all hosts but those on the list
    /// `except`: names, which cover what is below them, addresses and networks, with commas between.
    ///
    /// # Errors
    /// When `url` is no such URL. The message does not repeat it.
    pub fn new(url: &str, except: &str) -> Result<Self, BadProxy> {
        let uri_of = ProxyUri::new(url)?;
        Ok(Self { https: Some(uri_of.clone()), http: Some(uri_of), except: [LOOPBACK, except].join(",") })
    }

    /// The first for what is reached by https, the second for what is reached by http. None of neither.
    #[must_use]
    pub fn by_scheme(https: Option<Self>, http: Option<Self>) -> Option<Self> {
        let except = https.as_ref().or(http.as_ref())?.except.clone();
        Some(Self { https: https.and_then(|proxy| proxy.https), http: http.and_then(|proxy| proxy.http), except })
    }

    /// How to reach `target`, and what to say to the proxy; none when it is reached directly.
    pub(super) fn on_the_way_to(&self, target: &Uri) -> Option<(Uri, Option<HeaderValue>)> {
        let url = |uri_of: &Option<ProxyUri>| {
            uri_of.as_ref().map(|uri_of| uri_of.url.expose().to_owned()).unwrap_or_default()
        };
        let matcher = Matcher::builder().https(url(&self.https)).http(url(&self.http)).no(self.except.clone()).build();
        let found = matcher.intercept(target)?;
        Some((found.uri().clone(), found.basic_auth().cloned()))
    }

    /// For the client of the control plane.
    pub(super) fn for_control(&self) -> Result<Vec<reqwest::Proxy>, ConnectorError> {
        let https = self.https.iter().map(|uri_of| reqwest::Proxy::https(uri_of.url.expose()));
        let http = self.http.iter().map(|uri_of| reqwest::Proxy::http(uri_of.url.expose()));
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
        Ok(Self { shown: format!("http://{host}:{port}"), url: Secret::new(parsed.into()) })
    }
}

/// `target` with the port that its scheme means. A tunnel to one without goes to 443, also for http.
pub(super) fn with_port(target: Uri) -> Uri {
    let port = match (target.scheme_str(), target.port()) {
        (Some("http"), None) => 80,
        _ => return target,
    };
    let mut parts = target.clone().into_parts();
    let authority = target.host().map(|host| Authority::try_from(format!("{host}:{port}")));
    // A host that was one stays one with a port behind it.
    let Some(Ok(authority)) = authority else { return target };
    parts.authority = Some(authority);
    Uri::from_parts(parts).unwrap_or(target)
}

/// Without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.https, &self.http) {
            (Some(one), Some(other)) if one == other => f.write_str(&one.shown),
            (Some(https), Some(http)) => write!(f, "{} for https, {} for http", https.shown, http.shown),
            (Some(https), None) => write!(f, "{} for https", https.shown),
            (None, Some(http)) => write!(f, "{} for http", http.shown),
            (None, None) => f.write_str("none"),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Not a proxy's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a proxy is written http://host:port; no other kind is known")]
pub struct BadProxy;

#[cfg(test)]
mod tests {
    use super::*;

    fn uri_of(proxy: &Proxy, target: &'static str) -> Option<String> {
        proxy.on_the_way_to(&Uri::from_static(target)).map(|(uri, _)| uri.authority().unwrap().to_string())
    }

    #[test]
    fn all_hosts_go_by_the_proxy_but_this_machine_and_those_on_the_list() {
        let proxy = Proxy::new("http://proxy.test:3128", "internal.test, 10.0.0.0/8").unwrap();
        for target in ["https://api.flanks.io", "http://api.flanks.io:8080", "https://11.0.0.1"] {
            assert_eq!(uri_of(&proxy, target).as_deref(), Some("proxy.test:3128"), "{target}");
        }
        for target in [
            "https://localhost",
            "http://127.0.0.1:8090",
            "http://[::1]:1",
            "https://x.internal.test",
            "https://10.1.2.3",
        ] {
            assert_eq!(uri_of(&proxy, target), None, "{target}");
        }
    }

    #[test]
    fn each_scheme_has_its_own_proxy_or_none() {
        let proxy = |url: &str| Some(Proxy::new(url, "").unwrap());
        let both = Proxy::by_scheme(proxy("http://s.test:1"), proxy("http://p.test:2")).unwrap();
        assert_eq!(uri_of(&both, "https://api.test").as_deref(), Some("s.test:1"));
        assert_eq!(uri_of(&both, "http://api.test").as_deref(), Some("p.test:2"));
        let one = Proxy::by_scheme(proxy("http://s.test:1"), None).unwrap();
        assert_eq!((uri_of(&one, "http://api.test"), one.to_string().as_str()), (None, "http://s.test:1 for https"));
        assert_eq!(one.for_control().unwrap().len(), 1);
        assert!(Proxy::by_scheme(None, None).is_none());
    }

    #[test]
    fn a_tunnel_goes_to_the_port_that_the_scheme_means() {
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
    fn user_and_password_go_to_the_proxy_and_are_never_shown() {
        let proxy = Proxy::new("http://user:canary@proxy.test:3128", "").unwrap();
        let (_, says) = proxy.on_the_way_to(&Uri::from_static("https://api.flanks.io")).unwrap();
        assert_eq!(says.unwrap(), "Basic dXNlcjpjYW5hcnk=");
        assert!(!format!("{proxy} {proxy:?}").contains("canary"));
        for url in ["https://proxy.test", "socks5://proxy.test", "proxy.test:3128", "http://proxy.test/x", ""] {
            assert_eq!(Proxy::new(url, "").unwrap_err(), BadProxy, "{url}");
        }
    }
}
