//! Messages made by other implementations are opened: see `tests/vectors/README.md`.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use super::*;

const BODIES: [&str; 7] = ["1B", "2B", "15B", "16B", "17B", "1KiB", "1MiB"];
/// The body that is described in the README and not stored.
const MIB_SHA256: &str = "004ba8915294bd3c823d17ab4b5d30f5acba44c4ebb73ba1f915d9d2e7c9b203";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn stored_body(name: &str) -> Vec<u8> {
    if name != "1MiB" {
        return fs::read(folder().join("bodies").join(name).with_extension("json")).unwrap();
    }
    let body = body_of_one_mib();
    let hash: String = digest(&SHA256, &body).as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(hash, MIB_SHA256);
    body
}

/// `0123456789abcdef` repeated, in quotes.
fn body_of_one_mib() -> Vec<u8> {
    let digits = b"0123456789abcdef".iter().copied().cycle().take((1 << 20) - 2);
    [b'"'].into_iter().chain(digits).chain([b'"']).collect()
}

#[test]
fn messages_of_jwcrypto_and_npm_jose_are_well_formed_and_opened() {
    let jwk: Value = serde_json::from_slice(&fs::read(folder().join("private.jwk.json")).unwrap()).unwrap();
    let key = DecryptionKey::from_jwk(&jwk).unwrap();
    for maker in ["jwcrypto", "jose"] {
        for name in BODIES {
            let message = fs::read(folder().join(maker).join(name).with_extension("jwe")).unwrap();
            let body = stored_body(name);
            assert!(Plaintext::json(body.clone().into()).is_ok(), "{maker} {name}");

            let opened = open(&message, std::slice::from_ref(&key)).unwrap();
            assert!(*opened.plaintext == body, "{maker} {name}");

            let compact = Compact::parse(message.into()).unwrap();
            assert_eq!(compact.kid(), Some("vectors"));
            assert_eq!(compact.parts(), opened.parts.map(|part| part as u64));
        }
    }
}
