//! Recognises a refusal that shows that the provider read the message.
//!
//! 400 is the everyday answer to a wrong request, and it is also our assumption for a message that the provider cannot
//! open. A reply that names a field of the message, or a record that the message asks for, proves that the provider
//! opened it. The gateway relays such a reply at once.
//!
//! The hard case is a provider that reports an unreadable message in the same format. Many frameworks then name the
//! field `body`. The default therefore does not accept `body` as the name of a field.
//!
//! A reply with a content coding is never recognised, because the gateway does not decode it.

use serde_json::Value;

/// The examined part of a reply. The documented error replies are shorter than one KiB.
pub(crate) const MAX_EXAMINED: usize = 16 * 1024;

/// A kind of reply that shows that the provider read the message. It consists of JSON members that the reply must
/// have, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrdinaryRefusal(pub Vec<MemberPattern>);

/// A JSON member with the values that it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPattern {
    /// The JSON Pointer of the member (RFC 6901).
    pub pointer: String,
    /// The values that it may have.
    pub value: ValuePattern,
}

/// The values that a member may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValuePattern {
    /// This text.
    Text(String),
    /// Any text that is not empty and not one of these.
    Except(Vec<String>),
}

/// The documented errors of Flanks.
pub(crate) fn flanks() -> Vec<OrdinaryRefusal> {
    let text = |pointer: &str, text: &str| MemberPattern {
        pointer: pointer.to_owned(),
        value: ValuePattern::Text(text.to_owned()),
    };
    let names_field = MemberPattern {
        pointer: "/error/details/0/field".to_owned(),
        value: ValuePattern::Except(vec!["body".to_owned()]),
    };
    vec![
        OrdinaryRefusal(vec![text("/error/code", "VALIDATION_ERROR"), names_field]),
        OrdinaryRefusal(vec![text("/error", "You are not allowed to access to this credentials")]),
        OrdinaryRefusal(vec![text("/error/message", "LetterNotFound")]),
    ]
}

/// Whether `reply` is one of `known`. Text that is not JSON, or is cut off, is none of them.
pub(crate) fn is_ordinary(reply: &[u8], known: &[OrdinaryRefusal]) -> bool {
    match serde_json::from_slice::<Value>(reply) {
        Ok(reply) => known.iter().any(|refusal| refusal.0.iter().all(|member| member.matches(&reply))),
        Err(_) => false,
    }
}

impl MemberPattern {
    fn matches(&self, reply: &Value) -> bool {
        let Some(Value::String(found)) = reply.pointer(&self.pointer) else { return false };
        match &self.value {
            ValuePattern::Text(text) => found == text,
            ValuePattern::Except(texts) => !found.is_empty() && !texts.contains(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_flanks(reply: &str) -> bool {
        is_ordinary(reply.as_bytes(), &flanks())
    }

    #[test]
    fn the_documented_errors_show_that_the_provider_read_the_message() {
        assert!(is_flanks(
            r#"{"success":false,"error":{"code":"VALIDATION_ERROR","details":[{"field":"query","error_type":"RequiredField"}]}}"#
        ));
        assert!(is_flanks(r#"{"error":"You are not allowed to access to this credentials"}"#));
        assert!(is_flanks(r#"{"success":false,"error":{"code":"NOT_FOUND","message":"LetterNotFound"}}"#));
    }

    #[test]
    fn other_replies_do_not_show_it() {
        for reply in [
            "",
            "{}",
            "[]",
            "null",
            "not JSON",
            r#"{"error":"Internal Error"}"#,
            r#"{"error":{"code":"VALIDATION_ERROR"}}"#,
            r#"{"error":{"code":"VALIDATION_ERROR","details":[]}}"#,
            r#"{"error":{"code":"VALIDATION_ERROR","details":[{"field":""}]}}"#,
            r#"{"error":{"code":"VALIDATION_ERROR","details":[{"field":7}]}}"#,
            r#"{"error":{"code":"VALIDATION_ERROR","details":[{"field":"body","error_type":"Undecryptable"}]}}"#,
            r#"{"error":{"code":"validation_error","details":[{"field":"query"}]}}"#,
            r#"{"error":"You are not allowed to access to this credentials""#,
        ] {
            assert!(!is_flanks(reply), "{reply}");
        }
    }
}
