//! The listener: TLS, certificates, unix sockets, and callers that are slow to begin.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Version;
use jwe_gateway::app::{App, BuildError, Dependencies, Shutdown};
use jwe_gateway::clock::Clock;
use jwe_gateway::config::Address;
use jwe_gateway::sandbox::{Options, Sandbox};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certificates::{Authority, client, first, unix_client};
use crate::harness::{TestGateway, config, eventually};
use crate::process;

const LIST: &str = "/v0/bank/credentials/list";

/// Sends a POST that the gateway must seal and forward.
async fn post(client: &reqwest::Client, gateway: &TestGateway) -> reqwest::Result<reqwest::Response> {
    let request = client.post(format!("https://{}{LIST}", gateway.address));
    request.header("content-type", "application/json").body("{}").send().await
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_served_with_http_1_and_http_2() {
    let authority = Authority::new();
    let gateway = TestGateway::spawn_with(|config| authority.serve(config)).await;
    for tls in [&TLS12, &TLS13] {
        for (alpn, version) in [
            (&[&b"h2"[..], b"http/1.1"][..], Version::HTTP_2),
            (&[b"http/1.1"], Version::HTTP_11),
            (&[], Version::HTTP_11),
        ] {
            gateway.sandbox.forget_received();
            let client = client(authority.caller(&[tls], alpn, None));
            let reply = post(&client, &gateway).await.unwrap();
            assert_eq!((reply.status().as_u16(), reply.version()), (200, version), "{tls:?}");
            assert!(reply.headers().contains_key("x-request-id"));
            assert_eq!(gateway.last().plaintext, "{}");
        }
    }
}

#[tokio::test]
async fn a_caller_without_a_valid_certificate_of_the_client_ca_is_refused() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let gateway = TestGateway::spawn_with(|config| authority.serve_mtls(config)).await;
    let expired = authority.issue_with(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let (valid, foreign) = (authority.issue(), foreign.issue());
    for tls in [&TLS12, &TLS13] {
        for (presented, what) in [(None, "none"), (Some(&foreign), "foreign"), (Some(&expired), "expired")] {
            let client = client(authority.caller(&[tls], &[b"h2", b"http/1.1"], presented));
            let refused = post(&client, &gateway).await;
            assert!(refused.is_err(), "{what}, {tls:?}: {refused:?}");
        }
        assert!(gateway.received().is_empty());
        let client = client(authority.caller(&[tls], &[b"h2", b"http/1.1"], Some(&valid)));
        assert_eq!(post(&client, &gateway).await.unwrap().status(), 200);
        gateway.sandbox.forget_received();
    }
}

#[tokio::test]
async fn a_connection_ends_when_the_callers_certificate_expires() {
    let authority = Authority::new();
    let gateway = TestGateway::spawn_with(|config| {
        authority.serve_mtls(config);
        // For HTTP/2: the test does not answer the GOAWAY.
        config.gateway.deadlines.stall = Duration::from_secs(1);
    })
    .await;
    for protocol in [&b"http/1.1"[..], b"h2"] {
        // The expiry of a certificate has a resolution of one second.
        let expiry = SystemTime::now() + Duration::from_secs(3);
        let pair = authority.issue_with(|params| params.not_after = expiry.into());
        let caller = Arc::new(authority.caller(&[&TLS13], &[protocol], Some(&pair)));
        let mut stream = connect(&gateway, &caller).await.unwrap();
        if protocol == b"http/1.1" {
            let request = format!("GET {LIST} HTTP/1.1\r\nHost: g\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
        }
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(crate::harness::PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the gateway did not end the connection");
        assert!(SystemTime::now() + Duration::from_secs(1) >= expiry, "the connection ended too early");
        assert_eq!(answer.starts_with(b"HTTP/1.1 "), protocol == b"http/1.1");
        let mut again = connect(&gateway, &caller).await;
        if let Ok(stream) = &mut again {
            // In TLS 1.3 a client learns of the refusal when it reads next.
            again = stream.read_u8().await.map(|_| unreachable!("a refused caller receives no bytes"));
        }
        assert!(again.is_err());
    }
}

#[tokio::test]
async fn with_a_client_ca_no_session_is_resumed() {
    let authority = Authority::new();
    let gateway = TestGateway::spawn_with(|config| authority.serve_mtls(config)).await;
    let pair = authority.issue();
    for tls in [&TLS12, &TLS13] {
        let caller = Arc::new(authority.caller(&[tls], &[b"http/1.1"], Some(&pair)));
        for _ in 0..2 {
            let mut stream = connect(&gateway, &caller).await.unwrap();
            // A TLS 1.3 ticket would arrive with the first response.
            stream.write_all(b"GET / HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 "));
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
        }
    }
}

#[tokio::test]
async fn plain_http_on_a_tls_port_gets_an_explanation_and_other_callers_are_served() {
    let authority = Authority::new();
    let gateway = TestGateway::spawn_with(|config| authority.serve(config)).await;
    let answer = gateway.raw(format!("GET {LIST} HTTP/1.1\r\nHost: g\r\n\r\n")).await;
    assert_eq!(answer.status, 400);
    assert!(answer.closed && answer.body.contains("speaks TLS"), "{answer:?}");
    // Neither HTTP nor TLS: the gateway sends an alert (record type 21) and closes the connection.
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"\x00\x01what is this?").await.unwrap();
    let mut alert = Vec::new();
    stream.read_to_end(&mut alert).await.unwrap();
    assert_eq!(alert.first(), Some(&21), "{alert:?}");
    assert!(gateway.received().is_empty());
    let client = client(authority.caller(&[&TLS13], &[], None));
    assert_eq!(post(&client, &gateway).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_slow_handshake_delays_no_other_caller_and_has_a_deadline() {
    let authority = Authority::new();
    let gateway = TestGateway::spawn_with(|config| {
        authority.serve(config);
        config.gateway.deadlines.head = Duration::from_secs(2);
    })
    .await;
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    let mut slow = TcpStream::connect(gateway.address).await.unwrap();
    slow.write_all(b"\x16\x03\x01\x02").await.unwrap();
    let client = client(authority.caller(&[&TLS13], &[], None));
    assert_eq!(post(&client, &gateway).await.unwrap().status(), 200);
    for stream in [&mut silent, &mut slow] {
        let ended = tokio::time::timeout(crate::harness::PATIENCE, stream.read(&mut [0]))
            .await
            .expect("the gateway ends the connection");
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
}

#[tokio::test]
async fn a_connection_in_its_handshake_counts_towards_max_connections() {
    let authority = Authority::new();
    let gateway = TestGateway::spawn_with(|config| {
        authority.serve(config);
        config.gateway.listen.max_connections = 1;
    })
    .await;
    let mut slow = TcpStream::connect(gateway.address).await.unwrap();
    let client = client(authority.caller(&[&TLS13], &[], None));
    assert_eq!(post(&client, &gateway).await.unwrap().status(), 200);
    let ended = tokio::time::timeout(crate::harness::PATIENCE, slow.read(&mut [0])).await;
    let ended = ended.expect("the gateway closes the connection in its handshake for the second one");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

#[tokio::test]
async fn unusable_tls_files_change_nothing_and_a_valid_pair_replaces_the_old_one() {
    let authority = Authority::new();
    let (clock, control) = Clock::manual();
    let dependencies = Dependencies { clock, ..Dependencies::default() };
    let gateway = TestGateway::spawn_among(dependencies, Options::default(), |config| authority.serve(config)).await;
    let caller = Arc::new(authority.caller(&[&TLS13], &[], None));
    let old = presented(&gateway, &caller).await;
    let new = authority.issue();
    authority.put("cert.pem", &new.certificate[..new.certificate.len() / 2]);
    for _ in 0..5 {
        control.advance(Duration::from_secs(10));
        assert_eq!(presented(&gateway, &caller).await, old);
    }
    authority.put("cert.pem", &new.certificate);
    for _ in 0..5 {
        control.advance(Duration::from_secs(10));
        assert_eq!(presented(&gateway, &caller).await, old, "the private key is still the old one");
    }
    authority.put("key.pem", &new.key);
    eventually("the new certificate is presented", async || {
        control.advance(Duration::from_secs(10));
        presented(&gateway, &caller).await == first(&new.certificate)
    })
    .await;
}

#[tokio::test]
async fn unusable_tls_files_are_reported_as_a_configuration_error_with_their_paths() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.put("key.pem", &other.issue().key);
    authority.put("secret", "s3cret");
    let path = |name: &str| authority.path(name).display().to_string();
    authority.put(
        "gateway.toml",
        &format!(
            "[listen]\naddress = \"127.0.0.1:0\"\ntls = {{ certificate = \"{}\", private_key = \"{}\" }}\n\
             [[upstream]]\nurl = \"http://127.0.0.1:9\"\ncredentials.client_id = \"id\"\n\
             credentials.client_secret_file = \"{}\"\n",
            path("cert.pem"),
            path("key.pem"),
            path("secret"),
        ),
    );
    for verb in ["run", "check"] {
        let ended = process::run(&[verb, "--config", &path("gateway.toml"), "--admin", "127.0.0.1:0"], b"");
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(78), "{verb}: {stderr}");
        assert!(stderr.contains("listen.tls: ") && stderr.contains(&path("cert.pem")), "{verb}: {stderr}");
    }
}

#[tokio::test]
async fn a_unix_socket_has_its_mode_while_it_serves_and_is_removed_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.sock");
    // A socket file left by a process that crashed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address = Address::Unix { path: path.clone(), mode: 0o660 };
    let mut gateway = TestGateway::spawn_with(|config| config.gateway.listen.address = address.clone()).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o660);
    let client = unix_client(&path);
    let request = client.post(format!("http://localhost{LIST}")).header("content-type", "application/json");
    assert_eq!(request.body("{}").send().await.unwrap().status(), 200);
    assert_eq!(gateway.last().plaintext, "{}");

    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let mut second = config(&sandbox);
    second.gateway.listen.address = address;
    let refused = App::build(second, Dependencies::default()).await.unwrap_err();
    assert!(matches!(refused, BuildError::Bind { what: "listen.address", .. }), "{refused}");
    assert!(refused.to_string().contains("gateway.sock: another process listens on this socket"), "{refused}");

    gateway.stop(Shutdown::Immediate);
    gateway.ended().await;
    assert!(!path.exists());
}

/// Connects to the gateway with a TLS handshake.
async fn connect(
    gateway: &TestGateway,
    caller: &Arc<rustls::ClientConfig>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let name = ServerName::from(gateway.address.ip());
    tokio_rustls::TlsConnector::from(Arc::clone(caller)).connect(name, stream).await
}

/// Returns the certificate that the gateway presents now.
async fn presented(gateway: &TestGateway, caller: &Arc<rustls::ClientConfig>) -> CertificateDer<'static> {
    let stream = connect(gateway, caller).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}
