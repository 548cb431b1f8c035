//! The threat model in `docs/security.md` names tests that exist. Threats that no other module tests have their tests here.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::certificates::{Authority, client};
use crate::documents::{document, root};
use crate::harness::{PATIENCE, TestGateway, assert_refused};
use crate::http2::connect;
use crate::http2_provider::{Provider, Script};
use crate::upstream_faults::ScriptedApi;

const LIST: &str = "/v0/bank/credentials/list";
const HEADER: &str = "| threat | the gateway | tests |";

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let text = document("docs/security.md");
    let mut tests = BTreeSet::new();
    collect_tests(&root().join("src"), "", &mut tests);
    collect_tests(&root().join("tests/gateway"), "", &mut tests);
    let mut rows = 0;
    let mut lines = text.lines();
    while lines.any(|line| line == HEADER) {
        for row in lines.by_ref().skip(1).take_while(|line| line.starts_with('|')) {
            let cell = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap().trim();
            let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
            assert!(!names.is_empty() || cell == "none", "a row names its tests: {row}");
            for name in names {
                assert!(tests.contains(name), "docs/security.md: there is no test {name}");
            }
            rows += 1;
        }
    }
    assert!(rows > 50, "the threat model has tables");
}

/// Adds the tests below `folder`, as `cargo test` prints them.
fn collect_tests(folder: &Path, module: &str, tests: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let inner = if stem == "mod" { module.to_owned() } else { format!("{module}{stem}::") };
        if path.is_dir() {
            collect_tests(&path, &inner, tests);
            continue;
        }
        let (mut inline, mut is_test) = (String::new(), false);
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) {
                inline = format!("{name}::");
            }
            let code = line.trim_start();
            is_test |= code.starts_with("#[test]") || code.starts_with("#[tokio::test");
            let function = code.strip_prefix("async ").unwrap_or(code).strip_prefix("fn ");
            if let Some((name, _)) = function.filter(|_| is_test).and_then(|rest| rest.split_once('(')) {
                tests.insert(format!("{inner}{inline}{name}"));
                is_test = false;
            }
        }
    }
}

#[tokio::test]
async fn a_provider_whose_certificate_is_not_trusted_receives_no_request() {
    let provider = Provider::start(&[Script::Answer], Duration::ZERO).await;
    let other = Authority::new();
    let gateway = TestGateway::spawn_with(|config| {
        provider.serve(config);
        config.upstreams[0].upstream.ca_file = Some(other.path("ca.pem"));
    })
    .await;
    let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
    assert_refused(reply, 502, "upstream_unreachable").await;
    assert!(provider.processed().is_empty());
}

#[tokio::test]
async fn a_provider_that_refuses_a_body_early_is_heard() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let provider = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The rest of the body is never read.
            stream.read_exact(&mut [0; 1024]).await.unwrap();
            stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            open.push(stream);
        }
    });
    let gateway = TestGateway::spawn_with(|config| config.upstreams[0].upstream.url = url).await;
    let body = format!("\"{}\"", "x".repeat(20 << 20));
    for _ in 0..2 {
        let reply = gateway.json("POST", LIST, body.clone()).send().await.unwrap();
        assert_eq!(reply.status(), 413, "the second request has a connection of its own");
        assert_eq!(reply.headers()["proxy-status"], "jwe-gateway; received-status=413");
    }
    provider.abort();
}

#[tokio::test]
async fn a_reply_with_large_headers_is_relayed_and_one_with_endless_headers_is_a_protocol_fault() {
    let large = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Large: {}\r\n\r\n", "x".repeat(60 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", "X-Many: x\r\n".repeat(10_000));
    let endless = format!("HTTP/1.1 200 OK\r\nX-Endless: {}", "x".repeat(1 << 20));
    for (reply, status) in [(large, 200), (many, 502), (endless, 502)] {
        let api = ScriptedApi::start(reply.leak().as_bytes(), true).await;
        let url = api.url().parse().unwrap();
        let gateway = TestGateway::spawn_with(|config| config.upstreams[0].upstream.url = url).await;
        let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
        if status == 502 {
            assert_refused(reply, status, "upstream_protocol").await;
        } else {
            assert_eq!((reply.status().as_u16(), reply.headers()["x-large"].len()), (status, 60 * 1024));
        }
    }
}

#[tokio::test]
async fn a_reply_with_chunk_extensions_and_trailers_is_relayed_without_the_gateways_own_fields() {
    let reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Jwe-Gateway-Key\r\n\r\n\
                  6;a=\"b\"\r\nwhole!\r\n0\r\nX-Sum: 1\r\nJwe-Gateway-Key: reason=unknown\r\n\r\n";
    let api = ScriptedApi::start(reply, true).await;
    let gateway = TestGateway::spawn_with(|config| config.upstreams[0].upstream.url = api.url().parse().unwrap()).await;
    let request = "GET /v0/bank/available HTTP/1.1\r\nHost: g\r\nTE: trailers\r\nConnection: TE, close\r\n\r\n";
    let answer = gateway.raw(request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body.to_ascii_lowercase(), "6\r\nwhole!\r\n0\r\nx-sum: 1\r\n\r\n");
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

/// An HTTP/2 frame. `flags` 5 ends the header block and the stream.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_floods_with_http2_frames_is_closed() {
    let authority = Authority::new();
    let gateway = TestGateway::spawn_with(|config| authority.serve(config)).await;
    // `GET https://g/`, as HPACK writes it (RFC 7541 appendix A). Without the last field it is malformed.
    let request = [0x82, 0x87, 0x84, 0x01, 1, b'g'];
    let streams = |count: u32| (0..count).map(|number| 2 * number + 1);
    // Streams that are reset at once (CVE-2023-44487).
    let rapid_reset: Vec<u8> = streams(1000)
        .flat_map(|id| [frame(HEADERS, 5, id, &request), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat())
        .collect();
    // A header block that does not end.
    let continuation =
        [frame(HEADERS, 1, 1, &request), frame(CONTINUATION, 0, 1, &[0, 1, b'x', 1, b'y']).repeat(1000)].concat();
    // Streams that the gateway has to reset (CVE-2025-8671).
    let made_to_reset: Vec<u8> = streams(5000).flat_map(|id| frame(HEADERS, 5, id, &[0x82, 0x84])).collect();
    for flood in [rapid_reset, continuation, made_to_reset] {
        let stream = connect(&authority, &gateway).await;
        let start = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..], &flood].concat();
        // The gateway may close the connection before it has read everything.
        let ended = async {
            let (mut reader, mut writer) = tokio::io::split(stream);
            let writing = async {
                let _ = writer.write_all(&start).await;
                let _ = writer.flush().await;
            };
            let reading = async { reader.read_to_end(&mut Vec::new()).await };
            let _ = tokio::join!(writing, reading);
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("the gateway closes the connection");
    }
    let client = client(authority.caller(rustls::ALL_VERSIONS, &[b"h2"], None));
    let request = client.post(format!("https://{}{LIST}", gateway.address)).header("content-type", "application/json");
    assert_eq!(request.body("{}").send().await.unwrap().status(), 200);
}
