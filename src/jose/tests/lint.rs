//! Each finding of a lint, with a message that has it.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use josekit::jwe::{JweHeader, RSA_OAEP_256, serialize_compact};
use josekit::jwk::Jwk;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::content::{BLOCK_BYTES, CIPHERTEXT_OVERHEAD, Encryptor, random_cek_and_iv, tag_of};
use super::super::jwk::MAX_ENCRYPTED_KEY_BYTES;
use super::*;
use FindingCode as Code;

const HEADER: &str = r#"{"alg":"RSA-OAEP-256","enc":"A256CBC-HS512","kid":"test"}"#;

/// A sealed message for `KEY`, with this header and this content.
fn with_header(header: &str, content: &[u8]) -> String {
    let (cek, iv) = random_cek_and_iv().unwrap();
    let aad = BASE64URL.encode(header);
    let mut buffer = [0; MAX_ENCRYPTED_KEY_BYTES];
    let wrapped = public(&KEY).wrap(&cek, &mut buffer).unwrap().to_vec();
    let mut ciphertext = vec![0; content.len() + CIPHERTEXT_OVERHEAD];
    let encryptor = Encryptor::new(&cek, &iv, aad.as_bytes()).unwrap();
    let (written, tag) = encryptor.finish(content, &mut ciphertext).unwrap();
    assembled(&aad, &wrapped, &iv, &ciphertext[..written], &tag)
}

fn assembled(aad: &str, wrapped: &[u8], iv: &[u8], ciphertext: &[u8], tag: &[u8]) -> String {
    [
        aad.to_owned(),
        BASE64URL.encode(wrapped),
        BASE64URL.encode(iv),
        BASE64URL.encode(ciphertext),
        BASE64URL.encode(tag),
    ]
    .join(".")
}

/// A message whose tag is right and whose padding is wrong.
fn with_wrong_padding() -> String {
    let (cek, iv) = random_cek_and_iv().unwrap();
    let aad = BASE64URL.encode(HEADER);
    let mut buffer = [0; MAX_ENCRYPTED_KEY_BYTES];
    let wrapped = public(&KEY).wrap(&cek, &mut buffer).unwrap().to_vec();
    let mut ciphertext = vec![0; BLOCK_BYTES + CIPHERTEXT_OVERHEAD];
    Encryptor::new(&cek, &iv, b"").unwrap().finish(&[0; BLOCK_BYTES], &mut ciphertext).unwrap();
    let ciphertext = &ciphertext[..BLOCK_BYTES];
    assembled(&aad, &wrapped, &iv, ciphertext, &tag_of(&cek, &iv, aad.as_bytes(), ciphertext).unwrap())
}

/// A message with another `enc`, made by josekit.
fn by_josekit(enc: &str) -> String {
    let mut header = JweHeader::new();
    header.set_content_encryption(enc);
    header.set_key_id("test");
    let Value::Object(jwk) = KEY.to_public_jwk() else { panic!("a JWK is an object") };
    let encrypter = RSA_OAEP_256.encrypter_from_jwk(&Jwk::from_map(jwk).unwrap()).unwrap();
    serialize_compact(b"{}", &header, &encrypter).unwrap()
}

fn with_part(index: usize, text: &str) -> String {
    let message = with_header(HEADER, b"{}");
    let mut parts: Vec<_> = message.split('.').collect();
    parts[index] = text;
    parts.join(".")
}

fn octets(count: usize) -> String {
    BASE64URL.encode(vec![7; count])
}

/// The codes that a lint finds with the private keys of the provider.
fn codes(message: &str) -> Vec<Code> {
    codes_with(message, &[KEY.to_private_jwk(), OTHER_KEY.to_private_jwk()])
}

fn codes_with(message: &str, keys: &[Value]) -> Vec<Code> {
    lint(message.as_bytes(), Some(keys)).findings.into_iter().map(|finding| finding.code).collect()
}

