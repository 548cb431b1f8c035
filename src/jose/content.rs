//! A256CBC-HS512, both directions (RFC 7518 section 5.2.5).
//!
//! The first 32 octets of the content encryption key are the MAC key, the last 32 the
//! AES key. The tag is the first half of HMAC-SHA-512 over AAD, IV, ciphertext and AL,
//! the AAD's length in bits as a 64-bit big-endian number. Decryption compares the tag in
//! constant time before AES sees a byte, so padding can tell a forger nothing.
//!
//! The key and both its halves are wiped: [`Cek`] by us, the AES key by aws-lc-rs
//! (`UnboundCipherKey`) and AWS-LC (every context is cleansed when freed). One limit remains:
//! aws-lc-rs keeps the HMAC context in a plain struct and moves it, so bytes of a hash state can
//! remain in memory. They do not reveal the MAC key. They could at most forge a tag for the one
//! message that the key belongs to.

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, StreamingEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// Octets of a content encryption key: two halves of 32.
pub(super) const CEK_BYTES: usize = 64;
/// Octets of an initialization vector: one AES block.
pub(super) const IV_BYTES: usize = BLOCK_BYTES;
/// Octets of an authentication tag: half of what HMAC-SHA-512 yields.
pub(super) const TAG_BYTES: usize = 32;
/// Octets of an AES block.
pub(super) const BLOCK_BYTES: usize = 16;
/// How many octets longer than its plaintext a ciphertext buffer must be: aws-lc-rs needs a spare block
/// when it takes the plaintext, and another one when it adds the padding.
pub(super) const CIPHERTEXT_OVERHEAD: usize = 2 * BLOCK_BYTES;

const MAC_KEY_BYTES: usize = CEK_BYTES / 2;

/// An initialization vector.
pub(super) type Iv = [u8; IV_BYTES];
/// An authentication tag.
pub(super) type Tag = [u8; TAG_BYTES];

/// Returns the octets of ciphertext for `plaintext` octets: PKCS #7 always pads, by 1 to 16.
pub(super) const fn ciphertext_len(plaintext: usize) -> usize {
    (plaintext / BLOCK_BYTES + 1) * BLOCK_BYTES
}

/// Returns what one message needs from the operating system's random numbers. They are drawn in one call, because
/// each call costs about 0.35 µs, whatever its length.
pub(super) fn random_cek_and_iv() -> Result<(Cek, Iv), Unspecified> {
    let mut drawn = Zeroizing::new([0; CEK_BYTES + IV_BYTES]);
    SystemRandom::new().fill(&mut drawn[..])?;
    let (cek, iv) = drawn.split_at(CEK_BYTES);
    Ok((Cek::from_octets(cek).ok_or(Unspecified)?, iv.try_into().map_err(|_| Unspecified)?))
}

/// A content encryption key. Boxed, so that moving it leaves no copy behind.
pub(super) struct Cek(Box<Zeroizing<[u8; CEK_BYTES]>>);

impl Cek {
    /// Returns a fresh key from the operating system's random numbers.
    pub(super) fn random() -> Result<Self, Unspecified> {
        let mut cek = Self::zero();
        SystemRandom::new().fill(&mut cek.0[..])?;
        Ok(cek)
    }

    /// Returns the key in `octets`, if they have the length of a key.
    pub(super) fn from_octets(octets: &[u8]) -> Option<Self> {
        let mut cek = Self::zero();
        (octets.len() == CEK_BYTES).then(|| cek.0.copy_from_slice(octets))?;
        Some(cek)
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.0[..]
    }

    fn zero() -> Self {
        Self(Box::new(Zeroizing::new([0; CEK_BYTES])))
    }

    fn mac_key(&self) -> &[u8] {
        &self.0[..MAC_KEY_BYTES]
    }

    fn aes_key(&self) -> Result<UnboundCipherKey, Unspecified> {
        UnboundCipherKey::new(&AES_256, &self.0[MAC_KEY_BYTES..])
    }
}

/// One message being encrypted, piece by piece.
pub(super) struct Encryptor {
    aes: StreamingEncryptingKey,
    mac: Mac,
}

impl Encryptor {
    /// Begins a message. A key and an IV must never be used for a second message.
    pub(super) fn new(cek: &Cek, iv: &Iv, aad: &[u8]) -> Result<Self, Unspecified> {
        let context = EncryptionContext::Iv128(iv.into());
        Ok(Self {
            aes: StreamingEncryptingKey::less_safe_cbc_pkcs7(cek.aes_key()?, context)?,
            mac: Mac::new(cek, aad, iv),
        })
    }

