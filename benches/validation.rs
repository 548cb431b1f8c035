//! The cost of comparing a request with the description of the API, beside the cost of sealing its body.
//!
//!     cargo bench --bench validation [-- --quick]
//!
//! Each round measures both once, so that other work on the machine affects both.

#![allow(clippy::print_stdout, reason = "it prints a table")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that fails panics")]

mod common;

use std::hint::black_box;

use bytes::Bytes;
use http::Method;
use http::uri::PathAndQuery;
use jwe_gateway::config::Document;
use jwe_gateway::jose::{self, EncryptionKey, Plaintext};

use common::key::KeyPair;
use common::{Spread, thread_cpu};

const LETTER: &str = "/letters/v1/create-signed";
const DATA: &str = "/v0/bank/credentials/data?page=1&page_size=50";

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let rounds = if quick { 3 } else { 15 };
    let _ = common::cores().and_then(|cores| common::pin(cores[0]));
    let key = EncryptionKey::from_jwk(&KeyPair::generate().public).expect("a fresh key is accepted");
    println!("CPU per request in us, medians of {rounds} rounds\n");
    println!("{:<34} {:>9} {:>9} {:>6} {:>8}", "body", "bytes", "check", "goal", "seal");
    for (name, target, body, goal) in [
        ("letter of 1 KiB", LETTER, letter(1 << 10), "10"),
        ("query with few filters, 1 KiB", DATA, query(4, 220), "10"),
        ("query with many filters, 1 KiB", DATA, query(100, 6), "10"),
        ("the same with one wrong value", DATA, query(100, 6).replacen("\"f", "7,\"f", 1), ""),
        ("query with many filters, 64 KiB", DATA, query(6500, 6), ""),
        ("letter of 64 KiB", LETTER, letter(64 << 10), ""),
        ("letter of 10 MiB", LETTER, letter(10 << 20), ""),
    ] {
        let bytes = body.len();
        let body = Plaintext::json(Bytes::from(body)).expect("JSON");
        let target: PathAndQuery = target.parse().expect("a target");
        let found = Document::Flanks.differences(&Method::POST, &target, &body).expect("few values");
        assert_eq!(found, usize::from(name.contains("wrong")), "{name}");
        let calls = ((1 << 20) / bytes).clamp(1, 1000);
        let measured: Vec<(f64, f64)> = (0..rounds)
            .map(|_| {
                let check = cpu(calls, || _ = black_box(Document::Flanks.differences(&Method::POST, &target, &body)));
                let seal = cpu(calls, || {
                    jose::seal(&body, &key).expect("it seals").into_chunks().for_each(|chunk| drop(black_box(chunk)));
                });
                (check, seal)
            })
            .collect();
        let median = |of: fn(&(f64, f64)) -> f64| Spread::of(measured.iter().map(of)).expect("rounds").median;
        println!("{name:<34} {bytes:>9} {:>9.2} {goal:>6} {:>8.1}", median(|one| one.0), median(|one| one.1));
    }
}

/// A letter of about `bytes` bytes.
fn letter(bytes: usize) -> String {
    format!(r#"{{"connector_id":"sandbox-connector-1","data":"{}","labels":{{"a":"b"}}}}"#, "A".repeat(bytes - 80))
}

/// A query with this number of filters of this length.
fn query(filters: usize, length: usize) -> String {
    let filters: Vec<String> = (0..filters).map(|_| format!("\"f{}\"", "x".repeat(length - 1))).collect();
    format!(r#"{{"credentials_token":"sandbox-credentials-1","query":{{"description":[{}]}}}}"#, filters.join(","))
}

/// The CPU time of one call in microseconds, as the mean of `calls`.
fn cpu(calls: usize, mut call: impl FnMut()) -> f64 {
    let before = thread_cpu();
    (0..calls).for_each(|_| call());
    (thread_cpu() - before).as_secs_f64() * 1e6 / calls as f64
}
