//! What the rooms' own tests share: a server on loopback, and a client for it.

use std::ops::Deref;

use wiremock::MockServer;

/// wiremock's server, dropped on a thread of its own.
///
/// Its drop blocks on one of tokio's locks. On a task that has spent its cooperative budget the
/// lock is never ready, and the drop spins for ever; a test with a thousand callers met it.
pub(crate) struct Server(Option<MockServer>);

impl Server {
    pub(crate) async fn start() -> Self {
        Self(Some(MockServer::start().await))
    }
}

impl Deref for Server {
    type Target = MockServer;

    fn deref(&self) -> &MockServer {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let server = self.0.take();
        let dropped = std::thread::spawn(move || drop(server)).join();
        assert!(dropped.is_ok() || std::thread::panicking(), "the server's expectations hold");
    }
}

/// A client like the one that `upstream` makes, for loopback.
#[expect(clippy::disallowed_methods, reason = "a client for loopback; the real one is handed in")]
pub(crate) fn client() -> reqwest::Client {
    // Another test may have installed it before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let roots = rustls::RootCertStore::empty();
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_backend_preconfigured(tls)
        .build()
        .unwrap()
}
