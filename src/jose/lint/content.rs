//! The part of a lint that needs a private key. A build without the sandbox has none.

#[cfg(feature = "sandbox")]
use serde::de::IgnoredAny;
use serde_json::Value;

#[cfg(feature = "sandbox")]
use super::super::content::{CEK_BYTES, Cek, decrypt, tag_of};
#[cfg(feature = "sandbox")]
use super::super::private::DecryptionKey;
use super::Finding;
#[cfg(feature = "sandbox")]
use super::FindingCode;

/// A message, decoded except for its header.
#[cfg_attr(not(feature = "sandbox"), expect(dead_code, reason = "only the sandbox opens messages"))]
pub(super) struct Parts<'a> {
    pub(super) aad: &'a [u8],
    pub(super) encrypted_key: Vec<u8>,
    pub(super) iv: Vec<u8>,
    pub(super) ciphertext: Vec<u8>,
    pub(super) tag: Vec<u8>,
}

/// Opens a message with the private keys among `keys`. Returns whether one of them unwrapped its key, and what is wrong.
#[cfg(feature = "sandbox")]
pub(super) fn check(parts: Parts<'_>, keys: &[Value], kid: Option<&str>) -> (bool, Vec<Finding>) {
    let keys: Vec<_> = keys.iter().filter_map(|jwk| DecryptionKey::from_jwk(jwk).ok()).collect();
    let (named, others): (Vec<_>, Vec<_>) = keys.iter().partition(|key| kid.is_none() || key.kid() == kid);
    let Parts { aad, encrypted_key, iv, mut ciphertext, tag } = parts;
    let unwrap = |keys: &[&DecryptionKey]| {
        keys.iter().find_map(|key| Some((key.kid().map(str::to_owned), key.unwrap_octets(&encrypted_key)?)))
    };
    let mut findings = Vec::new();
    let octets = if let Some((_, octets)) = unwrap(&named) {
        octets
    } else if let Some((used, octets)) = unwrap(&others) {
        let (used, named) = (used.unwrap_or_default(), kid.unwrap_or_default());
        let text = format!(
            "the message was sealed with the key {}, but its `kid` names {}: take key and kid from one entry",
            used.escape_debug(),
            named.escape_debug()
        );
        findings.push(Finding::new(FindingCode::KidWrong, text));
        octets
    } else {
        if !named.is_empty() {
            let text = "the private key does not unwrap the encrypted key: it was wrapped with another key, or not with \
                        SHA-256 for both OAEP and MGF1 (Java takes SHA-1 for MGF1 unless told otherwise)";
            findings.push(Finding::new(FindingCode::EncryptedKeyWrong, text));
        }
        return (false, findings);
    };
    let Some(cek) = Cek::from_octets(&octets) else {
        let text = format!("the unwrapped key has {} bytes; A256CBC-HS512 needs {CEK_BYTES}", octets.len());
        findings.push(Finding::new(FindingCode::CekLength, text));
        return (false, findings);
    };
    let (Ok(iv), Ok(tag)) = (iv.try_into(), tag.try_into()) else {
        return (false, findings);
    };
    if tag_of(&cek, &iv, aad, &ciphertext).is_ok_and(|right| right != tag) {
        let text = "the authentication tag is wrong: a part was changed after sealing, or the tag was not made over the \
                    encoded header, the IV, the ciphertext and the length of the header in bits, with the first half of the key";
        findings.push(Finding::new(FindingCode::TagWrong, text));
    } else if decrypt(&cek, &iv, aad, &mut ciphertext, &tag).is_err() {
        let text =
            "the content is not padded as PKCS #7 demands: the last byte says how many bytes of padding there are";
        findings.push(Finding::new(FindingCode::PaddingWrong, text));
    } else if std::str::from_utf8(&ciphertext).map_or(true, |text| serde_json::from_str::<IgnoredAny>(text).is_err()) {
        let text = format!("the opened content of {} bytes is not JSON: seal the JSON text itself", ciphertext.len());
        findings.push(Finding::new(FindingCode::ContentNotJson, text));
    }
    zeroize::Zeroize::zeroize(&mut ciphertext);
    (true, findings)
}

#[cfg(not(feature = "sandbox"))]
pub(super) fn check(_: Parts<'_>, _: &[Value], _: Option<&str>) -> (bool, Vec<Finding>) {
    (false, Vec::new())
}
