//! A fresh RSA key of 2048 bits, and an opener of messages that shares no code with the gateway's sealing.

use josekit::jwe::alg::rsaes::{RsaesJweDecrypter, RsaesJweEncrypter};
use josekit::jwe::{self, RSA_OAEP_256};
use josekit::jwk::Jwk;
use serde_json::{Value, json};

pub(crate) const KID: &str = "bench-1";

pub(crate) struct KeyPair {
    /// The public half, as a provider publishes it.
    pub(crate) public: Value,
    pub(crate) encrypter: RsaesJweEncrypter,
    decrypter: RsaesJweDecrypter,
}

impl KeyPair {
    pub(crate) fn generate() -> Self {
        let private = Jwk::generate_rsa_key(2048).expect("OpenSSL makes a key");
        let public = private.to_public_key().expect("a private key has a public half");
        let (n, e) = (public.parameter("n"), public.parameter("e"));
        Self {
            public: json!({"kty": "RSA", "use": "enc", "alg": "RSA-OAEP-256", "kid": KID, "n": n, "e": e}),
            encrypter: RSA_OAEP_256.encrypter_from_jwk(&public).expect("a fresh key can encrypt"),
            decrypter: RSA_OAEP_256.decrypter_from_jwk(&private).expect("a fresh key can decrypt"),
        }
    }

    /// The content of a compact JWE.
    pub(crate) fn open(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let message = str::from_utf8(message).map_err(|error| error.to_string())?;
        let opened = jwe::deserialize_compact(message, &self.decrypter);
        opened.map(|(content, _)| content).map_err(|error| error.to_string())
    }
}