    /// Encrypts whole blocks from the middle of the message into the front of `ciphertext`,
    /// which must be [`CIPHERTEXT_OVERHEAD`] longer; returns how many octets it wrote.
    pub(super) fn update(&mut self, plaintext: &[u8], ciphertext: &mut [u8]) -> Result<usize, Unspecified> {
        let written = self.aes.update(plaintext, ciphertext)?.written().len();
        self.mac.update(&ciphertext[..written]);
        Ok(written)
    }

    /// Encrypts and pads the end of the message; returns the octets written and the tag.
    pub(super) fn finish(mut self, plaintext: &[u8], ciphertext: &mut [u8]) -> Result<(usize, Tag), Unspecified> {
        let written = self.update(plaintext, ciphertext)?;
        let (_, padded) = self.aes.finish(&mut ciphertext[written..])?;
        self.mac.update(padded.written());
        Ok((written + padded.written().len(), self.mac.tag()?))
    }
}

/// Decrypts `message` in place if `tag` is correct. Otherwise `message` stays unchanged.
#[cfg_attr(not(any(test, feature = "sandbox")), expect(dead_code, reason = "only the sandbox opens messages"))]
pub(super) fn decrypt(cek: &Cek, iv: &Iv, aad: &[u8], message: &mut Vec<u8>, tag: &Tag) -> Result<(), Unspecified> {
    verify_slices_are_equal(&tag_of(cek, iv, aad, message)?, tag)?;

    let context = DecryptionContext::Iv128(iv.into());
    let plaintext = PaddedBlockDecryptingKey::cbc_pkcs7(cek.aes_key()?)?.decrypt(message, context)?.len();
    message.truncate(plaintext);
    Ok(())
}

/// Returns the tag that belongs to a ciphertext.
pub(super) fn tag_of(cek: &Cek, iv: &Iv, aad: &[u8], ciphertext: &[u8]) -> Result<Tag, Unspecified> {
    let mut mac = Mac::new(cek, aad, iv);
    mac.update(ciphertext);
    mac.tag()
}

/// The tag of a message, being computed.
struct Mac {
    context: hmac::Context,
    aad_bits: u64,
}

