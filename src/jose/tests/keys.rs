//! Which JWKs are accepted as keys.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};

use super::*;

fn reason(jwk: &Value) -> UnusableKey {
    EncryptionKey::from_jwk(jwk).unwrap_err()
}

/// Returns a valid public JWK with one member replaced.
fn with(member: &str, value: impl Into<Value>) -> Value {
    let mut jwk = KEY.to_public_jwk();
    jwk[member] = value.into();
    jwk
}

fn without(member: &str) -> Value {
    let mut jwk = KEY.to_public_jwk();
    jwk.as_object_mut().unwrap().remove(member);
    jwk
}

/// Returns an odd number with exactly `bits` bits, big-endian.
fn odd_number(bits: usize) -> Vec<u8> {
    let mut octets = vec![0xff; bits.div_ceil(8)];
    if let Some(first) = octets.first_mut() {
        *first >>= (8 - bits % 8) % 8;
    }
    octets
}

fn number(octets: impl AsRef<[u8]>) -> String {
    BASE64URL.encode(octets)
}

#[test]
fn entries_that_are_not_objects_are_refused() {
    for entry in [json!(null), json!(7), json!("key"), json!([]), json!([KEY.to_public_jwk()]), json!(true)] {
        assert_eq!(reason(&entry), UnusableKey::NotAnObject);
    }
}

#[test]
fn a_missing_required_member_is_refused() {
    assert_eq!(reason(&json!({})), UnusableKey::Missing("kty"));
    for member in ["kty", "n", "e"] {
        assert_eq!(reason(&without(member)), UnusableKey::Missing(member));
    }
    for member in ["use", "alg", "kid"] {
        assert!(EncryptionKey::from_jwk(&without(member)).is_ok(), "{member}");
    }
}

#[test]
fn members_of_the_wrong_type_including_null_are_refused() {
    for member in ["kty", "n", "e", "use", "alg", "kid", "key_ops"] {
        for value in [json!(null), json!(7), json!({}), json!(true)] {
            assert_eq!(reason(&with(member, value)), UnusableKey::WrongType(member));
        }
    }
    assert_eq!(reason(&with("key_ops", "encrypt")), UnusableKey::WrongType("key_ops"));
}

