//! Says why this provider would refuse a message: all reasons at once, in plain words.
//!
//! [`Compact::parse`](super::Compact::parse) stops at the first fault, because a gateway only has to refuse. The author of
//! another sealing client wants the whole list. So this reads a message leniently, part by part, and continues after a
//! fault as far as the rest makes sense.
//!
//! The hard case is the tag. Only a private key can check it, and then the checks say which step failed: unwrapping the
//! key, its length, the tag, the padding. [`open`](super::open()) never says so, because an attacker could ask it many
//! times (RFC 7516 section 11.5). Lint only with keys of a sandbox, on your own machine.
//!
//! Rejected: a severity for each finding. Each one makes the provider refuse the message, or a gateway of this product on
//! the way.

mod content;
mod finding;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

pub use self::finding::{Finding, FindingCode};

use super::content::{BLOCK_BYTES, IV_BYTES, TAG_BYTES};
use super::header::{ALG, ENC, MAX_HEADER_CHARS, Members, is_usual};
use super::jwk::{EncryptionKey, MAX_KID_BYTES, MAX_MODULUS_BITS, MIN_MODULUS_BITS, PRIVATE_MEMBERS, UnusableKey};
use super::parse::{Part, plain_name};

/// What a lint found, and what it could check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lint {
    /// The reasons why the provider would refuse the message, in the order of its parts.
    pub findings: Vec<Finding>,
    /// The `kid` in the protected header.
    pub kid: Option<String>,
    /// The number of bytes in each of the five parts after decoding. Zero for a part that cannot be decoded.
    pub parts: [usize; 5],
    /// Whether a key set was given.
    pub keys_checked: bool,
    /// Whether the message was opened with a private key, so that tag and content were checked.
    pub tag_checked: bool,
}

/// Checks a message. `keys` are the entries of the provider's JWK Set. An entry with private members also checks the tag.
#[must_use]
pub fn lint(message: &[u8], keys: Option<&[Value]>) -> Lint {
    let mut lint = Linter { lint: Lint { keys_checked: keys.is_some(), ..Lint::default() } };
    lint.message(message, keys);
    lint.lint
}

struct Linter {
    lint: Lint,
}

/// The member that a JWE has in the JSON serialization, and a plaintext hardly has. The other members are skipped: as
/// a [`Value`], plaintext can need forty times its memory.
#[derive(serde::Deserialize)]
struct JsonJwe {
    ciphertext: Option<IgnoredAny>,
}

impl Linter {
    fn find(&mut self, code: FindingCode, text: impl Into<String>) {
        self.lint.findings.push(Finding::new(code, text));
    }

    fn message(&mut self, message: &[u8], keys: Option<&[Value]>) {
        let Some(message) = self.unwrapped(message) else { return };
        let is_dot = |byte: &u8| *byte == b'.';
        // Six show that there are too many. A list of all parts can need sixteen times the memory of the message.
        let texts: Vec<&[u8]> = message.splitn(6, is_dot).collect();
        let Ok(texts) = <[&[u8]; 5]>::try_from(texts) else {
            self.part_count(message.split(is_dot).count());
            return;
        };
        let octets = [
            self.decoded(Part::Header, texts[0]),
            self.decoded(Part::EncryptedKey, texts[1]),
            self.decoded(Part::Iv, texts[2]),
            self.decoded(Part::Ciphertext, texts[3]),
            self.decoded(Part::Tag, texts[4]),
        ];
        self.lint.parts = octets.each_ref().map(|octets| octets.as_ref().map_or(0, Vec::len));
        let [header, encrypted_key, iv, ciphertext, tag] = octets;
        let has_kid = if texts[0].len() > MAX_HEADER_CHARS {
            let text = format!("the protected header has more than {MAX_HEADER_CHARS} characters: remove members");
            self.find(FindingCode::HeaderTooLong, text);
            false
        } else {
            header.is_some_and(|header| self.header(&header))
        };
        let selected = keys.filter(|_| has_kid).and_then(|keys| self.key(keys));
        self.lengths(&selected, encrypted_key.as_deref(), iv.as_deref(), ciphertext.as_deref(), tag.as_deref());
        if let (Some(keys), Some(encrypted_key), Some(iv), Some(ciphertext), Some(tag)) =
            (keys, encrypted_key, iv, ciphertext, tag)
        {
            let parts = content::Parts { aad: texts[0], encrypted_key, iv, ciphertext, tag };
            let (is_opened, findings) = content::check(parts, keys, self.lint.kid.as_deref());
            self.lint.tag_checked = is_opened;
            self.lint.findings.extend(findings);
        }
    }

