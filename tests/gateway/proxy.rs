//! The way out through a proxy: CONNECT, for requests, key sets and tokens alike.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use jwe_gateway::config::Config;
use jwe_gateway::config::KeysSource as Source;
use jwe_gateway::config::{self, CredentialsConfig};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::certificates::{Authority, first};
use crate::harness::{TestGateway, assert_refused};

const LIST: &str = "/v0/bank/credentials/list";

/// A proxy behind which every host is the sandbox: by TLS on port 443, in clear on 80.
struct Proxy {
    address: SocketAddr,
    behind: Arc<Behind>,
    serving: JoinHandle<()>,
}

struct Behind {
    sandbox: OnceLock<SocketAddr>,
    tls: TlsAcceptor,
    /// The head of each request to the proxy.
    heads: Mutex<Vec<String>>,
    /// What it answers instead of opening a tunnel.
    refusal: Option<&'static str>,
}

impl Proxy {
    async fn start(authority: &Authority, refusal: Option<&'static str>) -> Self {
        let name = rcgen::SanType::DnsName("provider.test".try_into().unwrap());
        let pair = authority.issue_with(|params| params.subject_alt_names.push(name));
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![first(&pair.certificate)], key).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let behind = Arc::new(Behind {
            sandbox: OnceLock::new(),
            tls: TlsAcceptor::from(Arc::new(config)),
            heads: Mutex::default(),
            refusal,
        });
        let serving = tokio::spawn({
            let behind = Arc::clone(&behind);
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let behind = Arc::clone(&behind);
                    // A gateway that has left is no failure.
                    tokio::spawn(async move { behind.serve(stream).await.ok() });
                }
            }
        });
        Self { address, behind, serving }
    }

    /// A gateway to `provider` through this proxy. What comes from the sandbox's own address does not
    /// pass the proxy: it is on this machine.
    async fn gateway(&self, authority: &Authority, change: impl FnOnce(&mut Config)) -> TestGateway {
        TestGateway::spawn_with(|config| {
            let upstream = &mut config.upstreams[0].upstream;
            let sandbox = upstream.url.socket_addrs(|| None).unwrap()[0];
            self.behind.sandbox.set(sandbox).unwrap();
            upstream.ca_file = Some(authority.path("ca.pem"));
            upstream.proxy =
                Some(config::Proxy::new(&format!("http://user:canary@{}", self.address), "elsewhere.test").unwrap());
            change(config);
        })
        .await
    }

    fn heads(&self) -> Vec<String> {
        self.behind.heads.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Behind {
    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        self.heads.lock().unwrap().push(head.clone());
        if let Some(refusal) = self.refusal {
            return stream.write_all(refusal.as_bytes()).await;
        }
        let mut sandbox = TcpStream::connect(self.sandbox.get().unwrap()).await?;
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        if head.starts_with("CONNECT provider.test:443 ") {
            let mut stream = self.tls.accept(stream).await?;
            tokio::io::copy_bidirectional(&mut stream, &mut sandbox).await?;
        } else {
            tokio::io::copy_bidirectional(&mut stream, &mut sandbox).await?;
        }
        Ok(())
    }
}

/// Everything comes from `base`.
fn all_from(base: &str, config: &mut Config) {
    let base: Url = base.parse().unwrap();
    let upstream = &mut config.upstreams[0];
    upstream.keys.source = Source::Url(base.join("/.well-known/jwks.json").unwrap());
    let CredentialsConfig::ClientCredentials(credentials) = &mut upstream.credentials else { unreachable!() };
    credentials.url = base.join("/v0/token").unwrap();
    upstream.upstream.url = base;
}

#[tokio::test]
async fn requests_keys_and_tokens_all_pass_a_tunnel_and_the_proxy_learns_a_host_name() {
    let authority = Authority::new();
    let proxy = Proxy::start(&authority, None).await;
    let gateway = proxy.gateway(&authority, |config| all_from("https://provider.test", config)).await;
    let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let received = gateway.last();
    assert_eq!(
        (received.plaintext.as_ref(), received.headers["host"].to_str().unwrap()),
        (&b"{}"[..], "provider.test")
    );
    assert!(!received.headers.contains_key("proxy-authorization"));
    assert_eq!((gateway.sandbox.jwks_fetches(), gateway.sandbox.token_requests()), (1, 1));
    let heads = proxy.heads();
    assert!(heads.len() >= 2, "the two clients have a connection each");
    for head in heads {
        assert!(head.starts_with("CONNECT provider.test:443 HTTP/1.1\r\n"), "{head}");
        // user:canary
        assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic dxnlcjpjyw5hcnk="), "{head}");
    }
}

#[tokio::test]
async fn a_tunnel_to_an_http_upstream_goes_to_its_own_port() {
    let authority = Authority::new();
    let proxy = Proxy::start(&authority, None).await;
    let gateway = proxy
        .gateway(&authority, |config| config.upstreams[0].upstream.url = "http://provider.test".parse().unwrap())
        .await;
    assert_eq!(gateway.json("POST", LIST, "{}").send().await.unwrap().status(), 200);
    let heads = proxy.heads();
    assert_eq!(heads.len(), 1, "keys and tokens come from this machine: {heads:?}");
    assert!(heads[0].starts_with("CONNECT provider.test:80 HTTP/1.1\r\n"), "{heads:?}");
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_is_an_upstream_that_cannot_be_reached() {
    let authority = Authority::new();
    for refusal in ["HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "HTTP/1.1 403 Forbidden\r\n\r\n", "what?"] {
        let proxy = Proxy::start(&authority, Some(refusal)).await;
        let gateway = proxy
            .gateway(&authority, |config| config.upstreams[0].upstream.url = "https://provider.test".parse().unwrap())
            .await;
        let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
        let problem = assert_refused(reply, 502, "upstream_unreachable").await;
        assert!(problem["detail"].as_str().unwrap().ends_with("nothing was sent"), "{problem}");
        assert_eq!(gateway.sandbox.received_total(), 0);
    }
}
