//! The checks, one function each. They read the bytes as they arrived.

use std::collections::HashMap;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use url::form_urlencoded;

use super::{Check, Findings, Message, protected_header};
use crate::jose::OpenError;
use crate::sandbox::received::{Received, Standing};

/// The members of the protected header, as the provider documents them. The fourth is `kid`.
const HEADER: [(&str, &str); 3] = [("alg", "RSA-OAEP-256"), ("enc", "A256CBC-HS512"), ("typ", "JWE")];

/// Shorter texts of a body may occur elsewhere in a request by chance.
const MIN_SECRET: usize = 8;

/// Headers that an HTTP library fills in itself. A text such as `application/pdf` occurs there by chance.
const UNRELATED_HEADERS: [HeaderName; 8] =
    [ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT];

/// The most texts of one body that are searched for. The searches of a verdict must end.
const MAX_SECRETS: usize = 256;

/// Calls with their messages.
pub(super) type Messages<'a> = [(&'a Received, Message<'a>)];

pub(super) fn sealed(bodies: &[&Received]) -> Check {
    let mut findings = Findings::new("sealed");
    for call in bodies.iter().filter(|call| Message::of(&call.wire).is_none()) {
        let what = match (call.wire.first(), call.wire.split(|byte| *byte == b'.').count()) {
            (Some(b'{' | b'['), _) if protected_member(&call.wire) => {
                "the body is a JWE in JSON form; serialize it in compact form, five parts with dots between them"
            }
            (Some(b'{' | b'['), _) => "the body is plain JSON; seal it as a compact JWE",
            _ if Message::is_wrapped(&call.wire) => {
                "the body has white space or quotation marks around a compact JWE; send its five parts and nothing else"
            }
            (_, 3) => "the body has three parts, like a signature (JWS); seal it as a JWE, which has five",
            _ => "the body is not a compact JWE, which has five base64url parts with dots between them",
        };
        findings.add(call, what);
    }
    findings.end(format!("all {} bodies are compact JWEs", bodies.len()))
}

/// Whether a body is a JWE in a JSON serialization (RFC 7516 section 7.2).
fn protected_member(wire: &[u8]) -> bool {
    let body = serde_json::from_slice::<Value>(wire);
    body.is_ok_and(|body| body.get("protected").is_some() && body.get("ciphertext").is_some())
}

pub(super) fn content_type(messages: &Messages<'_>) -> Check {
    let mut findings = Findings::new("content_type");
    for (call, _) in messages {
        let values: Vec<_> = call.headers.get_all(CONTENT_TYPE).iter().map(text).collect();
        match values.as_slice() {
            [value]
                if value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/jose")) => {
            }
            [] => findings.add(call, "a sealed body without Content-Type; send application/jose"),
            [value] => findings.add(call, format!("a sealed body with Content-Type {value}; send application/jose")),
            _ => findings.add(call, "more than one Content-Type; send application/jose once"),
        }
    }
    findings.end("every sealed body has the Content-Type application/jose")
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

pub(super) fn header(messages: &Messages<'_>) -> Check {
    let mut findings = Findings::new("header");
    for (call, _) in messages {
        if let Some(what) = wrong_header(&call.wire) {
            findings.add(call, what);
        }
    }
    findings.end("every protected header has exactly alg, enc, typ and kid, with the documented values")
}

fn wrong_header(wire: &[u8]) -> Option<String> {
    let Some(Value::Object(header)) = protected_header(wire) else {
        return Some("the protected header is not base64url of a JSON object".to_owned());
    };
    for (name, expected) in HEADER {
        match header.get(name) {
            Some(value) if value == expected => {}
            Some(value) => {
                return Some(format!("{name} is {value} in the protected header; it must be \"{expected}\""));
            }
            None => return Some(format!("{name} is missing in the protected header; it must be \"{expected}\"")),
        }
    }
    if !header.get("kid").is_some_and(Value::is_string) {
        return Some("kid is missing in the protected header; it must be the kid of a published key".to_owned());
    }
    let extra = header.keys().find(|name| *name != "kid" && HEADER.iter().all(|(known, _)| known != name))?;
    Some(format!("the protected header has the member {extra}; remove it"))
}

pub(super) fn current_key(messages: &Messages<'_>) -> Check {
    let mut findings = Findings::new("current_key");
    let mut ended = 0;
    for (call, _) in messages {
        let key = call.standing.map(|standing| standing.key);
        match key {
            Some(Standing::Unknown) => {
                findings.add(call, "no key of this sandbox has this kid; take the key from its key set, in each run")
            }
            Some(Standing::EndedAndRefused) => findings.add(
                call,
                "the key was withdrawn, and the sandbox had refused it before with 400; fetch the key set after such a \
                 refusal and use its first key",
            ),
            Some(Standing::Ended) => ended += 1,
            _ => {}
        }
    }
    let surprises = if ended == 0 {
        String::new()
    } else {
        format!(", except {ended} sealed before the client could know that the key was withdrawn")
    };
    findings.end(format!("every message was sealed with a key that was published at that time{surprises}"))
}

pub(super) fn readable(messages: &Messages<'_>) -> Check {
    let mut findings = Findings::new("readable");
    for (call, _) in messages {
        match &call.unopened {
            None | Some(OpenError::UnknownKey(_)) => {}
            Some(OpenError::Undecryptable) => findings.add(
                call,
                "the message could not be opened: it was sealed with another key than the one of its kid, \
                 with another padding than OAEP with SHA-256, or changed on its way",
            ),
            Some(error) => findings.add(call, error.to_string()),
        }
    }
    findings.end("every message for a published key could be opened")
}

