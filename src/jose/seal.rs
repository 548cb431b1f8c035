//! Sealing: turns a plaintext and a public key into a message that only the provider can open.
//!
//! [`seal`] wraps the key, which is the expensive part. The body is encrypted chunk by chunk as
//! [`Chunks`](super::Chunks) are taken, so its ciphertext is never in memory as a whole.

use base64_simd::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;

use super::compact::Compact;
use super::content::{CIPHERTEXT_OVERHEAD, Encryptor, IV_BYTES, TAG_BYTES, ciphertext_len, random_cek_and_iv};
use super::json::Plaintext;
use super::jwk::{EncryptionKey, MAX_ENCRYPTED_KEY_BYTES};
use super::parse::chars_for;

/// Octets of plaintext in a chunk. A multiple of 48, so that a chunk ends with an AES block (16) and with a
/// base64 group (3). Large enough that the cost of a write is negligible. Small enough that other tasks wait
/// only 0.1 to 0.2 ms for the core.
pub(super) const CHUNK_OCTETS: usize = 48 * 1024;

/// Characters of such a chunk on the wire.
pub(super) const CHUNK_CHARS: usize = chars_for(CHUNK_OCTETS);

/// Octets of plaintext that are encrypted, authenticated and encoded before the next ones. Also a multiple of 48.
/// Any size from 1.5 to 48 KiB is equally fast; a small one takes less memory for each message in progress.
pub(super) const PIECE_OCTETS: usize = 6 * 1024;

const _: () = assert!(CHUNK_OCTETS.is_multiple_of(PIECE_OCTETS) && PIECE_OCTETS.is_multiple_of(48));

/// Seals `plaintext` with `key` (RFC 7516 section 5.1). Each call draws a fresh content encryption key
/// and IV from the operating system, also if the same body is sealed again.
///
/// # Errors
/// If the random numbers or the RSA library fail, which is neither the caller's nor the provider's
/// fault.
pub fn seal(plaintext: &Plaintext, key: &EncryptionKey) -> Result<Compact, SealError> {
    let (cek, iv) = random_cek_and_iv().map_err(|_| SealError)?;
    let mut buffer = [0; MAX_ENCRYPTED_KEY_BYTES];
    let encrypted_key = key.wrap(&cek, &mut buffer).ok_or(SealError)?;
    let header = key.encoded_header();
    let encryptor = Encryptor::new(&cek, &iv, header.as_bytes()).map_err(|_| SealError)?;

    let parts = [
        header.len(),
        chars_for(encrypted_key.len()),
        chars_for(IV_BYTES),
        chars_for(ciphertext_len(plaintext.len())),
        chars_for(TAG_BYTES),
    ];
    // The first chunk begins with header, encrypted key and IV, and may end with the tag.
    let first = plaintext.len().min(CHUNK_OCTETS);
    let dots = 4;
    let capacity = parts[0] + parts[1] + parts[2] + chars_for(ciphertext_len(first)) + parts[4] + dots;
    let mut chunk = Vec::with_capacity(capacity);
    chunk.extend_from_slice(header.as_bytes());
    chunk.push(b'.');
    BASE64URL.encode_append(encrypted_key, &mut chunk);
    chunk.push(b'.');
    BASE64URL.encode_append(iv, &mut chunk);
    chunk.push(b'.');

    let sealing = Sealing {
        chunk,
        plaintext: plaintext.bytes().clone(),
        ciphertext: vec![0; first.min(PIECE_OCTETS) + CIPHERTEXT_OVERHEAD],
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
    /// A buffer for the ciphertext of a piece before it is encoded.
    ciphertext: Vec<u8>,
    encryptor: Encryptor,
}

impl Sealing {
    /// Returns the next chunk, and the state for the chunk after it.
    pub(super) fn next_chunk(mut self: Box<Self>) -> Result<(Bytes, Option<Box<Self>>), SealError> {
        let is_last = self.plaintext.len() <= CHUNK_OCTETS;
        let plaintext = self.plaintext.split_to(self.plaintext.len().min(CHUNK_OCTETS));
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.reserve_exact(chars_for(ciphertext_len(plaintext.len())) + 1 + chars_for(TAG_BYTES));

        // The last piece is padded, so it needs a call of its own, also if it is a whole piece.
        let whole_pieces = if is_last { (plaintext.len() - 1) / PIECE_OCTETS * PIECE_OCTETS } else { plaintext.len() };
        let (pieces, rest) = plaintext.split_at(whole_pieces);
        for piece in pieces.chunks(PIECE_OCTETS) {
            let written = self.encryptor.update(piece, &mut self.ciphertext).map_err(|_| SealError)?;
            BASE64URL.encode_append(&self.ciphertext[..written], &mut chunk);
        }
        if !is_last {
            return Ok((chunk.into(), Some(self)));
        }
        let Self { encryptor, mut ciphertext, .. } = *self;
        let (written, tag) = encryptor.finish(rest, &mut ciphertext).map_err(|_| SealError)?;
        BASE64URL.encode_append(&ciphertext[..written], &mut chunk);
        chunk.push(b'.');
        BASE64URL.encode_append(tag, &mut chunk);
        Ok((chunk.into(), None))
    }
}
