//! Tests that need more than one file of the module.

use std::sync::LazyLock;

use bytes::Bytes;

use super::*;

mod interop;
mod keys;
mod lint;
mod messages;
mod tamper;
mod vectors;
mod wycheproof;

/// Returns one private key for all tests, because generating one is slow.
static KEY: LazyLock<DecryptionKey> = LazyLock::new(|| DecryptionKey::generate("test").unwrap());
/// Returns another private key.
static OTHER_KEY: LazyLock<DecryptionKey> = LazyLock::new(|| DecryptionKey::generate("other").unwrap());

fn public(key: &DecryptionKey) -> EncryptionKey {
    EncryptionKey::from_jwk(&key.to_public_jwk()).unwrap()
}

/// Returns a JSON body of exactly `bytes` bytes.
fn body(bytes: usize) -> Bytes {
    match bytes {
        0 => panic!("no JSON text is empty"),
        1 => Bytes::from_static(b"7"),
        _ => format!("\"{}\"", "x".repeat(bytes - 2)).into(),
    }
}

fn sealed(body: &Bytes) -> Compact {
    seal(&Plaintext::json(body.clone()).unwrap(), &public(&KEY)).unwrap()
}

fn sealed_text(body: &Bytes) -> String {
    String::from_utf8(sealed(body).into_bytes().unwrap()).unwrap()
}
