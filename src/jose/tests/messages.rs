//! Messages made by others: which are accepted, which are refused, and how opening them fails.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use josekit::jwe::{JweEncrypter, JweHeader, RSA_OAEP_256};
use josekit::jwk::Jwk;
use proptest::prelude::*;

use super::super::content::{CIPHERTEXT_OVERHEAD, Encryptor, random_cek_and_iv};
use super::super::header::ProtectedHeader;
use super::*;

fn parse(message: impl Into<Bytes>) -> Result<Compact, MalformedJose> {
    Compact::parse(message.into())
}

/// A sealed message with one of its parts replaced.
fn with_part(index: usize, text: &str) -> String {
    let message = sealed_text(&body(20));
    let mut parts: Vec<_> = message.split('.').collect();
    parts[index] = text;
    parts.join(".")
}

fn octets(count: usize) -> String {
    BASE64URL.encode(vec![7; count])
}

#[test]
fn a_callers_message_keeps_its_bytes_and_reports_kid_and_parts() {
    let message: Bytes = sealed_text(&body(200_000)).into();
    let compact = parse(message.clone()).unwrap();
    assert_eq!(compact.kid(), Some("test"));
    assert_eq!(compact.len(), message.len() as u64);
    assert_eq!(compact.parts().iter().sum::<u64>() + 4, compact.len());
    assert_eq!(compact.header(), r#"{"alg":"RSA-OAEP-256","enc":"A256CBC-HS512","typ":"JWE","kid":"test"}"#);

    let chunks: Vec<_> = parse(message.clone()).unwrap().into_chunks().map(Result::unwrap).collect();
    assert!(chunks.len() > 1);
    assert_eq!(chunks[0].as_ptr(), message.as_ptr(), "chunks are views of the message, not copies");
    assert_eq!(chunks.concat(), message);

    let caller_made = CallerMade::parse(message.clone()).unwrap();
    assert_eq!(caller_made.kid(), Some("test"));
    for copy in [caller_made.clone(), caller_made] {
        assert_eq!(Compact::from(copy).into_bytes().unwrap(), message);
    }
}

#[test]
fn a_message_without_exactly_five_parts_is_malformed() {
    let message = sealed_text(&body(20));
    let four = message.rsplit_once('.').unwrap().0;
    for text in ["", ".", "....", "{}", four, &format!("{message}."), &format!(".{message}")] {
        let expected = match text {
            "...." => MalformedJose::HeaderNotJson,
            _ => MalformedJose::PartCount,
        };
        assert_eq!(parse(text.to_owned()).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn bytes_around_a_message_make_it_malformed() {
    let message = sealed_text(&body(20));
    for text in [format!("{message}\n"), format!("{message}\r\n"), format!("{message} "), format!("{message}=")] {
        assert_eq!(parse(text).unwrap_err(), MalformedJose::NotBase64Url(Part::Tag));
    }
    for text in [format!(" {message}"), format!("\u{feff}{message}"), format!("\"{message}\"")] {
        assert_eq!(parse(text).unwrap_err(), MalformedJose::NotBase64Url(Part::Header));
    }
}

#[test]
fn impossible_lengths_are_malformed() {
    for (index, part, lengths) in [
        (1, Part::EncryptedKey, [0, 255, 1025]),
        (2, Part::Iv, [0, 15, 17]),
        (3, Part::Ciphertext, [0, 15, 17]),
        (4, Part::Tag, [0, 31, 64]),
    ] {
        for length in lengths {
            let result = parse(with_part(index, &octets(length)));
            assert_eq!(result.unwrap_err(), MalformedJose::Length(part), "{length}");
        }
    }
    for (index, length) in [(1, 256), (1, 1024), (3, 16), (3, 4096)] {
        assert!(parse(with_part(index, &octets(length))).is_ok(), "{length}");
    }
}

#[test]
fn only_one_base64url_spelling_is_accepted() {
    let tag = octets(32);
    let (all_but_last, last) = tag.split_at(tag.len() - 1);
    assert_eq!(last, "c", "two of its bits must be zero");
    for text in [format!("{all_but_last}d"), format!("{tag}="), format!("{tag}AA")] {
        let result = parse(with_part(4, &text));
        assert_eq!(result.unwrap_err(), MalformedJose::NotBase64Url(Part::Tag), "{text}");
    }
    assert_eq!(parse(with_part(4, &format!("{tag}A"))).unwrap_err(), MalformedJose::Length(Part::Tag));
    for wrong in ["+", "/", "=", " ", "\n", "é"] {
        for place in [0, 5000, 10_000] {
            let mut ciphertext = octets(16 * 600);
            ciphertext.insert_str(place, wrong);
            let result = parse(with_part(3, &ciphertext));
            assert_eq!(result.unwrap_err(), MalformedJose::NotBase64Url(Part::Ciphertext), "{wrong:?}");
        }
    }
}

proptest! {
    #[test]
    fn accepted_text_has_one_spelling_and_no_text_makes_the_parser_panic(
        at in any::<prop::sample::Index>(),
        length in 0_usize..4,
        text in "[A-Za-z0-9_.=-]{0,4}|\\PC{0,3}",
    ) {
        let mut message = sealed_text(&body(20));
        let start = at.index(message.len() + 1);
        message.replace_range(start..(start + length).min(message.len()), &text);
        if parse(message.clone()).is_ok() {
            let decoded = message.split('.').map(|part| BASE64URL.decode(part).unwrap());
            let again: Vec<_> = decoded.map(|part| BASE64URL.encode(part)).collect();
            prop_assert_eq!(again.join("."), message);
        }
    }

    #[test]
    fn no_bytes_make_parsing_or_opening_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(open(&bytes, &[]).is_err());
        prop_assert!(parse(bytes).is_err());
    }
}

#[test]
fn a_header_with_other_algorithms_is_malformed() {
    let header = |json: &str| parse(with_part(0, &BASE64URL.encode(json))).unwrap_err();
    assert_eq!(header(r#"{"alg":"RSA1_5","enc":"A256CBC-HS512"}"#), MalformedJose::Algorithm);
    assert_eq!(header(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#), MalformedJose::Encryption);
    assert_eq!(header("[]"), MalformedJose::HeaderNotJson);
}

#[test]
fn a_message_with_another_algorithm_is_refused_for_it_and_not_for_the_lengths_of_its_parts() {
    let header = BASE64URL.encode(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#);
    let [encrypted_key, iv, ciphertext, tag] = [256, 12, 17, 16].map(octets);
    let message = format!("{header}.{encrypted_key}.{iv}.{ciphertext}.{tag}");
    assert_eq!(parse(message).unwrap_err(), MalformedJose::Encryption);
}

#[test]
fn a_kid_without_a_key_is_reported() {
    let message = sealed_text(&body(20));
    let error = open(message.as_bytes(), std::slice::from_ref(&OTHER_KEY)).unwrap_err();
    assert_eq!(error, OpenError::UnknownKey(Some("test".to_owned())));
}

/// Returns a well-formed message whose encrypted key wraps `cek`, but whose content another key encrypts.
fn message_wrapping(cek: &[u8]) -> String {
    let serde_json::Value::Object(jwk) = KEY.to_public_jwk() else { unreachable!() };
    let encrypter = RSA_OAEP_256.encrypter_from_jwk(&Jwk::from_map(jwk).unwrap()).unwrap();
    let encrypted_key = encrypter.encrypt(cek, &JweHeader::new(), &mut JweHeader::new()).unwrap().unwrap();

    let header = ProtectedHeader::ours(Some("test")).encoded();
    let (other_cek, iv) = random_cek_and_iv().unwrap();
    let mut ciphertext = vec![0; 2 + CIPHERTEXT_OVERHEAD];
    let encryptor = Encryptor::new(&other_cek, &iv, header.as_bytes()).unwrap();
    let (written, tag) = encryptor.finish(b"{}", &mut ciphertext).unwrap();
    let parts = [&encrypted_key[..], &iv, &ciphertext[..written], &tag].map(|part| BASE64URL.encode(part));
    format!("{header}.{}", parts.join("."))
}

#[test]
fn every_failure_to_open_looks_the_same() {
    for message in [
        message_wrapping(&[7; 64]),
        message_wrapping(&[7; 32]),
        message_wrapping(&[]),
        with_part(1, &octets(256)),
        with_part(1, &BASE64URL.encode([0; 256])),
        with_part(1, &BASE64URL.encode([0xff; 256])),
        with_part(1, &octets(257)),
        with_part(1, &octets(1024)),
        with_part(4, &octets(32)),
    ] {
        assert!(parse(message.clone()).is_ok());
        let error = open(message.as_bytes(), std::slice::from_ref(&KEY)).unwrap_err();
        assert_eq!(error, OpenError::Undecryptable);
    }
}

#[test]
fn no_formatting_shows_plaintext_or_key() {
    let body = Bytes::from_static(b"\"canary\"");
    let message = sealed_text(&body);
    let opened = open(message.as_bytes(), std::slice::from_ref(&KEY)).unwrap();
    let private = KEY.to_private_jwk();
    let shown = format!("{opened:?} {:?} {:?} {:?}", *KEY, sealed(&body), sealed(&body).into_chunks());
    let caller_made = CallerMade::parse(message.into()).unwrap();
    let shown = format!("{shown} {caller_made:?} {:?}", Compact::from(caller_made.clone()));
    assert!(!shown.contains("canary") && !shown.contains("99, 97, 110"));
    for name in ["d", "p", "q", "dp", "dq", "qi"] {
        assert!(!shown.contains(private[name].as_str().unwrap()));
    }
    assert_eq!(format!("{:?}", *KEY), r#"DecryptionKey { kid: Some("test"), .. }"#);
}