/// After a refused key, a later message must have been opened.
pub(super) fn recovered(messages: &Messages<'_>) -> Check {
    let mut findings = Findings::new("recovered");
    let last_opened = messages.iter().rposition(|(call, _)| call.opened.is_some());
    let mut refused = 0;
    for (index, (call, _)) in messages.iter().enumerate() {
        if matches!(call.unopened, Some(OpenError::UnknownKey(_))) {
            refused += 1;
            if last_opened.is_none_or(|last| last < index) {
                findings.add(
                    call,
                    "the sandbox refused the key with 400, and has opened no later message; \
                     fetch the key set, seal again and send again",
                );
            }
        }
    }
    findings.end(match refused {
        0 => "no message was refused for its key; rotate the key to prove that the client recovers".to_owned(),
        refused => format!("the client recovered from all {refused} messages that were refused for their key"),
    })
}

pub(super) fn token(judged: &[&Received]) -> Check {
    let mut findings = Findings::new("token");
    let mut ended = 0;
    for call in judged {
        match call.standing.map(|standing| standing.token) {
            Some(Standing::Missing) => {
                findings.add(call, "no Authorization: Bearer header; send the access_token of the token endpoint")
            }
            Some(Standing::Unknown) => findings.add(call, "this sandbox has not issued the token"),
            Some(Standing::EndedAndRefused) => findings.add(
                call,
                "the token was expired or revoked, and the sandbox had refused it before; request a new one after a 401",
            ),
            Some(Standing::Ended) => ended += 1,
            _ => {}
        }
    }
    let surprises = match ended {
        0 => String::new(),
        ended => format!(", except {ended} with a token that had just expired or been revoked"),
    };
    findings.end(format!("all {} requests had a valid token{surprises}", judged.len()))
}

pub(super) fn unique(messages: &Messages<'_>) -> Check {
    let mut findings = Findings::new("unique");
    let mut seen: [HashMap<&str, u64>; 3] = Default::default();
    for (call, message) in messages {
        let [_, encrypted_key, iv, ciphertext, _] = message.parts;
        let reused = [(ciphertext, "ciphertext"), (encrypted_key, "encrypted key"), (iv, "IV")]
            .into_iter()
            .zip(&mut seen)
            .filter(|((part, _), _)| !part.is_empty())
            .filter_map(|((part, name), seen)| Some((name, seen.insert(part, call.number)?)))
            .collect::<Vec<_>>();
        match reused.as_slice() {
            [] => {}
            [_, _, _] => findings.add(
                call,
                format!("the same message as request {}; seal anew for each attempt, also for a retry", reused[0].1),
            ),
            [(name, number), ..] => findings
                .add(call, format!("the same {name} as request {number}; make a new key and IV for each message")),
        }
    }
    findings.end("no message, encrypted key or IV occurred twice")
}

/// No text of a sealed body may be readable elsewhere in its request.
pub(super) fn no_plaintext(bodies: &[&Received]) -> Check {
    let mut findings = Findings::new("no_plaintext");
    for call in bodies {
        if Message::of(&call.wire).is_none() {
            if !Message::is_wrapped(&call.wire) {
                findings.add(call, "the body is readable on its whole way");
            }
            continue;
        }
        let body = serde_json::from_slice::<Value>(&call.plaintext).unwrap_or_default();
        let mut secrets = Vec::new();
        collect_texts(&body, &mut secrets);
        if is_in_url(&secrets, &call.target) {
            findings.add(call, "a text of the sealed body is also in the URL, which every system on the way can read");
        } else if is_in_header(&secrets, &call.headers) {
            findings.add(call, "a text of the sealed body is also in a header, which every system on the way can read");
        }
    }
    findings.end("nothing of a sealed body was readable on its way")
}

/// Whether a parameter of the query contains one of `secrets`, or a segment of the path is one.
fn is_in_url(secrets: &[&str], target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let is_segment = |segment| {
        let segment = percent_encoding::percent_decode_str(segment).decode_utf8_lossy();
        secrets.iter().any(|secret| *secret == segment)
    };
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    path.split('/').any(is_segment) || parameters.any(|(_, value)| secrets.iter().any(|secret| value.contains(secret)))
}

fn is_in_header(secrets: &[&str], headers: &HeaderMap) -> bool {
    headers
        .iter()
        .filter(|(name, _)| !UNRELATED_HEADERS.contains(name))
        .map(|(_, value)| text(value))
        .any(|value| secrets.iter().any(|secret| value.contains(secret)))
}

/// Collects the texts in `value` that are long enough to be found by no accident.
fn collect_texts<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(text) if text.len() >= MIN_SECRET && texts.len() < MAX_SECRETS => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(members) => members.values().for_each(|member| collect_texts(member, texts)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn the_protected_header_must_be_the_documented_one() {
        let wrong = |header: &str| wrong_header(format!("{}.....", BASE64_URL_SAFE_NO_PAD.encode(header)).as_bytes());
        let good = r#"{"alg":"RSA-OAEP-256","enc":"A256CBC-HS512","typ":"JWE","kid":"k"}"#;
        assert_eq!(wrong(good), None);
        for (from, to, detail) in [
            ("RSA-OAEP-256", "RSA-OAEP", "alg is \"RSA-OAEP\""),
            ("A256CBC-HS512", "A256GCM", "it must be \"A256CBC-HS512\""),
            (r#""typ":"JWE","#, "", "typ is missing"),
            (r#","kid":"k""#, "", "kid is missing"),
            ("{", r#"{"zip":"DEF","#, "member zip"),
            ("{", "[", "JSON object"),
        ] {
            let what = wrong(&good.replacen(from, to, 1)).unwrap();
            assert!(what.contains(detail), "{what}");
        }
        assert!(wrong_header(b"a b.c").is_some());
    }
}
