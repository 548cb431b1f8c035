//! A message with any one byte changed does not open.

use super::*;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The character whose six bits differ from those of `character` in `bits`.
fn flipped(character: u8, bits: usize) -> u8 {
    ALPHABET[ALPHABET.iter().position(|other| *other == character).unwrap() ^ bits]
}

/// Replaces the byte at each position except the dots in turn, and passes on the part it belongs to.
fn with_each_byte_changed(change: impl Fn(u8) -> u8, check: impl Fn(Part, Result<Opened, OpenError>)) {
    let message = sealed(&body(20)).into_bytes().unwrap();
    assert!(open(&message, std::slice::from_ref(&KEY)).is_ok());
    let mut parts = [Part::Header, Part::EncryptedKey, Part::Iv, Part::Ciphertext, Part::Tag].into_iter();
    let mut part = parts.next().unwrap();
    for at in 0..message.len() {
        if message[at] == b'.' {
            part = parts.next().unwrap();
            continue;
        }
        let mut tampered = message.clone();
        tampered[at] = change(message[at]);
        check(part, open(&tampered, std::slice::from_ref(&KEY)));
    }
    assert_eq!(part, Part::Tag);
}

#[test]
fn another_character_of_the_alphabet_at_any_position_is_detected() {
    // The highest bit of a character is always significant, so the tag must detect the change.
    with_each_byte_changed(
        |character| flipped(character, 0b10_0000),
        |part, result| match part {
            Part::Header => assert!(result.is_err()),
            _ => assert_eq!(result.unwrap_err(), OpenError::Undecryptable, "{part}"),
        },
    );
    // The lowest bit can be an unused one that must be zero.
    with_each_byte_changed(
        |character| flipped(character, 0b00_0001),
        |part, result| assert!(result.is_err(), "{part}"),
    );
}

#[test]
fn a_byte_outside_the_alphabet_at_any_position_is_malformed() {
    for byte in [b'=', b'+', b'/', b' ', b'\n', 0, 0xff] {
        with_each_byte_changed(
            |_| byte,
            |part, result| {
                assert_eq!(result.unwrap_err(), OpenError::Malformed(MalformedJose::NotBase64Url(part)));
            },
        );
    }
    with_each_byte_changed(
        |_| b'.',
        |_, result| assert_eq!(result.unwrap_err(), OpenError::Malformed(MalformedJose::PartCount)),
    );
}

#[test]
fn a_message_that_is_cut_or_extended_does_not_open() {
    let message = sealed(&body(20)).into_bytes().unwrap();
    for end in 0..message.len() {
        assert!(open(&message[..end], std::slice::from_ref(&KEY)).is_err(), "cut at {end}");
    }
    for extra in ["A", "AAAA", ".", "\n", " "] {
        let longer = [&message, extra.as_bytes()].concat();
        assert!(matches!(open(&longer, std::slice::from_ref(&KEY)), Err(OpenError::Malformed(_))), "{extra:?}");
    }
}

#[test]
fn parts_of_two_messages_cannot_be_combined() {
    let (one, two) = (sealed_text(&body(20)), sealed_text(&body(20)));
    for part in 1..5 {
        let mut mixed: Vec<_> = one.split('.').collect();
        mixed[part] = two.split('.').nth(part).unwrap();
        let result = open(mixed.join(".").as_bytes(), std::slice::from_ref(&KEY));
        assert_eq!(result.unwrap_err(), OpenError::Undecryptable, "part {part}");
    }
}