fn header(more: &str) -> String {
    format!(r#"{{"alg":"RSA-OAEP-256","enc":"A256CBC-HS512"{more}}}"#)
}

#[test]
fn nothing_is_found_in_a_message_of_ours_or_of_another_library() {
    let private = [KEY.to_private_jwk(), OTHER_KEY.to_private_jwk()];
    for message in [sealed_text(&body(20)), format!("{}\r\n", sealed_text(&body(1))), by_josekit("A256CBC-HS512")] {
        let found = lint(message.as_bytes(), Some(&private));
        assert_eq!(found.findings, [], "{message}");
        assert!(found.keys_checked && found.tag_checked);
        assert_eq!((found.kid.as_deref(), found.parts[1], found.parts[2]), (Some("test"), 256, 16));
        let found = lint(message.as_bytes(), Some(&[KEY.to_public_jwk()]));
        assert_eq!((found.findings.len(), found.keys_checked, found.tag_checked), (0, true, false));
        let found = lint(message.as_bytes(), None);
        assert_eq!((found.findings.len(), found.keys_checked, found.tag_checked), (0, false, false));
    }
}

#[test]
fn every_code_is_found_in_a_message_that_has_this_fault_alone() {
    let sealed = with_header(HEADER, b"{}");
    let four = sealed.rsplit_once('.').unwrap().0.to_owned();
    let mut changed_tag = BASE64URL.decode(sealed.rsplit_once('.').unwrap().1).unwrap();
    changed_tag[0] ^= 1;
    let changed_tag = format!("{four}.{}", BASE64URL.encode(changed_tag));
    let long = header(&format!(r#","kid":"test","typ":"JWE"{}"#, " ".repeat(4096)));
    let by_other = with_header(&HEADER.replace("test", "other"), b"{}");
    let cases = [
        (Code::Empty, " \n".to_owned()),
        (Code::Plaintext, r#"{"iban":"canary"}"#.to_owned()),
        (Code::JsonSerialization, r#"{"protected":"e30","ciphertext":"AA"}"#.to_owned()),
        (Code::Quoted, format!("\"{sealed}\"")),
        (Code::Signed, "e30.e30.AA".to_owned()),
        (Code::PartCount, four),
        (Code::NotBase64Url, with_part(1, &format!("{}==", octets(256)))),
        (Code::HeaderTooLong, with_header(&long, b"{}")),
        (Code::HeaderNotJson, with_header(r#"{"alg":"RSA-OAEP-256","alg":"RSA-OAEP-256"}"#, b"{}")),
        (Code::Algorithm, with_header(&HEADER.replace("RSA-OAEP-256", "RSA-OAEP"), b"{}")),
        (Code::Encryption, with_header(&HEADER.replace("A256CBC-HS512", "A256GCM"), b"{}")),
        (Code::Compressed, with_header(&header(r#","kid":"test","zip":"DEF""#), b"{}")),
        (Code::Critical, with_header(&header(r#","kid":"test","crit":["exp"]"#), b"{}")),
        (Code::ExtraMember, with_header(&header(r#","kid":"test","iat":7"#), b"{}")),
        (Code::KidMissing, with_header(&header(""), b"{}")),
        (Code::KidMalformed, with_header(&header(r#","kid":7"#), b"{}")),
        (Code::EncryptedKeyWrong, with_part(1, &octets(256))),
        (Code::KidWrong, by_other),
        (Code::TagWrong, changed_tag),
        (Code::PaddingWrong, with_wrong_padding()),
        (Code::ContentNotJson, with_header(HEADER, b"canary")),
    ];
    let mut covered: BTreeSet<_> = cases.iter().map(|(code, _)| *code).collect();
    for (code, message) in &cases {
        assert_eq!(codes(message), [*code], "{message}");
    }
    // With a wrong length the content cannot be opened, so only public keys are given.
    let public_keys = [KEY.to_public_jwk()];
    for (code, message) in [
        (Code::EncryptedKeyLength, with_part(1, &octets(384))),
        (Code::IvLength, with_part(2, &octets(12))),
        (Code::CiphertextLength, with_part(3, &octets(15))),
        (Code::CiphertextLength, with_part(3, "")),
        (Code::TagLength, with_part(4, &octets(16))),
    ] {
        assert_eq!(codes_with(&message, &public_keys), [code], "{message}");
        covered.insert(code);
    }
    let set = |change: Value| {
        let mut key = KEY.to_public_jwk();
        key.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        vec![key]
    };
    for (code, keys) in [
        (Code::KidUnknown, vec![OTHER_KEY.to_public_jwk()]),
        (Code::KidUnknown, vec![]),
        (Code::KidAmbiguous, vec![KEY.to_public_jwk(), KEY.to_public_jwk()]),
        (Code::KeyForSignatures, set(json!({"use": "sig"}))),
        (Code::KeyForSignatures, set(json!({"alg": "RS256"}))),
        (Code::KeyForSignatures, set(json!({"key_ops": ["verify"]}))),
        (Code::KeyTooSmall, set(json!({"n": octets(128)}))),
        (Code::KeyUnusable, set(json!({"kty": "EC"}))),
        (Code::KeyUnusable, set(json!({"alg": "RSA-OAEP"}))),
    ] {
        assert_eq!(codes_with(&sealed, &keys), [code], "{keys:?}");
        covered.insert(code);
    }
    // Another `enc` also has another length of key and tag.
    let found = codes(&by_josekit("A128CBC-HS256"));
    assert_eq!(found, [Code::Encryption, Code::TagLength, Code::CekLength]);
    covered.insert(Code::CekLength);
    assert_eq!(covered, Code::ALL.iter().copied().collect());
}

#[test]
fn several_faults_are_found_at_once() {
    let header = r#"{"alg":"RSA1_5","enc":"A256GCM","zip":"DEF","x5c":["AA"]}"#;
    let message = format!("{}.{}.{}.{}.{}", BASE64URL.encode(header), octets(128), octets(12), octets(15), "AA==");
    let expected = [
        Code::NotBase64Url,
        Code::Algorithm,
        Code::Encryption,
        Code::Compressed,
        Code::ExtraMember,
        Code::KidMissing,
        Code::EncryptedKeyLength,
        Code::IvLength,
        Code::CiphertextLength,
    ];
    assert_eq!(codes(&message), expected);
}

#[test]
fn a_part_that_is_not_base64url_gets_the_reason() {
    for (text, reason) in [
        ("AA==", "it has padding"),
        ("A A", "white space"),
        ("A+/A", "it is base64 with"),
        ("A", "missing or surplus"),
        ("AB", "unused bits"),
        ("é", "outside of the alphabet"),
    ] {
        let found = lint(with_part(2, text).as_bytes(), None).findings;
        assert!(found[0].text.contains(reason), "{text}: {found:?}");
    }
}

#[test]
fn no_text_repeats_content_or_a_header_member_that_may_be_content() {
    let header = r#"{"alg":"IBAN canary 7","enc":"canary with a space","canary, secret":"canary","kid":"test"}"#;
    for message in [r#"{"canary":"canary"}"#.to_owned(), with_header(HEADER, b"canary"), with_header(header, b"canary")]
    {
        let found = lint(message.as_bytes(), Some(&[KEY.to_private_jwk()]));
        assert!(!found.findings.is_empty());
        assert!(!format!("{found:?}").contains("canary"), "{found:?}");
    }
}

#[test]
fn a_text_names_the_fault_and_what_is_allowed() {
    let texts = |message: &str, keys: &[Value]| -> Vec<String> {
        lint(message.as_bytes(), Some(keys)).findings.iter().map(ToString::to_string).collect()
    };
    let message = with_header(&HEADER.replace("RSA-OAEP-256", "RSA-OAEP"), b"{}");
    assert_eq!(
        texts(&message, &[KEY.to_public_jwk()]),
        ["alg: `alg` is RSA-OAEP, which uses SHA-1: choose RSA-OAEP-256; it must be RSA-OAEP-256"]
    );
    assert_eq!(
        texts(&with_part(2, &octets(12)), &[OTHER_KEY.to_public_jwk()]),
        [
            "kid_unknown: the key set has no key test: it was withdrawn or belongs to another set; the set has other",
            "iv_length: the initialization vector has 12 bytes: CBC needs 16 bytes; 12 bytes are for GCM",
        ]
    );
}

proptest! {
    #[test]
    fn no_bytes_make_a_lint_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in r#"[\.A-Za-z0-9_{}":=\-]{0,80}\.[\.A-Za-z0-9_\-]{0,80}"#,
        key in r#"(null|7|"x"|\[\]|\{"kid":"test"\}|\{"kid":"test","kty":"RSA","n":"AQ","e":"AQAB"\})"#,
    ) {
        let keys = [serde_json::from_str(&key).unwrap()];
        for message in [bytes.as_slice(), text.as_bytes(), with_header_only().as_bytes()] {
            let _ = lint(message, Some(&keys));
        }
    }
}

/// A message whose header is right and whose other parts are empty.
fn with_header_only() -> String {
    format!("{}....", BASE64URL.encode(HEADER))
}
