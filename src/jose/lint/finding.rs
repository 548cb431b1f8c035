//! What a lint can find, with a name for scripts and a sentence for people.

use std::fmt;

use super::super::header::{ALG, ENC};
use super::super::parse::Part;

/// A reason why the provider would refuse a message.
///
/// Neither field contains content of the message. Of its header a text repeats the kid, and other values and names
/// only if they look like names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The name of the reason.
    pub code: FindingCode,
    /// A sentence: what is wrong, what is allowed, what to do.
    pub text: String,
}

impl Finding {
    pub(super) fn new(code: FindingCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    pub(super) fn length(part: Part, octets: usize) -> Self {
        let (code, allowed) = match part {
            Part::Header | Part::EncryptedKey => (
                FindingCode::EncryptedKeyLength,
                "it must be as long as the modulus of the provider's key, so 256 bytes for 2048 bits",
            ),
            Part::Iv => (FindingCode::IvLength, "CBC needs 16 bytes; 12 bytes are for GCM"),
            Part::Ciphertext => {
                (FindingCode::CiphertextLength, "CBC with PKCS #7 padding makes whole blocks of 16 bytes, at least one")
            }
            Part::Tag => {
                (FindingCode::TagLength, "A256CBC-HS512 has a tag of 32 bytes, the first half of HMAC-SHA-512")
            }
        };
        Self::new(code, format!("the {part} has {octets} bytes: {allowed}"))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

macro_rules! codes {
    ($($name:ident $code:literal $meaning:literal)*) => {
        /// The name of a [`Finding`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FindingCode { $(#[doc = $meaning] $name,)* }

        impl FindingCode {
            /// All codes, in the order in which a message is checked.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name for scripts.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What the finding means, in a few words.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

codes! {
    Empty "empty" "There is no message"
    Plaintext "plaintext" "The message is plain JSON"
    JsonSerialization "json_serialization" "The message is a JWE in the JSON serialization, not in the compact one"
    Quoted "quoted" "The message is inside quotation marks, as a JSON string is"
    Signed "signed" "The message has three parts, so it is signed and not encrypted"
    PartCount "part_count" "The message does not have five parts"
    NotBase64Url "not_base64url" "A part is not base64url: wrong alphabet, padding, a line break, or an impossible end"
    HeaderTooLong "header_too_long" "The protected header is longer than any library writes it"
    HeaderNotJson "header_not_json" "The protected header is not a JSON object, or has a member twice"
    Algorithm "alg" "`alg` is not `RSA-OAEP-256`"
    Encryption "enc" "`enc` is not `A256CBC-HS512`"
    Compressed "zip" "The content is compressed"
    Critical "crit" "The header demands extensions"
    ExtraMember "extra_member" "The header, which is not encrypted, has a member that the provider does not need"
    KidMissing "kid_missing" "The header does not say which key the message is for"
    KidMalformed "kid_malformed" "`kid` is not a text of a usable length"
    KidUnknown "kid_unknown" "The key set has no key with this `kid`"
    KidAmbiguous "kid_ambiguous" "The key set has several keys with this `kid`"
    KeyForSignatures "key_for_signatures" "The key of this `kid` is for signatures, not for encryption"
    KeyTooSmall "key_too_small" "The key of this `kid` has fewer than 2048 bits"
    KeyUnusable "key_unusable" "The key of this `kid` cannot be used for another reason"
    EncryptedKeyLength "encrypted_key_length" "The encrypted key does not have the length of the key's modulus"
    IvLength "iv_length" "The initialization vector does not have 16 bytes"
    CiphertextLength "ciphertext_length" "The ciphertext is empty or not padded to whole blocks of 16 bytes"
    TagLength "tag_length" "The authentication tag does not have 32 bytes"
    KidWrong "kid_wrong" "The message was sealed with another key than its `kid` names"
    EncryptedKeyWrong "encrypted_key_wrong" "The private key does not unwrap the encrypted key"
    CekLength "cek_length" "The unwrapped key does not have 64 bytes"
    TagWrong "tag_wrong" "The authentication tag does not belong to header, IV and ciphertext"
    PaddingWrong "padding_wrong" "The tag is right, but the content is not padded as PKCS #7 demands"
    ContentNotJson "content_not_json" "The opened content is not JSON"
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The sentence about a wrong `alg`.
pub(super) fn algorithm(value: &str) -> String {
    let hint = match value {
        "RSA-OAEP" => ", which uses SHA-1: choose RSA-OAEP-256",
        "RSA1_5" => ", which is the old padding and unsafe",
        "dir" | "A256KW" | "A128KW" | "A256GCMKW" => ", which needs a shared secret: use the provider's public key",
        _ if is_of_signatures(value) => ", which is for signatures",
        _ => "",
    };
    format!("`alg` is {value}{hint}; it must be {ALG}")
}

/// Whether `alg` is registered for signatures (RFC 7518 section 3.1, RFC 8037).
pub(super) fn is_of_signatures(alg: &str) -> bool {
    let families = ["HS", "RS", "PS", "ES"];
    let sizes = ["256", "384", "512"];
    alg == "EdDSA"
        || alg.split_at_checked(2).is_some_and(|(family, size)| families.contains(&family) && sizes.contains(&size))
}

/// The sentence about a wrong `enc`.
pub(super) fn encryption(value: &str) -> String {
    format!("`enc` is {value}; it must be {ENC}")
}
