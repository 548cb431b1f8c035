//! The compact serialization (RFC 7516 section 7.1): what leaves.
//!
//! A [`Compact`] comes from [`seal`](super::seal()), which makes the ciphertext as it is taken, or
//! from a message that is [`CallerMade`]. Either way the length is known beforehand, and the
//! chunks add up to it. It is sent once and cannot be cloned: what is sent again is sealed again,
//! or the caller's own bytes.

use std::fmt;
use std::mem;

use bytes::Bytes;

use super::header::ProtectedHeader;
use super::jwk::EncryptionKey;
use super::parse::{CallerMade, MalformedJose};
use super::seal::{CHUNK_CHARS, SealError, Sealing};

/// A compact JWE under our algorithms.
pub struct Compact {
    origin: Origin,
    parts: [u64; 5],
    chunks: Chunks,
}

enum Origin {
    Sealed(EncryptionKey),
    CallerMade(ProtectedHeader),
}

impl Compact {
    /// A message made by a caller that is sent once: see [`CallerMade::parse`].
    ///
    /// # Errors
    /// The caller's fault: see [`MalformedJose`].
    pub fn parse(message: Bytes) -> Result<Self, MalformedJose> {
        CallerMade::parse(message).map(Self::from)
    }

    /// What [`seal`](super::seal()) has prepared; `parts` is how long each part will be.
    pub(super) fn sealed(key: EncryptionKey, parts: [u64; 5], sealing: Box<Sealing>) -> Self {
        Self { origin: Origin::Sealed(key), parts, chunks: Chunks::new(parts, Source::Sealing(sealing)) }
    }

    /// The kid in the protected header.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        match &self.origin {
            Origin::Sealed(key) => key.kid(),
            Origin::CallerMade(header) => header.kid.as_deref(),
        }
    }

    /// The protected header as JSON.
    #[must_use]
    pub fn header(&self) -> &str {
        match &self.origin {
            Origin::Sealed(key) => key.header(),
            Origin::CallerMade(header) => &header.text,
        }
    }

    /// Bytes of each part on the wire: header, encrypted key, IV, ciphertext, tag. The four
    /// dots are not in them.
    #[must_use]
    pub fn parts(&self) -> [u64; 5] {
        self.parts
    }

    /// Bytes of the message on the wire, exactly: its `Content-Length`.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.chunks.remaining
    }

    /// Never: a message has five parts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The message in chunks, produced as they are taken.
    #[must_use]
    pub fn into_chunks(self) -> Chunks {
        self.chunks
    }

    /// The whole message at once: for the command line and tests.
    ///
    /// # Errors
    /// When a chunk cannot be sealed.
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
        Self { origin: Origin::CallerMade(header), parts, chunks: Chunks::new(parts, Source::Whole(message)) }
    }
}

impl fmt::Debug for Compact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compact").field("kid", &self.kid()).field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// A message in chunks of 64 KiB. The first of a sealed one also carries the header, the encrypted
/// key and the IV, the last one the tag, so that a small message is one chunk and one write.
pub struct Chunks {
    remaining: u64,
    source: Source,
}

enum Source {
    Sealing(Box<Sealing>),
    Whole(Bytes),
    Spent,
}

impl Chunks {
    fn new(parts: [u64; 5], source: Source) -> Self {
        const DOTS: u64 = 4;
        Self { remaining: parts.iter().sum::<u64>() + DOTS, source }
    }

    /// Bytes of the message that have not been taken yet.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    fn take_chunk(&mut self) -> Result<Option<Bytes>, SealError> {
        let chunk = match mem::replace(&mut self.source, Source::Spent) {
            Source::Spent => return Ok(None),
            Source::Sealing(sealing) => {
                let (chunk, rest) = sealing.next_chunk()?;
                self.source = rest.map_or(Source::Spent, Source::Sealing);
                chunk
            }
            Source::Whole(message) if message.len() <= CHUNK_CHARS => message,
            Source::Whole(mut message) => {
                let chunk = message.split_to(CHUNK_CHARS);
                self.source = Source::Whole(message);
                chunk
            }
        };
        self.remaining -= chunk.len() as u64;
        Ok(Some(chunk))
    }
}

impl Iterator for Chunks {
    type Item = Result<Bytes, SealError>;

    /// The next chunk; after an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        self.take_chunk().transpose()
    }
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}
