//! Entries that a JWK Set should not have, before those it should.
//!
//! They come first, so that a client which takes the first key, or the one that looks newest,
//! without a check seals for one of them; nobody holds their private halves, and the call is
//! refused. They look the same in each answer, so the set's `ETag` holds.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Twice what clients commonly take.
const MANY: u64 = 200;

/// Twice what clients commonly read.
const HUGE: usize = 2 * 1024 * 1024;

const BITS: usize = 2048;

/// What is published beside the real keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MalformedKeys {
    /// An elliptic-curve key (RFC 7518 section 6.2).
    EcKey,
    /// An RSA key for signatures: `use` is `sig`, `alg` is `RS256`.
    SignatureKey,
    /// An RSA key of 1024 bits; RFC 7518 section 4.3 asks for 2048.
    Bits1024,
    /// An RSA key whose public exponent is even.
    EvenExponent,
    /// An RSA key whose public exponent is 1: it "encrypts" to the padded plaintext itself.
    ExponentOne,
    /// `null` in place of a key.
    NullEntry,
    /// Two different keys under one kid (RFC 7517 section 4.5 says they should differ).
    DuplicateKid,
    /// The newest real key once more, without its kid. What is sealed for it can be opened.
    NoKid,
    /// A key with a private member. The value is made up; a client cannot know.
    PrivateMembers,
    /// 200 sound keys.
    ManyKeys,
    /// 2 MiB in a member that nobody knows.
    Huge,
}

impl MalformedKeys {
    /// All there is.
    pub const ALL: [Self; 11] = [
        Self::EcKey,
        Self::SignatureKey,
        Self::Bits1024,
        Self::EvenExponent,
        Self::ExponentOne,
        Self::NullEntry,
        Self::DuplicateKid,
        Self::NoKid,
        Self::PrivateMembers,
        Self::ManyKeys,
        Self::Huge,
    ];

    /// Its entries, beside `newest`, the first of the real ones.
    pub(in crate::sandbox) fn entries(self, newest: Option<&Value>) -> Vec<Value> {
        match self {
            Self::EcKey => vec![json!({
                "kty": "EC",
                "crv": "P-256",
                "x": number(1, 256),
                "y": number(2, 256),
                "use": "enc",
                "kid": "sandbox-junk-ec",
            })],
            Self::SignatureKey => {
                let members = json!({ "use": "sig", "alg": "RS256" });
                vec![rsa("signature", 3, BITS, &members)]
            }
            Self::Bits1024 => vec![rsa("1024", 4, 1024, &json!({}))],
            Self::EvenExponent => vec![rsa("even-exponent", 5, BITS, &json!({ "e": "AQAA" }))],
            Self::ExponentOne => vec![rsa("exponent-one", 6, BITS, &json!({ "e": "AQ" }))],
            Self::NullEntry => vec![Value::Null],
            Self::DuplicateKid => [7, 8].map(|seed| rsa("duplicate", seed, BITS, &json!({}))).into(),
            Self::NoKid => newest.cloned().map(without_kid).into_iter().collect(),
            Self::PrivateMembers => {
                let members = json!({ "d": number(9, BITS) });
                vec![rsa("private", 10, BITS, &members)]
            }
            Self::ManyKeys => {
                (0..MANY).map(|index| rsa(&format!("many-{index}"), 1000 + index, BITS, &json!({}))).collect()
            }
            Self::Huge => vec![json!({
                "kty": "sandbox",
                "kid": "sandbox-junk-huge",
                "sandbox": "x".repeat(HUGE),
            })],
        }
    }
}

/// A public RSA key that nobody has the private half of, with `members` added or replaced.
fn rsa(name: &str, seed: u64, bits: usize, members: &Value) -> Value {
    let mut key = json!({
        "kty": "RSA",
        "use": "enc",
        "alg": "RSA-OAEP-256",
        "kid": format!("sandbox-junk-{name}"),
        "n": number(seed, bits),
        "e": "AQAB",
    });
    if let (Some(key), Some(members)) = (key.as_object_mut(), members.as_object()) {
        key.extend(members.clone());
    }
    key
}

