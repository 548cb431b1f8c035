//! The floor: the arithmetic of sealing and nothing else.
//!
//! Key wrap, AES-256-CBC, HMAC-SHA-512 and base64url, each by the fastest library that we know, in one pass over
//! chunks that stay in the cache. The body is not checked, and the message is never in memory as a whole. The result is
//! a valid JWE, so nothing is left out: see [`Floor::message`].
//!
//! The fastest library for SHA-512 depends on the processor and on the length. [`Floor::all`] returns one floor for each
//! library, and the fastest floor counts.

use aws_lc_rs::cipher::{AES_256, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents};
use base64_simd::{Out, URL_SAFE_NO_PAD as BASE64URL};
use josekit::jws::alg::hmac::HmacJwsSigner;
use josekit::jws::{HS512, JwsSigner};
use serde_json::Value;
use sha2::{Digest, Sha512};

use super::key::KID;

/// A multiple of 48, so that AES blocks and base64 groups end with the chunk.
const CHUNK: usize = 24 * 1024;
const BLOCK: usize = 16;

pub(crate) struct Floor {
    key: OaepPublicEncryptingKey,
    header: String,
    mac: Library,
    ciphertext: Vec<u8>,
    text: Vec<u8>,
    /// The ciphertext that [`Library::OpenSsl`] collects. Reused, so that its memory is mapped once.
    collected: Vec<u8>,
}

/// A library that computes HMAC-SHA-512.
#[derive(Clone, Copy)]
enum Library {
    AwsLc,
    Sha2,
    /// Through josekit, the only crate that may use OpenSSL. It takes a message as a whole, so the ciphertext is
    /// collected. This adds up to 5 % to the floor of 10 MiB.
    OpenSsl,
}

impl Floor {
    pub(crate) fn all(jwk: &Value) -> [Self; 3] {
        [Library::AwsLc, Library::Sha2, Library::OpenSsl].map(|mac| Self::new(jwk, mac))
    }

    fn new(jwk: &Value, mac: Library) -> Self {
        let octets = |name: &str| {
            let text = jwk[name].as_str().expect("an RSA key has n and e");
            BASE64URL.decode_to_vec(text).expect("a JWK is base64url")
        };
        let public: PublicEncryptingKey =
            PublicKeyComponents { n: octets("n"), e: octets("e") }.try_into().expect("a fresh key is accepted");
        let header = format!(r#"{{"alg":"RSA-OAEP-256","enc":"A256CBC-HS512","typ":"JWE","kid":"{KID}"}}"#);
        Self {
            key: OaepPublicEncryptingKey::new(public).expect("a fresh key is accepted"),
            header: BASE64URL.encode_to_string(header),
            mac,
            ciphertext: vec![0; CHUNK + 2 * BLOCK],
            text: vec![0; CHUNK * 4 / 3 + 64],
            collected: Vec::new(),
        }
    }

    /// The whole message, to be opened.
    pub(crate) fn message(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        self.seal(plaintext, |part| message.extend_from_slice(part));
        message
    }

    /// Seals `plaintext` and hands each part to `take`, which may not keep it.
    pub(crate) fn seal(&mut self, plaintext: &[u8], mut take: impl FnMut(&[u8])) {
        let mut random = [0; 64 + BLOCK];
        rand::fill(&mut random).expect("the system has random numbers");
        let (cek, iv) = random.split_at(64);

        take(self.header.as_bytes());
        let mut wrapped = [0; 256];
        self.key.encrypt(&OAEP_SHA256_MGF1SHA256, cek, &mut wrapped, None).expect("64 octets can be wrapped");
        for part in [&wrapped[..], iv] {
            take(b".");
            take(BASE64URL.encode(part, Out::from_slice(&mut self.text)));
        }
        take(b".");

        let mut mac = Mac::new(self.mac, &cek[..32], &mut self.collected);
        mac.update(self.header.as_bytes());
        mac.update(iv);
        let mut aes = {
            let key = UnboundCipherKey::new(&AES_256, &cek[32..]).expect("a key of 32 octets");
            let iv = FixedLength::try_from(iv).expect("an IV of 16 octets");
            StreamingEncryptingKey::less_safe_cbc_pkcs7(key, EncryptionContext::Iv128(iv)).expect("a fresh key and IV")
        };

        let whole_chunks = plaintext.len() / CHUNK * CHUNK;
        let (chunks, rest) = plaintext.split_at(whole_chunks);
        for chunk in chunks.chunks_exact(CHUNK) {
            let update = aes.update(chunk, &mut self.ciphertext).expect("the buffer is large enough");
            mac.update(update.written());
            take(BASE64URL.encode(update.written(), Out::from_slice(&mut self.text)));
        }
        let written = aes.update(rest, &mut self.ciphertext).expect("the buffer is large enough").written().len();
        let (_, padded) = aes.finish(&mut self.ciphertext[written..]).expect("the buffer is large enough");
        let total = written + padded.written().len();
        mac.update(&self.ciphertext[..total]);
        take(BASE64URL.encode(&self.ciphertext[..total], Out::from_slice(&mut self.text)));

        mac.update(&(self.header.len() as u64 * 8).to_be_bytes());
        take(b".");
        take(BASE64URL.encode(&mac.tag()[..32], Out::from_slice(&mut self.text)));
    }
}

/// HMAC-SHA-512.
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation, and it lives for one message")]
enum Mac<'a> {
    AwsLc(hmac::Context),
    Sha2 { inner: Sha512, outer: Sha512 },
    OpenSsl { signer: HmacJwsSigner, message: &'a mut Vec<u8> },
}

impl<'a> Mac<'a> {
    fn new(library: Library, key: &[u8], collected: &'a mut Vec<u8>) -> Self {
        match library {
            Library::AwsLc => Self::AwsLc(hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA512, key))),
            Library::Sha2 => {
                let keyed = |pad: u8| {
                    let mut block = [pad; 128];
                    block.iter_mut().zip(key).for_each(|(octet, key)| *octet ^= key);
                    Sha512::new_with_prefix(block)
                };
                Self::Sha2 { inner: keyed(0x36), outer: keyed(0x5c) }
            }
            Library::OpenSsl => {
                // josekit wants a longer key. HMAC appends zeros itself, so these change nothing.
                let mut long_key = [0; 64];
                long_key[..key.len()].copy_from_slice(key);
                collected.clear();
                Self::OpenSsl {
                    signer: HS512.signer_from_bytes(long_key).expect("the key is long enough"),
                    message: collected,
                }
            }
        }
    }

    fn update(&mut self, octets: &[u8]) {
        match self {
            Self::AwsLc(context) => context.update(octets),
            Self::Sha2 { inner, .. } => inner.update(octets),
            Self::OpenSsl { message, .. } => message.extend_from_slice(octets),
        }
    }

    fn tag(self) -> [u8; 64] {
        match self {
            Self::AwsLc(context) => context.sign().as_ref().try_into().expect("SHA-512 has 64 octets"),
            Self::Sha2 { inner, outer } => outer.chain_update(inner.finalize()).finalize().into(),
            Self::OpenSsl { signer, message } => {
                let tag = signer.sign(message).expect("OpenSSL has SHA-512");
                tag.try_into().expect("SHA-512 has 64 octets")
            }
        }
    }
}
