//! Private keys, for the sandbox, the command `open`, and tests. The gateway holds none.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use josekit::jwe::alg::rsaes::RsaesJweDecrypter;
use josekit::jwe::enc::A256CBC_HS512;
use josekit::jwe::{JweDecrypter, JweHeader, RSA_OAEP_256};
use josekit::jwk::Jwk;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::content::Cek;
use super::header::ALG;
use super::jwk::{
    EncryptionKey, MAX_ENCRYPTED_KEY_BYTES, MAX_MODULUS_BITS, PublicMembers, UnusableKey, base64url, check_purpose,
};

/// Bits of a generated modulus: the minimum of RFC 7518 section 4.3, and the size that providers publish.
const GENERATED_BITS: u32 = 2048;

/// The members of a two-prime private key besides `n` and `e` (RFC 7518 section 6.3.2). josekit needs
/// all of them.
const MEMBERS: [&str; 6] = ["d", "p", "q", "dp", "dq", "qi"];

/// A private key. Cheap to clone; `Debug` shows its kid only.
///
/// Its members are wiped when the last clone is dropped, and OpenSSL clears its copy when it frees the
/// key. The JWK that it was read from is not wiped, and neither are josekit's temporary copies.
#[derive(Clone)]
pub struct DecryptionKey(Arc<Inner>);

struct Inner {
    public: PublicMembers,
    private: [(&'static str, Zeroizing<String>); MEMBERS.len()],
    decrypter: RsaesJweDecrypter,
}

impl DecryptionKey {
    /// Generates an RSA-2048 key. This takes tens of milliseconds, sometimes much longer.
    ///
    /// # Errors
    /// If `kid` is empty or too long, or the library fails.
    pub fn generate(kid: &str) -> Result<Self, UnusableKey> {
        let jwk = Jwk::generate_rsa_key(GENERATED_BITS).map_err(|_| UnusableKey::Rejected)?;
        let mut members: Map<String, Value> = jwk.into();
        members.insert("kid".to_owned(), Value::from(kid));
        Self::from_jwk(&Value::Object(members))
    }

    /// Reads a private JWK. The rules are those of public keys, except that `key_ops`, if present, must
    /// allow `decrypt` or `unwrapKey`.
    ///
    /// # Errors
    /// If the key cannot be used, or cannot unwrap what its own public key wrapped.
    pub fn from_jwk(jwk: &Value) -> Result<Self, UnusableKey> {
        let members = jwk.as_object().ok_or(UnusableKey::NotAnObject)?;
        check_purpose(members, ["decrypt", "unwrapKey"])?;
        let public = PublicMembers::read(members)?;

        // josekit sees these members only, and nothing else of the original.
        let mut rebuilt = Map::from_iter([("kty".to_owned(), Value::from("RSA"))]);
        for (name, octets) in [("n", &public.n), ("e", &public.e)] {
            rebuilt.insert(name.to_owned(), Value::from(BASE64URL.encode(octets)));
        }
        let mut private = MEMBERS.map(|name| (name, Zeroizing::default()));
        for (name, text) in &mut private {
            let member = base64url(members, name)?;
            check_private(member).ok_or(UnusableKey::NotBase64Url(name))?;
            rebuilt.insert((*name).to_owned(), Value::from(member));
            **text = member.to_owned();
        }
        let decrypter = Jwk::from_map(rebuilt)
            .and_then(|jwk| RSA_OAEP_256.decrypter_from_jwk(&jwk))
            .map_err(|_| UnusableKey::Rejected)?;

        let key = Self(Arc::new(Inner { public, private, decrypter }));
        key.check_halves()?;
        Ok(key)
    }

    /// Returns the key's name (RFC 7517 section 4.5).
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.0.public.kid.as_deref()
    }

    /// Returns the public JWK that a provider publishes: `kty`, `use`, `alg`, `kid`, `n`, `e`.
    #[must_use]
    pub fn to_public_jwk(&self) -> Value {
        let mut jwk = json!({"kty": "RSA", "use": "enc", "alg": ALG});
        if let Some(kid) = self.kid() {
            jwk["kid"] = Value::from(kid);
        }
        jwk["n"] = Value::from(BASE64URL.encode(&self.0.public.n));
        jwk["e"] = Value::from(BASE64URL.encode(&self.0.public.e));
        jwk
    }

    /// Returns the private JWK in clear, to open messages in another program.
    #[must_use]
    pub fn to_private_jwk(&self) -> Value {
        let mut jwk = self.to_public_jwk();
        for (name, text) in &self.0.private {
            jwk[*name] = Value::from(text.as_str());
        }
        jwk
    }

    /// Unwraps a content encryption key. Returns `None` for every failure: the reason must not leak.
    pub(super) fn unwrap_cek(&self, encrypted_key: &[u8]) -> Option<Cek> {
        Cek::from_octets(&self.unwrap_octets(encrypted_key)?)
    }

    /// Unwraps an encrypted key of any length.
    pub(super) fn unwrap_octets(&self, encrypted_key: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let octets = self.0.decrypter.decrypt(Some(encrypted_key), &A256CBC_HS512, &JweHeader::new()).ok()?;
        Some(Zeroizing::new(octets.into_owned()))
    }

    fn check_halves(&self) -> Result<(), UnusableKey> {
        let public = EncryptionKey::from_jwk(&self.to_public_jwk())?;
        let cek = Cek::random().map_err(|_| UnusableKey::Rejected)?;
        let mut buffer = [0; MAX_ENCRYPTED_KEY_BYTES];
        let wrapped = public.wrap(&cek, &mut buffer).ok_or(UnusableKey::Rejected)?;
        let unwrapped = self.unwrap_cek(wrapped).ok_or(UnusableKey::Rejected)?;
        if unwrapped.expose() == cek.expose() { Ok(()) } else { Err(UnusableKey::Rejected) }
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptionKey").field("kid", &self.kid()).finish_non_exhaustive()
    }
}

/// Checks that `text` is base64url of a number that fits the largest modulus.
fn check_private(text: &str) -> Option<()> {
    let octets = Zeroizing::new(BASE64URL.decode(text).ok()?);
    (octets.len() <= MAX_MODULUS_BITS / 8).then_some(())
}