/// An odd number of exactly `bits` bits, the same for the same seed, as base64url.
fn number(seed: u64, bits: usize) -> String {
    let mut bytes = vec![0; bits / 8];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    if let Some(first) = bytes.first_mut() {
        *first |= 0x80;
    }
    if let Some(last) = bytes.last_mut() {
        *last |= 1;
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

fn without_kid(mut key: Value) -> Value {
    if let Some(members) = key.as_object_mut() {
        members.remove("kid");
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::EncryptionKey;
    use crate::sandbox::Fault;
    use crate::sandbox::testing::TestSandbox;

    /// The set with `junk` armed, as published.
    async fn published(sandbox: &TestSandbox, malformed: MalformedKeys) -> Vec<Value> {
        sandbox.handle.arm(Fault::Publish(malformed));
        let reply = sandbox.jwks().await;
        let etag = reply.header("etag").to_owned();
        let mut set = reply.ok();
        assert_eq!(sandbox.jwks().await.header("etag"), etag, "{malformed:?}");
        sandbox.handle.disarm_all();
        serde_json::from_value(set["keys"].take()).unwrap()
    }

    #[tokio::test]
    async fn each_kind_of_junk_stands_before_the_real_key_and_is_what_it_says() {
        let sandbox = TestSandbox::start().await;
        let real = sandbox.jwks().await.ok()["keys"][0].take();
        for malformed in MalformedKeys::ALL {
            let mut keys = published(&sandbox, malformed).await;
            assert_eq!(keys.pop().as_ref(), Some(&real), "{malformed:?}");
            let usable = keys.iter().filter(|key| EncryptionKey::from_jwk(key).is_ok()).count();
            let (entries, sound) = match malformed {
                MalformedKeys::DuplicateKid => (2, 2),
                MalformedKeys::NoKid => (1, 1),
                MalformedKeys::ManyKeys => (200, 200),
                _ => (1, 0),
            };
            assert_eq!((keys.len(), usable), (entries, sound), "{malformed:?}");
        }
        assert_eq!(sandbox.jwks().await.ok()["keys"].as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_duplicate_kid_stands_on_two_different_keys() {
        let sandbox = TestSandbox::start().await;
        let keys = published(&sandbox, MalformedKeys::DuplicateKid).await;
        assert_eq!(keys[0]["kid"], keys[1]["kid"]);
        assert_ne!(keys[0]["n"], keys[1]["n"]);
    }

    #[tokio::test]
    async fn what_is_sealed_for_the_key_without_a_kid_can_be_opened() {
        let sandbox = TestSandbox::start().await;
        sandbox.handle.arm(Fault::Publish(MalformedKeys::NoKid));
        let message = sandbox.seal(b"{}").await;
        sandbox.post_jose("/v0/bank/credentials/list", message).await.ok();
        let received = sandbox.handle.received();
        assert_eq!(received[0].opened.as_ref().unwrap().kid, None);
    }

    #[tokio::test]
    async fn what_is_sealed_for_junk_is_refused() {
        let sandbox = TestSandbox::start().await;
        sandbox.handle.arm(Fault::Publish(MalformedKeys::DuplicateKid));
        let message = sandbox.seal(b"{}").await;
        let reply = sandbox.post_jose("/v0/bank/credentials/list", message).await;
        assert_eq!(reply.status, 400);
    }

    #[tokio::test]
    async fn the_huge_set_is_larger_than_two_mebibytes() {
        let sandbox = TestSandbox::start().await;
        sandbox.handle.arm(Fault::Publish(MalformedKeys::Huge));
        assert!(sandbox.jwks().await.body.len() > HUGE);
    }
}
