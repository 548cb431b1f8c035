//! josekit and this crate open what this crate seals, at every size next to a boundary.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use josekit::jwe::RSA_OAEP_256;
use josekit::jwk::Jwk;
use proptest::prelude::*;

use super::super::seal::{CHUNK_CHARS, CHUNK_OCTETS, PIECE_OCTETS};
use super::*;

const SIZES: [usize; 17] = [
    1,
    2,
    15,
    16,
    17,
    1024,
    PIECE_OCTETS - 1,
    PIECE_OCTETS,
    PIECE_OCTETS + 1,
    CHUNK_OCTETS - 16,
    CHUNK_OCTETS - 1,
    CHUNK_OCTETS,
    CHUNK_OCTETS + 1,
    2 * CHUNK_OCTETS,
    2 * CHUNK_OCTETS + 1,
    1 << 20,
    (1 << 20) + 1,
];

fn opened_by_josekit(message: &[u8]) -> Vec<u8> {
    let serde_json::Value::Object(jwk) = KEY.to_private_jwk() else { unreachable!() };
    let decrypter = RSA_OAEP_256.decrypter_from_jwk(&Jwk::from_map(jwk).unwrap()).unwrap();
    josekit::jwe::deserialize_compact(std::str::from_utf8(message).unwrap(), &decrypter).unwrap().0
}

#[test]
fn a_sealed_body_of_any_size_is_opened_by_josekit_and_by_this_crate() {
    for size in SIZES {
        let body = body(size);
        let message = sealed(&body).into_bytes().unwrap();
        assert!(opened_by_josekit(&message) == body, "josekit, {size} bytes");
        let opened = open(&message, std::slice::from_ref(&KEY)).unwrap();
        assert!(*opened.plaintext == body, "ours, {size} bytes");
        assert_eq!(opened.kid.as_deref(), Some("test"));
    }
}

#[test]
fn length_and_parts_are_known_before_the_first_chunk_is_made() {
    for size in SIZES {
        let compact = sealed(&body(size));
        let (length, parts, header) = (compact.len(), compact.parts(), compact.header().to_owned());
        let message = compact.into_bytes().unwrap();
        assert_eq!(length, message.len() as u64, "{size} bytes");

        let on_the_wire: Vec<_> = message.split(|byte| *byte == b'.').map(|part| part.len() as u64).collect();
        assert_eq!(parts.as_slice(), on_the_wire, "{size} bytes");

        let opened = open(&message, std::slice::from_ref(&KEY)).unwrap();
        assert_eq!(opened.parts.map(|part| part as u64), parts);
        assert_eq!(opened.header, header);
        assert_eq!(header, r#"{"alg":"RSA-OAEP-256","enc":"A256CBC-HS512","typ":"JWE","kid":"test"}"#);
    }
}

#[test]
fn a_small_message_is_one_chunk_and_a_large_one_is_many() {
    for size in SIZES {
        let mut chunks = sealed(&body(size)).into_chunks();
        let mut taken = 0;
        while chunks.remaining() > 0 {
            let before = chunks.remaining();
            let chunk = chunks.next().unwrap().unwrap();
            assert_eq!(chunks.remaining(), before - chunk.len() as u64);
            assert!(chunk.len() <= CHUNK_CHARS + 1024, "{size} bytes");
            taken += 1;
        }
        assert!(chunks.next().is_none());
        assert_eq!(taken, size.div_ceil(CHUNK_OCTETS), "{size} bytes");
    }
}

#[test]
fn sealing_one_body_twice_repeats_no_key_iv_ciphertext_or_tag() {
    let body = body(100);
    let (one, two) = (sealed_text(&body), sealed_text(&body));
    let parts = |message: &str| message.split('.').map(str::to_owned).collect::<Vec<_>>();
    for (index, (one, two)) in parts(&one).iter().zip(parts(&two)).enumerate() {
        assert_eq!(*one == two, index == 0, "part {index}");
    }
    let cek = |message: &str| {
        let encrypted_key = BASE64URL.decode(message.split('.').nth(1).unwrap()).unwrap();
        KEY.unwrap_cek(&encrypted_key).unwrap().expose().to_vec()
    };
    assert_ne!(cek(&one), cek(&two));
}

#[test]
fn without_a_kid_the_header_has_none_and_every_key_is_tried() {
    let mut jwk = KEY.to_public_jwk();
    jwk.as_object_mut().unwrap().remove("kid");
    let key = EncryptionKey::from_jwk(&jwk).unwrap();
    let compact = seal(&Plaintext::json(body(10)).unwrap(), &key).unwrap();
    assert_eq!(compact.kid(), None);
    assert_eq!(compact.header(), r#"{"alg":"RSA-OAEP-256","enc":"A256CBC-HS512","typ":"JWE"}"#);

    let message = compact.into_bytes().unwrap();
    let opened = open(&message, &[OTHER_KEY.clone(), KEY.clone()]).unwrap();
    assert_eq!(*opened.plaintext, body(10));
    assert_eq!(open(&message, std::slice::from_ref(&OTHER_KEY)).unwrap_err(), OpenError::Undecryptable);
    assert_eq!(open(&message, &[]).unwrap_err(), OpenError::UnknownKey(None));
}

#[test]
fn keys_of_other_sizes_can_seal_also_if_they_do_not_fill_their_octets() {
    for bits in [2050, 3070, 3072] {
        let jwk = Jwk::generate_rsa_key(bits).unwrap();
        let key = DecryptionKey::from_jwk(&serde_json::Value::Object(jwk.into())).unwrap();
        assert_eq!(public(&key).bits(), bits);
        let message = seal(&Plaintext::json(body(10)).unwrap(), &public(&key)).unwrap().into_bytes().unwrap();
        let encrypted_key = message.split(|byte| *byte == b'.').nth(1).unwrap();
        assert_eq!(BASE64URL.decode(encrypted_key).unwrap().len() as u32, bits.div_ceil(8));
        assert_eq!(*open(&message, &[key]).unwrap().plaintext, body(10));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_opened_byte_for_byte(text in "\\PC{0,200}") {
        let body = Bytes::from(serde_json::Value::from(text).to_string());
        let message = sealed(&body).into_bytes().unwrap();
        prop_assert_eq!(&*open(&message, std::slice::from_ref(&KEY)).unwrap().plaintext, &body[..]);
    }
}

#[test]
fn types_that_cross_tasks_are_send_and_sync() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    is_send::<Compact>();
    is_send::<Chunks>();
    is_shared::<Plaintext>();
    is_shared::<EncryptionKey>();
    is_shared::<DecryptionKey>();
}