#[test]
fn keys_for_another_purpose_are_refused() {
    assert_eq!(reason(&json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"})), UnusableKey::NotRsa);
    assert_eq!(reason(&with("kty", "rsa")), UnusableKey::NotRsa);
    assert_eq!(reason(&with("use", "sig")), UnusableKey::NotForEncryption);
    for algorithm in ["RS256", "RSA1_5", "RSA-OAEP", "RSA-OAEP-512", ""] {
        assert_eq!(reason(&with("alg", algorithm)), UnusableKey::OtherAlgorithm);
    }
    for operations in [json!([]), json!(["verify"]), json!(["decrypt", "unwrapKey"]), json!([null, 7])] {
        assert_eq!(reason(&with("key_ops", operations)), UnusableKey::OtherOperations);
    }
}

#[test]
fn keys_that_allow_encryption_or_wrapping_are_accepted() {
    for operations in [json!(["wrapKey"]), json!(["encrypt"]), json!(["verify", "wrapKey"]), json!([7, "encrypt"])] {
        let key = EncryptionKey::from_jwk(&with("key_ops", operations)).unwrap();
        assert!(seal(&Plaintext::json(body(2)).unwrap(), &key).is_ok());
    }
    assert!(EncryptionKey::from_jwk(&with("x5c", json!(["nonsense"]))).is_ok());
}

#[test]
fn published_private_members_are_refused_and_named() {
    assert_eq!(reason(&KEY.to_private_jwk()), UnusableKey::Private(vec!["d", "p", "q", "dp", "dq", "qi"]));
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth"] {
        let error = reason(&with(member, "canary"));
        assert_eq!(error, UnusableKey::Private(vec![member]));
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
    assert_eq!(reason(&json!({"kty": "EC", "d": null})), UnusableKey::Private(vec!["d"]));
}

#[test]
fn a_kid_has_no_control_characters_and_no_line_separators() {
    for control in ['\0', '\n', '\u{1b}', '\u{7f}', '\u{80}', '\u{9f}', '\u{2028}', '\u{2029}'] {
        assert_eq!(reason(&with("kid", format!("a{control}b"))), UnusableKey::KidControl, "{control:?}");
    }
    let printable = "schl\u{fc}ssel-1 \u{20ac}";
    assert_eq!(EncryptionKey::from_jwk(&with("kid", printable)).unwrap().kid(), Some(printable));
}

#[test]
fn a_kid_is_a_string_of_1_to_256_bytes() {
    assert_eq!(reason(&with("kid", "")), UnusableKey::EmptyKid);
    assert_eq!(reason(&with("kid", "k".repeat(MAX_KID_BYTES + 1))), UnusableKey::KidTooLong);
    let longest = "é".repeat(MAX_KID_BYTES / 2);
    assert_eq!(EncryptionKey::from_jwk(&with("kid", longest.clone())).unwrap().kid(), Some(longest.as_str()));
}

#[test]
fn numbers_must_be_strict_base64url() {
    for text in ["AQAB=", "AQA+", "AQA/", "AQ AB", "AQAB\n", "A", "AR"] {
        assert_eq!(reason(&with("e", text)), UnusableKey::NotBase64Url("e"), "{text:?}");
    }
    let n = KEY.to_public_jwk()["n"].as_str().unwrap().to_owned();
    assert_eq!(reason(&with("n", format!("{n}=="))), UnusableKey::NotBase64Url("n"));
    assert_eq!(reason(&with("n", "é")), UnusableKey::NotBase64Url("n"));
}

#[test]
fn the_modulus_is_odd_and_has_2048_to_8192_bits() {
    for bits in [0, 1, 1024, 2047] {
        assert_eq!(reason(&with("n", number(odd_number(bits)))), UnusableKey::ModulusTooShort { bits });
    }
    for bits in [8193, 9000, 1 << 20] {
        assert_eq!(reason(&with("n", number(odd_number(bits)))), UnusableKey::ModulusTooLong { bits });
    }
    for bits in [2048, 2049, 2055, 3071, 4096, 8185, 8191, 8192] {
        let key = EncryptionKey::from_jwk(&with("n", number(odd_number(bits)))).unwrap();
        assert_eq!(key.bits() as usize, bits);
    }
    let mut even = odd_number(2048);
    even[255] = 0xfe;
    assert_eq!(reason(&with("n", number(even))), UnusableKey::EvenModulus);
}

#[test]
fn the_exponent_is_odd_and_between_3_and_2_to_the_33() {
    for e in [vec![], vec![0], vec![0, 0, 0], vec![2], vec![1, 0, 0], vec![1, 0, 0, 0, 0]] {
        assert_eq!(reason(&with("e", number(&e))), UnusableKey::EvenExponent, "{e:?}");
    }
    for e in [vec![1], vec![0, 0, 1]] {
        assert_eq!(reason(&with("e", number(e))), UnusableKey::ExponentTooSmall);
    }
    for e in [vec![2, 0, 0, 0, 0], vec![2, 0, 0, 0, 1], odd_number(64), odd_number(65), odd_number(2048)] {
        assert_eq!(reason(&with("e", number(e))), UnusableKey::ExponentTooLarge);
    }
    for e in [vec![3], vec![1, 0, 1], vec![1, 0xff, 0xff, 0xff, 0xff]] {
        assert!(EncryptionKey::from_jwk(&with("e", number(&e))).is_ok(), "{e:?}");
    }
}

#[test]
fn leading_zero_octets_do_not_change_the_key() {
    let pad = |member: &str| {
        let text = KEY.to_public_jwk()[member].as_str().unwrap().to_owned();
        number([vec![0, 0], BASE64URL.decode(text).unwrap()].concat())
    };
    for padded in [with("n", pad("n")), with("e", pad("e"))] {
        let key = EncryptionKey::from_jwk(&padded).unwrap();
        assert_eq!(key.bits(), 2048);
        assert_eq!(key, public(&KEY));
    }
    let padded = with("n", number([vec![0; 300], odd_number(1024)].concat()));
    assert_eq!(reason(&padded), UnusableKey::ModulusTooShort { bits: 1024 });
}

#[test]
fn the_thumbprint_equals_the_example_of_rfc_7638_section_3_1() {
    let jwk = json!({
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3o\
              knjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6\
              qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awap\
              JzKnqDKgw",
        "e": "AQAB",
        "kid": "2011-04-29"
    });
    let key = EncryptionKey::from_jwk(&jwk).unwrap();
    assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    assert_eq!((key.kid(), key.bits()), (Some("2011-04-29"), 2048));
}

#[test]
fn keys_are_equal_if_kid_and_material_are_equal() {
    assert_eq!(public(&KEY), public(&KEY));
    assert_ne!(public(&KEY), EncryptionKey::from_jwk(&with("kid", "renamed")).unwrap());
    assert_ne!(public(&KEY), EncryptionKey::from_jwk(&without("kid")).unwrap());
    assert_ne!(public(&KEY), EncryptionKey::from_jwk(&with("n", number(odd_number(2048)))).unwrap());
}

#[test]
fn a_private_key_survives_the_round_trip_through_its_jwk() {
    let jwk = KEY.to_private_jwk();
    let again = DecryptionKey::from_jwk(&jwk).unwrap();
    assert_eq!(again.to_private_jwk(), jwk);
    let public = again.to_public_jwk();
    let names: Vec<_> = public.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["kty", "use", "alg", "kid", "n", "e"]);
    assert_eq!((&public["use"], &public["alg"]), (&json!("enc"), &json!("RSA-OAEP-256")));
}

#[test]
fn a_private_jwk_that_cannot_unwrap_is_refused() {
    let private = |member: &str, value: Value| {
        let mut jwk = KEY.to_private_jwk();
        jwk[member] = value;
        DecryptionKey::from_jwk(&jwk).unwrap_err()
    };
    assert_eq!(DecryptionKey::from_jwk(&json!(null)).unwrap_err(), UnusableKey::NotAnObject);
    assert_eq!(DecryptionKey::from_jwk(&KEY.to_public_jwk()).unwrap_err(), UnusableKey::Missing("d"));
    assert_eq!(private("qi", json!(7)), UnusableKey::WrongType("qi"));
    assert_eq!(private("p", json!("=")), UnusableKey::NotBase64Url("p"));
    assert_eq!(private("use", json!("sig")), UnusableKey::NotForEncryption);
    assert_eq!(private("key_ops", json!(["encrypt"])), UnusableKey::OtherOperations);
    assert_eq!(private("n", OTHER_KEY.to_public_jwk()["n"].clone()), UnusableKey::Rejected);
    assert_eq!(DecryptionKey::generate("").unwrap_err(), UnusableKey::EmptyKid);

    let mut jwk = KEY.to_private_jwk();
    jwk["key_ops"] = json!(["unwrapKey"]);
    assert!(DecryptionKey::from_jwk(&jwk).is_ok());
}
