//! Faulty requests. Each one gets its refusal from the table, and the next request succeeds.

use std::time::Duration;

use jwe_gateway::app::Code;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{RawAnswer, TestGateway, assert_refused, assert_refused_raw};

const LIST: &str = "/v0/bank/credentials/list";

#[tokio::test]
async fn a_body_that_is_not_json_is_refused() {
    let gateway = TestGateway::spawn().await;
    for body in [&b"{"[..], b"{}x", b"{'a':1}", b"\xef\xbb\xbf{}", b"\"\xff\"", b"NaN", b" ", &[b'['; 5000]] {
        let reply = gateway.json("POST", LIST, body.to_vec()).send().await.unwrap();
        assert_refused(reply, 400, "malformed_json").await;
    }
    assert!(gateway.received().is_empty(), "nothing was sent");
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn a_refusal_contains_no_part_of_the_body() {
    let gateway = TestGateway::spawn().await;
    let reply = gateway.json("POST", LIST, r#"{"iban": canary}"#).send().await.unwrap();
    let problem = assert_refused(reply, 400, "malformed_json").await;
    assert!(!problem.to_string().contains("canary"), "{problem}");
}

#[tokio::test]
async fn declared_json_without_a_body_is_refused() {
    let gateway = TestGateway::spawn().await;
    for method in ["POST", "PUT", "PATCH"] {
        let reply = gateway.json(method, LIST, "").send().await.unwrap();
        assert_refused(reply, 400, "malformed_json").await;
    }
    let chunked = format!(
        "POST {LIST} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    assert_refused_raw(&gateway.raw(chunked).await, 400, "malformed_json");
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_and_without_a_declared_length() {
    let gateway = TestGateway::spawn_with(|config| config.gateway.limits.max_body = 1000).await;
    let fits = format!("\"{}\"", "x".repeat(998));
    assert_eq!(gateway.json("POST", LIST, fits).send().await.unwrap().status(), 200);
    let over = format!("\"{}\"", "x".repeat(999));
    let reply = gateway.json("POST", LIST, over.clone()).send().await.unwrap();
    assert_eq!(reply.headers()["connection"], "close");
    assert_refused(reply, 413, "body_too_large").await;
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(over)]));
    assert_refused(gateway.json("POST", LIST, chunked).send().await.unwrap(), 413, "body_too_large").await;
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn a_caller_that_sends_its_whole_body_before_it_reads_still_gets_the_413() {
    let gateway = TestGateway::spawn_with(|config| config.gateway.limits.max_body = 1000).await;
    let body = "x".repeat(8 * 1024 * 1024);
    let head = format!(
        "POST {LIST} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    assert_refused_raw(&gateway.raw(head + &body).await, 413, "body_too_large");
}

#[tokio::test]
async fn a_caller_that_waits_for_100_continue_is_refused_at_once() {
    let gateway = TestGateway::spawn_with(|config| config.gateway.limits.max_body = 1000).await;
    let head = format!(
        "POST {LIST} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n"
    );
    assert_refused_raw(&gateway.raw(head).await, 413, "body_too_large");
}

#[tokio::test]
async fn an_unsupported_content_type_is_refused() {
    let gateway = TestGateway::spawn().await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"] {
        let reply = gateway.request("POST", LIST).header("content-type", content_type).body("{}").send().await.unwrap();
        assert_refused(reply, 415, "unsupported_media_type").await;
    }
    let reply = gateway.request("POST", LIST).body("{}").send().await.unwrap();
    assert_refused(reply, 415, "unsupported_media_type").await;
    let reply = gateway.json("POST", LIST, "{}").header("content-type", "application/json").send().await.unwrap();
    assert_refused(reply, 415, "unsupported_media_type").await;
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn a_body_with_a_content_encoding_is_refused() {
    let gateway = TestGateway::spawn().await;
    let reply = gateway.json("POST", LIST, "{}").header("content-encoding", "gzip").send().await.unwrap();
    assert_refused(reply, 415, "unsupported_media_type").await;
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn a_callers_own_authorization_never_reaches_the_provider() {
    let gateway = TestGateway::spawn().await;
    let request = gateway.json("POST", LIST, "{}").header("authorization", "Bearer callers-own");
    let reply = request
        .header("proxy-authorization", "Basic eA==")
        .header("authorization_", "Bearer twin")
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status(), 200);
    let sent = gateway.last().headers["authorization"].to_str().unwrap().to_owned();
    assert!(sent.starts_with("Bearer ") && !sent.contains("callers-own"));
}

#[tokio::test]
async fn headers_named_in_any_connection_line_are_removed_but_not_the_gateways_token() {
    let gateway = TestGateway::spawn().await;
    let request = format!(
        "POST {LIST} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
         Connection: X-Secret-One, Authorization\r\nConnection: X-Secret-Two, Content-Type\r\n\
         X-Secret-One: 1\r\nX-Secret-Two: 2\r\nX-Test-Kept: 3\r\n\r\n{{}}"
    );
    assert_eq!(gateway.raw(request).await.status, 200);
    let headers = gateway.last().headers;
    assert!(!headers.contains_key("x-secret-one") && !headers.contains_key("x-secret-two"));
    assert_eq!(headers["x-test-kept"], "3");
    assert_eq!(headers["content-type"], "application/jose");
}

#[tokio::test]
async fn an_ambiguous_target_is_refused() {
    let gateway = TestGateway::spawn().await;
    for target in [
        "http://elsewhere.test/v0/bank/available",
        "/v0/bank/../token",
        "/v0/bank/%2e%2e/token",
        "/v0/bank/.%2E/token",
        "/v0/bank%2f..%2ftoken",
        "//elsewhere.test/v0",
        "/v0//bank",
        "/v0/bank%5c..%5ctoken",
        "/v0/bank%00",
    ] {
        let answer = gateway.raw(format!("GET {target} HTTP/1.1\r\nHost: g\r\n\r\n")).await;
        assert_refused_raw(&answer, 400, "malformed_target");
    }
    assert!(gateway.received().is_empty());
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn a_foreign_host_does_not_change_where_the_request_goes() {
    let gateway = TestGateway::spawn().await;
    let request = "GET /v0/bank/available HTTP/1.1\r\nHost: elsewhere.test\r\nX-Forwarded-Host: elsewhere.test\r\n\r\n";
    assert_eq!(gateway.raw(request).await.status, 200);
    assert_eq!(gateway.last().headers["host"], gateway.sandbox.url().strip_prefix("http://").unwrap());
}

#[tokio::test]
async fn a_request_without_one_valid_host_is_refused() {
    let gateway = TestGateway::spawn().await;
    for hosts in ["", "Host: a\r\nHost: b\r\n", "Host: a b\r\n", "Host: user@a\r\n", "Host: a/b\r\n"] {
        let answer = gateway.raw(format!("GET /v0/bank/available HTTP/1.1\r\n{hosts}\r\n")).await;
        assert_refused_raw(&answer, 400, "malformed_target");
    }
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn methods_that_are_not_forwarded_are_refused() {
    let gateway = TestGateway::spawn().await;
    for line in ["CONNECT elsewhere.test:443", "TRACE /v0/bank/available", "OPTIONS *", "BREW /v0/bank/available"] {
        let answer = gateway.raw(format!("{line} HTTP/1.1\r\nHost: g\r\n\r\n")).await;
        assert_refused_raw(&answer, 405, "method_not_allowed");
        assert_eq!(answer.headers["allow"], "GET, HEAD, POST, PUT, PATCH, DELETE");
    }
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn an_upgrade_is_not_forwarded() {
    let gateway = TestGateway::spawn().await;
    let request = "GET /v0/bank/available HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(gateway.raw(request).await.status, 200);
    assert!(!gateway.last().headers.contains_key("upgrade"));
}

#[tokio::test]
async fn a_message_that_is_not_a_compact_jwe_is_refused() {
    let gateway = TestGateway::spawn().await;
    for body in ["a.b.c.d", "", "{}", "eyJhbGciOiJub25lIn0....", "a.b.c.d.e"] {
        let request = gateway.request("POST", LIST).header("content-type", "application/jose").body(body);
        assert_refused(request.send().await.unwrap(), 400, "malformed_jose").await;
    }
    assert!(gateway.received().is_empty());
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn a_callers_token_request_is_refused() {
    let gateway = TestGateway::spawn().await;
    for target in ["/v0/token", "/v0/token/", "/v0/%74oken", "/v0/token?x=1"] {
        let reply = gateway.json("POST", target, r#"{"grant_type":"client_credentials"}"#).send().await.unwrap();
        assert_refused(reply, 403, "caller_forbidden").await;
    }
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn a_callers_token_request_is_refused_with_a_base_path_too() {
    let gateway = TestGateway::spawn_with(|config| {
        let upstream = &mut config.upstreams[0];
        upstream.upstream.url = upstream.upstream.url.join("/base/").unwrap();
        if let jwe_gateway::config::CredentialsConfig::ClientCredentials(credentials) = &mut upstream.credentials {
            credentials.url = credentials.url.join("/base/v0/token").unwrap();
        }
    })
    .await;
    let reply = gateway.json("POST", "/v0/token", "{}").send().await.unwrap();
    assert_refused(reply, 403, "caller_forbidden").await;
}

#[tokio::test]
async fn the_path_of_the_token_endpoint_is_forwarded_to_an_upstream_without_one() {
    let gateway = TestGateway::spawn_with(|config| {
        let elsewhere = config.upstreams[0].upstream.url.as_str().replace("127.0.0.1", "localhost");
        config.upstreams[0].upstream.url = elsewhere.parse().unwrap();
        config.upstreams[0].credentials = jwe_gateway::config::CredentialsConfig::None;
    })
    .await;
    let reply = gateway.json("POST", "/v0/token", "{}").send().await.unwrap();
    assert!(reply.headers()["proxy-status"].to_str().unwrap().contains("received-status"));
}

#[tokio::test]
async fn digests_of_the_clear_body_are_not_forwarded() {
    let gateway = TestGateway::spawn().await;
    let mut request = gateway.json("POST", LIST, "{}").header("content-encoding", "identity");
    for name in ["content-digest", "repr-digest", "digest", "content-md5", "content_digest"] {
        request = request.header(name, "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:");
    }
    assert_eq!(request.send().await.unwrap().status(), 200);
    // The harness fails on any header that it does not know.
    gateway.received();
}

#[tokio::test]
async fn a_path_that_no_upstream_serves_is_refused() {
    let gateway = TestGateway::spawn_with(|config| config.upstreams[0].prefix = "/v0".parse().unwrap()).await;
    for target in ["/letters/v1/search-letters", "/v0x", "/"] {
        assert_refused(gateway.request("GET", target).send().await.unwrap(), 404, "no_upstream").await;
    }
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_the_connection_closed() {
    let gateway = TestGateway::spawn().await;
    let head = format!("POST {LIST} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n");
    for framing in [
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "Content-Length: +2\r\n\r\n{}",
        "Content-Length: 0x2\r\n\r\n{}",
        "Content-Length: \r\n\r\n{}",
        "Content-Length: 99999999999999999999999\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "X-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let answer = gateway.raw(format!("{head}{framing}")).await;
        assert_eq!(answer.status, 400, "{framing}: {answer:?}");
        assert!(answer.closed, "{framing}");
    }
    assert!(gateway.received().is_empty(), "nothing was sent");
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn ambiguous_framing_closes_the_connection_also_if_the_head_has_another_fault() {
    let gateway = TestGateway::spawn().await;
    for (line, host) in [("POST /v0/x", ""), ("BREW /v0/x", "Host: g\r\n"), ("POST /v0//x", "Host: g\r\n")] {
        let answer = gateway
            .raw(format!(
                "{line} HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: g\r\n\r\n"
            ))
            .await;
        assert_eq!(answer.status, 400, "{line}: {answer:?}");
        assert!(answer.closed, "{line}");
    }
    assert!(gateway.received().is_empty(), "the octets after the body are not a request");
}

#[tokio::test]
async fn a_length_with_chunks_is_ignored_and_the_connection_closed() {
    let gateway = TestGateway::spawn().await;
    let request = format!(
        "POST {LIST} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: 44\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: g\r\n\r\n"
    );
    let answer = gateway.raw(request).await;
    assert_eq!(answer.status, 200);
    assert!(answer.closed);
    let received = gateway.received();
    assert_eq!(received.len(), 1, "the bytes after the body are not a request");
    assert_eq!(received[0].plaintext, "{}");
}

#[tokio::test]
async fn half_a_body_is_never_sent() {
    let gateway = TestGateway::spawn().await;
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    let half =
        format!("POST {LIST} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n[1,2");
    caller.write_all(half.as_bytes()).await.unwrap();
    caller.shutdown().await.unwrap();
    assert_refused_raw(&RawAnswer::read(&mut caller).await, 400, Code::MalformedRequest.row().code);
    assert!(gateway.received().is_empty());
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn callers_that_disconnect_during_their_bodies_do_not_disturb_others() {
    let gateway = TestGateway::spawn().await;
    for _ in 0..50 {
        let mut caller = TcpStream::connect(gateway.address).await.unwrap();
        let half = format!(
            "POST {LIST} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n[1,2"
        );
        caller.write_all(half.as_bytes()).await.unwrap();
        drop(caller);
    }
    gateway.assert_still_serves().await;
    assert_eq!(gateway.received().len(), 1);
}

#[tokio::test]
async fn a_caller_that_closes_its_sending_side_still_gets_its_response() {
    let gateway = TestGateway::spawn().await;
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    caller.write_all(b"GET /v0/bank/available HTTP/1.1\r\nHost: g\r\n\r\n").await.unwrap();
    caller.shutdown().await.unwrap();
    assert_eq!(RawAnswer::read(&mut caller).await.status, 200);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    let gateway = TestGateway::spawn_with(|config| config.gateway.deadlines.body = Duration::from_millis(100)).await;
    let slow =
        format!("POST {LIST} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n[1,2");
    assert_refused_raw(&gateway.raw(slow).await, 408, "request_timeout");
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_ends_the_connection() {
    let gateway = TestGateway::spawn_with(|config| config.gateway.deadlines.head = Duration::from_millis(100)).await;
    let answer = gateway.raw("GET /v0/bank/available HTTP/1.1\r\nHos").await;
    assert!(answer.closed, "{answer:?}");
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn a_request_over_the_budget_for_buffered_bytes_is_refused_until_the_budget_is_free() {
    let gateway = TestGateway::spawn_with(|config| {
        config.gateway.limits.max_body = 1000;
        config.gateway.limits.buffered = 1000;
    })
    .await;
    let mut holder = TcpStream::connect(gateway.address).await.unwrap();
    let head =
        format!("POST {LIST} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n");
    holder.write_all(format!("{head}\"{}", "x".repeat(898)).as_bytes()).await.unwrap();
    let body = format!("\"{}\"", "x".repeat(200));
    crate::harness::eventually("the budget is used up", async || {
        gateway.json("POST", LIST, body.clone()).send().await.unwrap().status() == 503
    })
    .await;
    let reply = gateway.json("POST", LIST, body.clone()).send().await.unwrap();
    assert_eq!(reply.headers()["retry-after"], "1");
    assert_refused(reply, 503, "overloaded").await;
    drop(holder);
    crate::harness::eventually("the budget is free", async || {
        gateway.json("POST", LIST, body.clone()).send().await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_request_over_the_limit_of_requests_in_flight_is_refused() {
    let gateway = TestGateway::spawn_with(|config| config.gateway.limits.in_flight = 1).await;
    let mut holder = TcpStream::connect(gateway.address).await.unwrap();
    let head =
        format!("POST {LIST} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n");
    holder.write_all(head.as_bytes()).await.unwrap();
    crate::harness::eventually("the limit is reached", async || {
        gateway.request("GET", "/v0/bank/available").send().await.unwrap().status() == 503
    })
    .await;
    // A caller that is refused before it sends its body may still send it, and then send another request.
    let mut refused = TcpStream::connect(gateway.address).await.unwrap();
    refused.write_all(head.as_bytes()).await.unwrap();
    let answer = RawAnswer::read(&mut refused).await;
    assert_refused_raw(&answer, 503, "overloaded");
    assert!(!answer.headers.contains_key("connection"), "{answer:?}");
    holder.write_all(b"{}").await.unwrap();
    assert_eq!(RawAnswer::read(&mut holder).await.status, 200);
    refused.write_all(format!("{{}}{head}{{}}").as_bytes()).await.unwrap();
    assert_eq!(RawAnswer::read(&mut refused).await.status, 200);
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn a_target_with_bytes_above_0x7f_is_refused() {
    let gateway = TestGateway::spawn().await;
    for target in ["/v0/b\u{e1}nk/available", "/v0/bank/available?q=\u{e1}"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_refused_raw(&gateway.raw(request).await, 400, "malformed_target");
    }
    assert_eq!(gateway.sandbox.received_total(), 0);
    gateway.assert_still_serves().await;
}