    /// Removes quotation marks. Returns `None` if there is no compact message inside.
    fn unwrapped<'a>(&mut self, message: &'a [u8]) -> Option<&'a [u8]> {
        let message = message.trim_ascii_end();
        let inner = message.trim_ascii();
        match inner {
            [] => {
                self.find(FindingCode::Empty, "the message is empty");
                None
            }
            [b'{' | b'[', ..] => {
                let is_jwe = serde_json::from_slice(inner).is_ok_and(|json: JsonJwe| json.ciphertext.is_some());
                if inner.starts_with(b"{") && is_jwe {
                    let text = "the message is a JWE in the JSON serialization: the provider accepts the compact \
                                serialization only";
                    self.find(FindingCode::JsonSerialization, text);
                } else {
                    self.find(FindingCode::Plaintext, "the message is not sealed: it begins as plain JSON does");
                }
                None
            }
            [b'"', quoted @ .., b'"'] => {
                let text = "the message is inside quotation marks: send the five parts alone, not as a JSON string";
                self.find(FindingCode::Quoted, text);
                Some(quoted)
            }
            _ => Some(message),
        }
    }

    fn part_count(&mut self, count: usize) {
        let (code, text) = match count {
            1 => (
                FindingCode::PartCount,
                "the message has no dot; a compact JWE has five parts, separated by dots".to_owned(),
            ),
            3 => (
                FindingCode::Signed,
                "the message has three parts: it is signed (JWS), not encrypted; a compact JWE has five".to_owned(),
            ),
            _ => (
                FindingCode::PartCount,
                format!("the message has {count} parts, separated by dots; a compact JWE has five"),
            ),
        };
        self.find(code, text);
    }

    fn decoded(&mut self, part: Part, text: &[u8]) -> Option<Vec<u8>> {
        let reason = match BASE64URL.decode(text) {
            Ok(octets) => return Some(octets),
            Err(_) if text.contains(&b'=') => "it has padding (`=`): remove it",
            Err(_) if text.iter().any(u8::is_ascii_whitespace) => "it has white space: remove spaces and line breaks",
            Err(_) if text.contains(&b'+') || text.contains(&b'/') => "it is base64 with `+` and `/`: use `-` and `_`",
            Err(_) if text.len() % 4 == 1 => "its last character is missing or surplus",
            Err(_) if text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)) => {
                "the unused bits of its last character are not zero"
            }
            Err(_) => "it has a character outside of the alphabet",
        };
        self.find(FindingCode::NotBase64Url, format!("the {part} is not base64url without padding: {reason}"));
        None
    }

    /// Checks the protected header. Returns whether it has a usable `kid`.
    fn header(&mut self, header: &[u8]) -> bool {
        let Ok(Members(members)) = serde_json::from_slice(header) else {
            let text = "the protected header is not a JSON object in UTF-8, or it has a member twice";
            self.find(FindingCode::HeaderNotJson, text);
            return false;
        };
        let named = |name: &str| match members.get(name) {
            None => "missing".to_owned(),
            Some(Value::String(text)) => plain_name(text).unwrap_or("another text").to_owned(),
            Some(_) => "not a text".to_owned(),
        };
        if named("alg") != ALG {
            self.find(FindingCode::Algorithm, finding::algorithm(&named("alg")));
        }
        if named("enc") != ENC {
            self.find(FindingCode::Encryption, finding::encryption(&named("enc")));
        }
        if members.contains_key("zip") {
            let text = "the header has `zip`, so the content is compressed, and its length reveals something about it: \
                        seal without compression";
            self.find(FindingCode::Compressed, text);
        }
        if members.contains_key("crit") {
            let text = "the header has `crit`, which demands extensions that the provider does not have: remove it";
            self.find(FindingCode::Critical, text);
        }
        for (name, _) in members.iter().filter(|(name, value)| !is_usual(name, value)) {
            if !["zip", "crit"].contains(&name.as_str()) {
                let name = plain_name(name)
                    .map_or_else(|| "a member with an unusual name".to_owned(), |name| format!("`{name}`"));
                let text = format!("the header has {name}, and everybody on the way can read it: remove it");
                self.find(FindingCode::ExtraMember, text);
            }
        }
        match members.get("kid") {
            None => {
                let text = "the header has no `kid`: the provider cannot tell which of its keys opens the message";
                self.find(FindingCode::KidMissing, text);
                false
            }
            Some(Value::String(kid)) if (1..=MAX_KID_BYTES).contains(&kid.len()) => {
                self.lint.kid = Some(kid.clone());
                true
            }
            Some(_) => {
                self.find(FindingCode::KidMalformed, format!("`kid` must be a text of 1 to {MAX_KID_BYTES} bytes"));
                false
            }
        }
    }

    /// Finds the key that the message names. Returns the bits of its modulus.
    fn key(&mut self, keys: &[Value]) -> Option<u32> {
        let kid = self.lint.kid.clone()?;
        let named: Vec<&Value> = keys.iter().filter(|key| key["kid"].as_str() == Some(&kid)).collect();
        let shown = kid.escape_debug();
        match named.as_slice() {
            [] => {
                let kids: Vec<_> = keys.iter().filter_map(|key| key["kid"].as_str()).take(8).collect();
                let known = match kids.as_slice() {
                    [] => "the set has no key with a `kid`".to_owned(),
                    kids => format!("the set has {}", kids.join(", ").escape_debug()),
                };
                let text =
                    format!("the key set has no key {shown}: it was withdrawn or belongs to another set; {known}");
                self.find(FindingCode::KidUnknown, text);
                None
            }
            [key] => match usable_bits(key) {
                Ok(bits) => Some(bits),
                Err(reason) => {
                    let code = match reason {
                        UnusableKey::NotForEncryption | UnusableKey::OtherOperations => FindingCode::KeyForSignatures,
                        UnusableKey::OtherAlgorithm if key["alg"].as_str().is_some_and(finding::is_of_signatures) => {
                            FindingCode::KeyForSignatures
                        }
                        UnusableKey::ModulusTooShort { .. } => FindingCode::KeyTooSmall,
                        _ => FindingCode::KeyUnusable,
                    };
                    self.find(
                        code,
                        format!("the key {shown} must not be used: {reason}; choose another key of the set"),
                    );
                    None
                }
            },
            several => {
                let text = format!(
                    "the key set has {} keys with the kid {shown}, and the provider may try another one",
                    several.len()
                );
                self.find(FindingCode::KidAmbiguous, text);
                None
            }
        }
    }

    fn lengths(
        &mut self,
        bits: &Option<u32>,
        encrypted_key: Option<&[u8]>,
        iv: Option<&[u8]>,
        ciphertext: Option<&[u8]>,
        tag: Option<&[u8]>,
    ) {
        let possible = match bits {
            Some(bits) => (*bits as usize).div_ceil(8)..=(*bits as usize).div_ceil(8),
            None => MIN_MODULUS_BITS / 8..=MAX_MODULUS_BITS / 8,
        };
        let checks = [
            (Part::EncryptedKey, encrypted_key.map(|octets| (octets.len(), possible.contains(&octets.len())))),
            (Part::Iv, iv.map(|octets| (octets.len(), octets.len() == IV_BYTES))),
            (
                Part::Ciphertext,
                ciphertext.map(|octets| (octets.len(), !octets.is_empty() && octets.len().is_multiple_of(BLOCK_BYTES))),
            ),
            (Part::Tag, tag.map(|octets| (octets.len(), octets.len() == TAG_BYTES))),
        ];
        let wrong =
            checks.into_iter().filter_map(|(part, length)| Some((part, length.filter(|(_, is_right)| !is_right)?.0)));
        self.lint.findings.extend(wrong.map(|(part, octets)| Finding::length(part, octets)));
    }
}

/// The bits of a key's modulus, if the provider's clients may seal with it. Private members are ignored.
fn usable_bits(key: &Value) -> Result<u32, UnusableKey> {
    let mut public: Map<String, Value> = key.as_object().ok_or(UnusableKey::NotAnObject)?.clone();
    let is_private = PRIVATE_MEMBERS.iter().any(|name| public.contains_key(*name));
    // A private key lists other operations than its public one.
    public.retain(|name, _| !(PRIVATE_MEMBERS.contains(&name.as_str()) || is_private && name == "key_ops"));
    EncryptionKey::from_jwk(&Value::Object(public)).map(|key| key.bits())
}
