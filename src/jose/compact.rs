//! The compact serialization (RFC 7516 section 7.1) of a message to send.
//!
//! A [`Compact`] comes from [`seal`](super::seal()), which produces the ciphertext as it is taken, or
//! from a [`CallerMade`] message. In both cases the length is known beforehand, and the chunks add up
//! to it. A `Compact` is sent once and cannot be cloned: a retry seals again, or sends the caller's
//! bytes again.

use std::fmt;
use std::mem;

use bytes::Bytes;

use super::header::ProtectedHeader;
use super::jwk::EncryptionKey;
use super::parse::{CallerMade, MalformedJose};
use super::seal::{CHUNK_CHARS, SealError, Sealing};

/// A compact JWE under our algorithms.
pub struct Compact {
    sealed_by: SealedBy,
    parts: [u64; 5],
    chunks: Chunks,
}

enum SealedBy {
    Us(EncryptionKey),
    Caller(ProtectedHeader),
}

impl Compact {
    /// Parses a message that a caller sealed: see [`CallerMade::parse`].
    ///
    /// # Errors
    /// If the message is malformed, which is the caller's fault: see [`MalformedJose`].
    pub fn parse(message: Bytes) -> Result<Self, MalformedJose> {
        CallerMade::parse(message).map(Self::from)
    }

    /// Returns the message that [`seal`](super::seal()) prepared; `parts` are the lengths of its parts.
    pub(super) fn sealed(key: EncryptionKey, parts: [u64; 5], sealing: Box<Sealing>) -> Self {
        Self { sealed_by: SealedBy::Us(key), parts, chunks: Chunks::new(parts, ChunkSource::Sealing(sealing)) }
    }

    /// Returns the kid in the protected header.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        match &self.sealed_by {
            SealedBy::Us(key) => key.kid(),
            SealedBy::Caller(header) => header.kid.as_deref(),
        }
    }

    /// Returns the protected header as JSON.
    #[must_use]
    pub fn header(&self) -> &str {
        match &self.sealed_by {
            SealedBy::Us(key) => key.header(),
            SealedBy::Caller(header) => &header.text,
        }
    }

    /// Returns the bytes of each part on the wire: header, encrypted key, IV, ciphertext, tag. The
    /// four dots are not included.
    #[must_use]
    pub fn parts(&self) -> [u64; 5] {
        self.parts
    }

    /// Returns the exact number of bytes on the wire: the `Content-Length`.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.chunks.remaining
    }

    /// Always false: a message has five parts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the message in chunks, which are produced as they are taken.
    #[must_use]
    pub fn into_chunks(self) -> Chunks {
        self.chunks
    }

    /// Returns the whole message, for the command line and tests.
    ///
    /// # Errors
    /// If a chunk cannot be sealed.
    pub fn into_bytes(self) -> Result<Vec<u8>, SealError> {
        let mut message = Vec::new();
        for chunk in self.into_chunks() {
            message.extend_from_slice(&chunk?);
        }
        Ok(message)
    }
}

impl From<CallerMade> for Compact {
    fn from(CallerMade { header, parts, message }: CallerMade) -> Self {
        Self { sealed_by: SealedBy::Caller(header), parts, chunks: Chunks::new(parts, ChunkSource::Whole(message)) }
    }
}

impl fmt::Debug for Compact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compact").field("kid", &self.kid()).field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// A message in chunks of 64 KiB. The first chunk of a sealed message also contains the header, the
/// encrypted key and the IV; the last one contains the tag. A small message is one chunk and one write.
pub struct Chunks {
    remaining: u64,
    source: ChunkSource,
}

enum ChunkSource {
    Sealing(Box<Sealing>),
    Whole(Bytes),
    Empty,
}

impl Chunks {
    fn new(parts: [u64; 5], source: ChunkSource) -> Self {
        const DOTS: u64 = 4;
        Self { remaining: parts.iter().sum::<u64>() + DOTS, source }
    }

    /// Returns the number of bytes that have not been taken yet.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    fn take_chunk(&mut self) -> Result<Option<Bytes>, SealError> {
        let chunk = match mem::replace(&mut self.source, ChunkSource::Empty) {
            ChunkSource::Empty => return Ok(None),
            ChunkSource::Sealing(sealing) => {
                let (chunk, rest) = sealing.next_chunk()?;
                self.source = rest.map_or(ChunkSource::Empty, ChunkSource::Sealing);
                chunk
            }
            ChunkSource::Whole(message) if message.len() <= CHUNK_CHARS => message,
            ChunkSource::Whole(mut message) => {
                let chunk = message.split_to(CHUNK_CHARS);
                self.source = ChunkSource::Whole(message);
                chunk
            }
        };
        self.remaining -= chunk.len() as u64;
        Ok(Some(chunk))
    }
}

impl Iterator for Chunks {
    type Item = Result<Bytes, SealError>;

    /// Returns the next chunk; `None` after an error.
    fn next(&mut self) -> Option<Self::Item> {
        self.take_chunk().transpose()
    }
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}
