//! Malformed or unsuitable entries in the JWK Set, before the valid ones.
//!
//! These entries come first. A client that takes the first key without a check, or the one that looks newest,
//! seals for one of them. Their private keys do not exist, so such a call is refused. The entries are the
//! same in each response, so the `ETag` of the set stays the same.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Twice the number of keys that clients commonly accept.
const MANY: u64 = 200;

/// Twice the size that clients commonly accept.
const HUGE: usize = 2 * 1024 * 1024;

const BITS: usize = 2048;

/// A kind of malformed or unsuitable entry in the key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MalformedKeys {
    /// An elliptic-curve key (RFC 7518 section 6.2).
    EcKey,
    /// An RSA key for signatures: `use` is `sig` and `alg` is `RS256`.
    SignatureKey,
    /// An RSA key of 1024 bits. RFC 7518 section 4.3 requires at least 2048.
    Bits1024,
    /// An RSA key with an even public exponent.
    EvenExponent,
    /// An RSA key with the public exponent 1, which leaves the padded plaintext unencrypted.
    ExponentOne,
    /// `null` in place of a key.
    NullEntry,
    /// Two different keys with one `kid`. RFC 7517 section 4.5 says that different keys should have different
    /// ones.
    DuplicateKid,
    /// The newest valid key again, without its `kid`. A message sealed for it can be opened.
    NoKid,
    /// A key with a private member. The value is random, which a client cannot detect.
    PrivateMembers,
    /// 200 well-formed keys.
    ManyKeys,
    /// An entry with an unknown key type and a member of 2 MiB.
    Huge,
}

impl MalformedKeys {
    /// All kinds.
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

    /// The entries of this kind. `newest` is the first of the valid keys.
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

/// A public RSA key without a known private key. `members` are added to it or replace its own.
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

/// An odd number of exactly `bits` bits as base64url. The same seed gives the same number.
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

    /// The published keys while `malformed` is armed.
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
    async fn each_kind_of_malformed_entry_precedes_the_valid_key() {
        let sandbox = TestSandbox::start().await;
        let valid = sandbox.jwks().await.ok()["keys"][0].take();
        for malformed in MalformedKeys::ALL {
            let mut keys = published(&sandbox, malformed).await;
            assert_eq!(keys.pop().as_ref(), Some(&valid), "{malformed:?}");
            let usable = keys.iter().filter(|key| EncryptionKey::from_jwk(key).is_ok()).count();
            let (entries, usable_expected) = match malformed {
                MalformedKeys::DuplicateKid => (2, 2),
                MalformedKeys::NoKid => (1, 1),
                MalformedKeys::ManyKeys => (200, 200),
                _ => (1, 0),
            };
            assert_eq!((keys.len(), usable), (entries, usable_expected), "{malformed:?}");
        }
        assert_eq!(sandbox.jwks().await.ok()["keys"].as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn duplicate_kid_publishes_two_different_keys() {
        let sandbox = TestSandbox::start().await;
        let keys = published(&sandbox, MalformedKeys::DuplicateKid).await;
        assert_eq!(keys[0]["kid"], keys[1]["kid"]);
        assert_ne!(keys[0]["n"], keys[1]["n"]);
    }

    #[tokio::test]
    async fn a_message_sealed_for_the_key_without_a_kid_can_be_opened() {
        let sandbox = TestSandbox::start().await;
        sandbox.handle.arm(Fault::Publish(MalformedKeys::NoKid));
        let message = sandbox.seal(b"{}").await;
        sandbox.post_jose("/v0/bank/credentials/list", message).await.ok();
        let received = sandbox.handle.received();
        assert_eq!(received[0].opened.as_ref().unwrap().kid, None);
    }

    #[tokio::test]
    async fn a_message_sealed_for_a_malformed_entry_is_refused() {
        let sandbox = TestSandbox::start().await;
        sandbox.handle.arm(Fault::Publish(MalformedKeys::DuplicateKid));
        let message = sandbox.seal(b"{}").await;
        let reply = sandbox.post_jose("/v0/bank/credentials/list", message).await;
        assert_eq!(reply.status, 400);
    }

    #[tokio::test]
    async fn the_huge_set_is_larger_than_2_mib() {
        let sandbox = TestSandbox::start().await;
        sandbox.handle.arm(Fault::Publish(MalformedKeys::Huge));
        assert!(sandbox.jwks().await.body.len() > HUGE);
    }
}
