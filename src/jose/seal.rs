//! Sealing: turns a plaintext and a public key into a message that only the provider can open.
//!
//! [`seal`] wraps the key, which is the expensive part. The body is encrypted chunk by chunk as
//! [`Chunks`](super::Chunks) are taken, so its ciphertext is never in memory as a whole.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;

use super::compact::Compact;
use super::content::{CIPHERTEXT_OVERHEAD, Cek, Encryptor, IV_BYTES, TAG_BYTES, ciphertext_len, random_iv};
use super::json::Plaintext;
use super::jwk::{EncryptionKey, MAX_ENCRYPTED_KEY_BYTES};
use super::parse::chars_for;

/// Octets of plaintext that are encrypted at a time. A multiple of 48, so that a chunk ends with an AES
/// block (16) and with a base64 group (3). Large enough that the cost of calls and writes is
/// negligible. Small enough that plaintext, ciphertext and text stay in a core's cache between the
/// passes, and that other tasks wait only 0.1 to 0.2 ms for the core.
pub(super) const CHUNK_OCTETS: usize = 48 * 1024;

/// Characters of such a chunk on the wire.
pub(super) const CHUNK_CHARS: usize = chars_for(CHUNK_OCTETS);

const _: () = assert!(CHUNK_OCTETS.is_multiple_of(48));

/// Seals `plaintext` with `key` (RFC 7516 section 5.1). Each call draws a fresh content encryption key
/// and IV from the operating system, also if the same body is sealed again.
///
/// # Errors
/// If the random numbers or the RSA library fail, which is neither the caller's nor the provider's
/// fault.
pub fn seal(plaintext: &Plaintext, key: &EncryptionKey) -> Result<Compact, SealError> {
    let cek = Cek::random().map_err(|_| SealError)?;
    let iv = random_iv().map_err(|_| SealError)?;
    let mut buffer = [0; MAX_ENCRYPTED_KEY_BYTES];
    let encrypted_key = key.wrap(&cek, &mut buffer).ok_or(SealError)?;
    let header = key.encoded_header();
    let encryptor = Encryptor::new(&cek, &iv, header.as_bytes()).map_err(|_| SealError)?;

    let first = plaintext.len().min(CHUNK_OCTETS);
    let parts = [
        header.len(),
        chars_for(encrypted_key.len()),
        chars_for(IV_BYTES),
        chars_for(ciphertext_len(plaintext.len())),
        chars_for(TAG_BYTES),
    ];
    // The first chunk begins with header, encrypted key and IV, and may end with the tag.
    let dots = 4;
    let capacity = parts[0] + parts[1] + parts[2] + chars_for(ciphertext_len(first)) + parts[4] + dots;
    let mut chunk = String::with_capacity(capacity);
    chunk.push_str(header);
    chunk.push('.');
    BASE64URL.encode_string(encrypted_key, &mut chunk);
    chunk.push('.');
    BASE64URL.encode_string(iv, &mut chunk);
    chunk.push('.');

    let sealing = Sealing {
        chunk: chunk.into_bytes(),
        plaintext: plaintext.bytes().clone(),
        ciphertext: vec![0; first + CIPHERTEXT_OVERHEAD],
        encryptor,
    };
    Ok(Compact::sealed(key.clone(), parts.map(|part| part as u64), Box::new(sealing)))
}

/// The message could not be sealed. The libraries give no reason, and the message cannot be the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message could not be sealed")]
pub struct SealError;

/// A message being sealed. Boxed, so that passing it on does not copy the MAC state.
pub(super) struct Sealing {
    /// The chunk in progress. The first one starts with header, encrypted key and IV.
    chunk: Vec<u8>,
    /// The rest that is not encrypted yet.
    plaintext: Bytes,
    /// A buffer for a chunk's ciphertext before it is encoded; reused for the next chunk.
    ciphertext: Vec<u8>,
    encryptor: Encryptor,
}

impl Sealing {
    /// Returns the next chunk, and the state for the chunk after it.
    pub(super) fn next_chunk(mut self: Box<Self>) -> Result<(Bytes, Option<Box<Self>>), SealError> {
        if self.plaintext.len() <= CHUNK_OCTETS {
            return self.last_chunk().map(|chunk| (chunk, None));
        }
        let plaintext = self.plaintext.split_to(CHUNK_OCTETS);
        let written = self.encryptor.update(&plaintext, &mut self.ciphertext).map_err(|_| SealError)?;
        append_base64url(&mut self.chunk, &self.ciphertext[..written])?;
        let chunk = std::mem::take(&mut self.chunk);
        Ok((chunk.into(), Some(self)))
    }

    fn last_chunk(self: Box<Self>) -> Result<Bytes, SealError> {
        let Self { mut chunk, plaintext, mut ciphertext, encryptor } = *self;
        let (written, tag) = encryptor.finish(&plaintext, &mut ciphertext).map_err(|_| SealError)?;
        chunk.reserve_exact(chars_for(written) + 1 + chars_for(TAG_BYTES));
        append_base64url(&mut chunk, &ciphertext[..written])?;
        chunk.push(b'.');
        append_base64url(&mut chunk, &tag)?;
        Ok(chunk.into())
    }
}

fn append_base64url(text: &mut Vec<u8>, octets: &[u8]) -> Result<(), SealError> {
    let start = text.len();
    text.resize(start + chars_for(octets.len()), 0);
    BASE64URL.encode_slice(octets, &mut text[start..]).map_err(|_| SealError)?;
    Ok(())
}