impl Mac {
    fn new(cek: &Cek, aad: &[u8], iv: &Iv) -> Self {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA512, cek.mac_key()));
        context.update(aad);
        context.update(iv);
        Self { context, aad_bits: aad.len() as u64 * 8 }
    }

    fn update(&mut self, ciphertext: &[u8]) {
        self.context.update(ciphertext);
    }

    fn tag(mut self) -> Result<Tag, Unspecified> {
        self.context.update(&self.aad_bits.to_be_bytes());
        let full = self.context.sign();
        full.as_ref().first_chunk().copied().ok_or(Unspecified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encrypt(cek: &Cek, iv: &Iv, aad: &[u8], plaintext: &[u8]) -> (Vec<u8>, Tag) {
        let mut ciphertext = vec![0; plaintext.len() + CIPHERTEXT_OVERHEAD];
        let (written, tag) = Encryptor::new(cek, iv, aad).unwrap().finish(plaintext, &mut ciphertext).unwrap();
        ciphertext.truncate(written);
        (ciphertext, tag)
    }

    #[test]
    fn the_vector_of_rfc_7518_appendix_b_3_encrypts_and_decrypts() {
        let cek = Cek::from_octets(&(0..64).collect::<Vec<u8>>()).unwrap();
        let iv = 0x1af3_8c2d_c2b9_6ffd_d866_9409_2341_bc04_u128.to_be_bytes();
        let aad = b"The second principle of Auguste Kerckhoffs";
        let plaintext = b"A cipher system must not be required to be secret, and it must be able to fall into \
            the hands of the enemy without inconvenience";

        let (mut message, tag) = encrypt(&cek, &iv, aad, plaintext);
        assert_eq!(message, KNOWN_CIPHERTEXT);
        assert_eq!(tag, KNOWN_TAG);

        decrypt(&cek, &iv, aad, &mut message, &tag).unwrap();
        assert_eq!(message, plaintext);
    }

    #[test]
    fn the_length_of_the_ciphertext_is_computed_correctly() {
        let (cek, iv) = random_cek_and_iv().unwrap();
        for length in [0, 1, 15, 16, 17, 31, 32, 33] {
            assert_eq!(encrypt(&cek, &iv, b"", &vec![7; length]).0.len(), ciphertext_len(length));
        }
    }

    #[test]
    fn encrypting_in_pieces_equals_encrypting_at_once() {
        let (cek, iv) = random_cek_and_iv().unwrap();
        let plaintext: Vec<u8> = (0..=255).cycle().take(100).collect();

        let mut pieces = vec![0; plaintext.len() + CIPHERTEXT_OVERHEAD];
        let mut encryptor = Encryptor::new(&cek, &iv, b"aad").unwrap();
        let first = encryptor.update(&plaintext[..48], &mut pieces).unwrap();
        assert_eq!(first, 48, "nothing may be held back: chunks are cut at whole blocks");
        let (second, tag) = encryptor.finish(&plaintext[48..], &mut pieces[first..]).unwrap();
        pieces.truncate(first + second);

        assert_eq!((pieces, tag), encrypt(&cek, &iv, b"aad", &plaintext));
    }

    #[test]
    fn a_wrong_tag_leaves_the_message_untouched() {
        let (cek, iv) = random_cek_and_iv().unwrap();
        let (ciphertext, mut tag) = encrypt(&cek, &iv, b"aad", b"plaintext");
        tag[TAG_BYTES - 1] ^= 1;

        let mut message = ciphertext.clone();
        assert!(decrypt(&cek, &iv, b"aad", &mut message, &tag).is_err());
        assert_eq!(message, ciphertext);
    }

    #[test]
    fn wrong_padding_with_a_correct_tag_is_an_error() {
        let (cek, iv) = random_cek_and_iv().unwrap();
        let (mut message, _) = encrypt(&cek, &iv, b"aad", &[0; BLOCK_BYTES]);
        message.truncate(BLOCK_BYTES);
        let mut mac = Mac::new(&cek, b"aad", &iv);
        mac.update(&message);
        assert!(decrypt(&cek, &iv, b"aad", &mut message, &mac.tag().unwrap()).is_err());
    }

    #[test]
    fn a_key_has_exactly_64_octets() {
        assert!(Cek::from_octets(&[0; 63]).is_none());
        assert!(Cek::from_octets(&[0; 65]).is_none());
    }

    const KNOWN_CIPHERTEXT: &[u8] = &[
        0x4a, 0xff, 0xaa, 0xad, 0xb7, 0x8c, 0x31, 0xc5, 0xda, 0x4b, 0x1b, 0x59, 0x0d, 0x10, 0xff, 0xbd, 0x3d, 0xd8,
        0xd5, 0xd3, 0x02, 0x42, 0x35, 0x26, 0x91, 0x2d, 0xa0, 0x37, 0xec, 0xbc, 0xc7, 0xbd, 0x82, 0x2c, 0x30, 0x1d,
        0xd6, 0x7c, 0x37, 0x3b, 0xcc, 0xb5, 0x84, 0xad, 0x3e, 0x92, 0x79, 0xc2, 0xe6, 0xd1, 0x2a, 0x13, 0x74, 0xb7,
        0x7f, 0x07, 0x75, 0x53, 0xdf, 0x82, 0x94, 0x10, 0x44, 0x6b, 0x36, 0xeb, 0xd9, 0x70, 0x66, 0x29, 0x6a, 0xe6,
        0x42, 0x7e, 0xa7, 0x5c, 0x2e, 0x08, 0x46, 0xa1, 0x1a, 0x09, 0xcc, 0xf5, 0x37, 0x0d, 0xc8, 0x0b, 0xfe, 0xcb,
        0xad, 0x28, 0xc7, 0x3f, 0x09, 0xb3, 0xa3, 0xb7, 0x5e, 0x66, 0x2a, 0x25, 0x94, 0x41, 0x0a, 0xe4, 0x96, 0xb2,
        0xe2, 0xe6, 0x60, 0x9e, 0x31, 0xe6, 0xe0, 0x2c, 0xc8, 0x37, 0xf0, 0x53, 0xd2, 0x1f, 0x37, 0xff, 0x4f, 0x51,
        0x95, 0x0b, 0xbe, 0x26, 0x38, 0xd0, 0x9d, 0xd7, 0xa4, 0x93, 0x09, 0x30, 0x80, 0x6d, 0x07, 0x03, 0xb1, 0xf6,
    ];
    const KNOWN_TAG: Tag = [
        0x4d, 0xd3, 0xb4, 0xc0, 0x88, 0xa7, 0xf4, 0x5c, 0x21, 0x68, 0x39, 0x64, 0x5b, 0x20, 0x12, 0xbf, 0x2e, 0x62,
        0x69, 0xa8, 0xc5, 0x6a, 0x81, 0x6d, 0xbc, 0x1b, 0x26, 0x77, 0x61, 0x95, 0x5b, 0xc5,
    ];
}
