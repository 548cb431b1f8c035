//! The three settings of `encryption`, and the bodies that each of them forwards.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use jwe_gateway::app::Connector;
use jwe_gateway::config::Encryption;
use jwe_gateway::sandbox::{Options, Rotation, Sandbox};
use serde_json::Value;

use crate::harness::{TestGateway, assert_refused, assert_refused_raw};
use crate::process::{Running, command};

const LIST: &str = "/v0/bank/credentials/list";

async fn spawn(encryption: Encryption) -> TestGateway {
    TestGateway::spawn_with(|config| config.upstreams[0].encryption = encryption).await
}

#[tokio::test]
async fn clear_json_is_refused_before_it_is_read_where_sealed_bodies_are_required() {
    let gateway = spawn(Encryption::RequireSealed).await;
    let reply = gateway.json("POST", LIST, r#"{"canary":1}"#).send().await.unwrap();
    let body = assert_refused(reply, 403, "plaintext_refused").await;
    assert!(!body.to_string().contains("canary"));
    // The head is enough: no byte of this body is sent.
    let head =
        format!("POST {LIST} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n");
    assert_refused_raw(&gateway.raw(head).await, 403, "plaintext_refused");
    for (method, content_type, code, status) in [
        ("DELETE", Some("application/problem+json"), "plaintext_refused", 403),
        ("POST", Some("text/plain"), "unsupported_media_type", 415),
        ("POST", None, "unsupported_media_type", 415),
    ] {
        let mut request = gateway.request(method, LIST).body("{}");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        assert_refused(request.send().await.unwrap(), status, code).await;
    }
    assert_eq!(gateway.sandbox.received_total(), 0);
}

#[tokio::test]
async fn clear_json_that_is_declared_as_a_jwe_is_refused_at_its_first_byte() {
    let gateway = spawn(Encryption::RequireSealed).await;
    // The refusal comes before the rest of the body is sent.
    let mislabelled =
        format!("POST {LIST} HTTP/1.1\r\nHost: x\r\nContent-Type: application/jose\r\nContent-Length: 1000\r\n\r\n{{");
    assert_refused_raw(&gateway.raw(mislabelled).await, 400, "malformed_jose");
    let request = gateway.request("POST", LIST).header("content-type", "application/jose").body("12345");
    assert_refused(request.send().await.unwrap(), 400, "malformed_jose").await;
    assert_eq!(gateway.sandbox.received_total(), 0);
}

#[tokio::test]
async fn sealed_bodies_and_requests_without_a_body_are_forwarded_where_sealed_bodies_are_required() {
    let gateway = spawn(Encryption::RequireSealed).await;
    gateway.ready().await;
    let message = gateway.seal(r#"{"number":7}"#);
    let request = gateway.request("POST", LIST).header("content-type", "application/jose").body(message.clone());
    assert_eq!(request.send().await.unwrap().status(), 200);
    let received = gateway.last();
    assert_eq!((&received.wire[..], &received.plaintext[..]), (&message[..], &br#"{"number":7}"#[..]));
    assert_eq!(gateway.request("GET", "/v0/bank/available").send().await.unwrap().status(), 200);
    let declared = gateway.request("GET", "/v0/bank/available").header("content-type", "application/json");
    assert_eq!(declared.send().await.unwrap().status(), 200);
    assert_eq!(gateway.request("POST", LIST).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_message_with_clear_text_in_its_header_is_refused_unless_the_member_is_allowed() {
    let with_note = |message: &[u8]| {
        let header = r#"{"alg":"RSA-OAEP-256","enc":"A256CBC-HS512","note":"canary"}"#;
        let rest = &message[message.iter().position(|byte| *byte == b'.').unwrap()..];
        [BASE64URL.encode(header).as_bytes(), rest].concat()
    };
    for encryption in [Encryption::RequireSealed, Encryption::Seal] {
        for allowed in [Vec::new(), vec!["note".to_owned()]] {
            let is_allowed = !allowed.is_empty();
            let gateway = TestGateway::spawn_with(|config| {
                config.upstreams[0].encryption = encryption;
                config.upstreams[0].extra_header_members = allowed;
            })
            .await;
            let request = gateway.request("POST", LIST).header("content-type", "application/jose");
            let reply = request.body(with_note(&gateway.seal("{}"))).send().await.unwrap();
            if is_allowed {
                // The tag covers the header, so the provider cannot open the changed message.
                assert_eq!(reply.headers()["proxy-status"], "jwe-gateway; received-status=400");
                continue;
            }
            let problem = assert_refused(reply, 400, "malformed_jose").await;
            let detail = "the protected header is not encrypted and must not have the member `note`: remove it";
            assert_eq!(problem["detail"], detail);
            assert_eq!(gateway.sandbox.received_total(), 0);
        }
    }
}

#[tokio::test]
async fn a_message_with_an_unknown_key_is_forwarded_and_counted() {
    let gateway = spawn(Encryption::RequireSealed).await;
    gateway.ready().await;
    let message = gateway.seal("{}");
    gateway.sandbox.rotate(Rotation::HardCut).await.unwrap();
    let send = async || {
        let request = gateway.request("POST", LIST).header("content-type", "application/jose");
        request.body(message.clone()).send().await.unwrap()
    };
    let first = send().await;
    assert_eq!(first.status(), 400, "the gateway cannot seal it again");
    assert!(first.headers()["jwe-gateway-key"].to_str().unwrap().starts_with("reason=unknown, current=("));
    assert!(gateway.admin("/metrics").await.1.contains("unknown_kids_total{upstream=\"sandbox\"} 0"));
    assert_eq!(send().await.status(), 400);
    assert_eq!(gateway.sandbox.received_total(), 2, "forwarded all the same");
    assert!(gateway.admin("/metrics").await.1.contains("unknown_kids_total{upstream=\"sandbox\"} 1"));
}

#[tokio::test]
async fn an_egress_serves_the_providers_key_set_from_its_cache() {
    let gateway = spawn(Encryption::RequireSealed).await;
    gateway.ready().await;
    let get = async |header: (&str, &str)| {
        gateway.request("GET", "/.well-known/jwks.json").header(header.0, header.1).send().await.unwrap()
    };
    let kid_of = |set: &Value| set["keys"][0]["kid"].as_str().unwrap().to_owned();
    let first = get(("accept", "*/*")).await;
    assert_eq!(first.headers()["content-type"], "application/jwk-set+json");
    assert!(first.headers()["cache-control"].to_str().unwrap().starts_with("max-age="));
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    let set: Value = serde_json::from_slice(&first.bytes().await.unwrap()).unwrap();
    assert_eq!(kid_of(&set), kid_of(&gateway.sandbox.private_jwks()));
    assert_eq!(get(("if-none-match", &etag)).await.status(), 304);
    assert_eq!(gateway.sandbox.jwks_fetches(), 1, "the gateway's own fetch");

    let new_kid = gateway.sandbox.rotate(Rotation::HardCut).await.unwrap();
    assert_eq!(get(("if-none-match", &etag)).await.status(), 304, "the cached set");
    let fresh = get(("cache-control", "no-cache")).await;
    let set: Value = serde_json::from_slice(&fresh.bytes().await.unwrap()).unwrap();
    assert_eq!(kid_of(&set), new_kid);
    assert_eq!(gateway.sandbox.jwks_fetches(), 2);
    assert_refused(gateway.request("PUT", "/.well-known/jwks.json").send().await.unwrap(), 405, "method_not_allowed")
        .await;
    let head = gateway.request("HEAD", "/.well-known/jwks.json").send().await.unwrap();
    assert_eq!(head.status(), 200);
}

#[tokio::test]
async fn a_key_set_that_cannot_be_fetched_is_not_served_as_a_new_one() {
    use jwe_gateway::sandbox::{Fault, KeySetFault};
    let gateway = spawn(Encryption::RequireSealed).await;
    gateway.ready().await;
    gateway.sandbox.arm(Fault::KeySet(KeySetFault::ServerError));
    let fresh = gateway.request("GET", "/.well-known/jwks.json").header("cache-control", "no-cache");
    assert_refused(fresh.send().await.unwrap(), 503, "no_usable_key").await;
    let cached = gateway.request("GET", "/.well-known/jwks.json").send().await.unwrap();
    assert_eq!(cached.status(), 200, "the cached set is still served");
}

#[tokio::test]
async fn json_is_forwarded_in_clear_and_a_jwe_is_refused_where_encryption_is_off() {
    let gateway = spawn(Encryption::Off).await;
    gateway.ready().await;
    let body = "{ \"n\" : 1.10 }";
    let request = gateway.request("POST", LIST).header("content-type", "application/json; v=1").body(body);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let received = gateway.last();
    assert_eq!(received.wire, body);
    assert_eq!(received.headers["content-type"], "application/json; v=1");
    assert_eq!(received.headers["content-length"], body.len().to_string().as_str());
    assert!(received.opened.is_none());
    assert_refused(gateway.json("POST", LIST, "{").send().await.unwrap(), 400, "malformed_json").await;
    let message = gateway.request("POST", LIST).header("content-type", "application/jose").body("a.b.c.d.e");
    assert_refused(message.send().await.unwrap(), 415, "unsupported_media_type").await;
    assert_eq!(gateway.sandbox.jwks_fetches(), 0, "no keys are fetched");
}

#[tokio::test]
async fn an_unknown_kid_is_logged_with_its_upstream() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let config = files.path().join("egress.toml");
    let any_port = "address = \"127.0.0.1:0\"";
    let text = format!(
        "[listen]\n{any_port}\n[admin]\n{any_port}\n[[upstream]]\nname = \"flanks\"\nurl = \"{}\"\n\
         encryption = \"require-sealed\"\ncredentials.kind = \"none\"\n",
        sandbox.url()
    );
    std::fs::write(&config, text).unwrap();
    let mut egress = Running::start(command(&["run", "--log-format", "json", "--config", config.to_str().unwrap()]));
    let header = r#"{"alg":"RSA-OAEP-256","enc":"A256CBC-HS512","typ":"JWE","kid":"long-gone"}"#;
    // A well-formed message: 256, 16, 16 and 32 zero octets.
    let parts = [342, 22, 22, 43].map(|length| "A".repeat(length));
    let message = format!("{}.{}", BASE64URL.encode(header), parts.join("."));
    let client = Connector::new(None).unwrap().control_client().unwrap();
    let request = client.post(format!("http://{}{LIST}", egress.gateway)).header("content-type", "application/jose");
    request.body(message).send().await.unwrap();
    let line = egress.line_with("not published");
    assert!(line.contains("\"kid\":\"long-gone\"") && line.contains("\"upstream\":\"flanks\""), "{line}");
}

#[tokio::test]
async fn an_egress_with_a_prefix_serves_its_key_set_below_the_prefix() {
    for strip_prefix in [false, true] {
        let gateway = TestGateway::spawn_with(|config| {
            config.upstreams[0].encryption = Encryption::RequireSealed;
            config.upstreams[0].prefix = "/flanks".parse().unwrap();
            config.upstreams[0].strip_prefix = strip_prefix;
        })
        .await;
        let reply = gateway.request("GET", "/flanks/.well-known/jwks.json").send().await.unwrap();
        assert_eq!(reply.headers()["content-type"], "application/jwk-set+json");
        assert_eq!(gateway.request("GET", "/.well-known/jwks.json").send().await.unwrap().status(), 404);
    }
}
