//! One function per fuzz target in `fuzz/`.
//!
//! Each function takes any bytes and runs the gateway's own code on them. It then checks a property of what that code
//! accepted, and panics if the property does not hold. Where possible the check is written a second time here, in
//! another way than in the code under test.
//!
//! The module exists in tests and under `cfg(fuzzing)`, which cargo-fuzz sets. It is part of the crate because most of
//! the code under test is private. A test below replays the seed corpus of each target, so that every run of
//! `cargo test` covers the known edge cases.

mod connection;
mod oracle;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use http::header::{AGE, CACHE_CONTROL};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use percent_encoding::percent_decode;
use serde_json::{Value, json};

use crate::credentials::response::{self, MAX_LIFETIME, MAX_TOKEN_BYTES, MIN_LIFETIME};
use crate::gateway::callers::Rule;
use crate::gateway::request::target;
use crate::gateway::request::trace_context::{TRACEPARENT, TraceContext};
use crate::jose::{
    self, CallerMade, Compact, EncryptionKey, MAX_DEPTH, MAX_KID_BYTES, MAX_MODULUS_BITS, MIN_MODULUS_BITS, NotJson,
    Plaintext,
};
use crate::keys::freshness::stated_lifetime;
use crate::keys::set::{KeySet, MAX_ENTRIES};
use crate::keys::{Config, Source};

pub use connection::connection;

/// A compact JWE: an accepted message is sent byte for byte, and each of its parts has one reading.
pub fn compact_jwe(data: &[u8]) {
    let parsed = CallerMade::parse(Bytes::copy_from_slice(data));
    #[cfg(feature = "sandbox")]
    assert_readers_agree(data, &parsed);
    let Ok(message) = parsed else { return };
    let kid = message.kid().map(str::to_owned);
    assert!(data.chunks(7).all(|piece| CallerMade::check_piece(piece).is_ok()));

    let parts: Vec<Vec<u8>> = data
        .split(|byte| *byte == b'.')
        .map(|part| {
            let octets = BASE64URL.decode(part).unwrap_or_else(|_| panic!("a part is not base64url"));
            assert_eq!(BASE64URL.encode(&octets).as_bytes(), part, "a part has two spellings");
            octets
        })
        .collect();
    let [header, encrypted_key, iv, ciphertext, tag] = &parts[..] else { panic!("{} parts", parts.len()) };
    assert!((MIN_MODULUS_BITS / 8..=MAX_MODULUS_BITS / 8).contains(&encrypted_key.len()));
    assert_eq!((iv.len(), ciphertext.len() % 16, tag.len()), (16, 0, 32));
    assert!(!ciphertext.is_empty());

    let members: Value = serde_json::from_slice(header).unwrap_or_else(|_| panic!("the header is not JSON"));
    assert_eq!((&members["alg"], &members["enc"]), (&json!("RSA-OAEP-256"), &json!("A256CBC-HS512")));
    assert!(members.get("zip").is_none() && members.get("crit").is_none());
    assert_eq!(members.get("kid"), kid.clone().map(Value::from).as_ref());
    assert!(kid.is_none_or(|kid| (1..=MAX_KID_BYTES).contains(&kid.len())));

    let compact = Compact::from(message);
    assert_eq!(compact.len(), data.len() as u64);
    assert_eq!(compact.header().as_bytes(), &header[..]);
    assert_eq!(compact.into_bytes().ok().as_deref(), Some(data));
}

/// The reader of the sandbox accepts what the gateway accepts, and refuses the rest for the same reason.
#[cfg(feature = "sandbox")]
fn assert_readers_agree(data: &[u8], parsed: &Result<CallerMade, jose::MalformedJose>) {
    let expected = match parsed {
        Ok(message) => jose::OpenError::UnknownKey(message.kid().map(str::to_owned)),
        Err(fault) => jose::OpenError::Malformed(fault.clone()),
    };
    assert_eq!(jose::open(data, &[]).err(), Some(expected));
}

/// A JWK: an accepted key obeys the policy, and messages sealed with it are well-formed. A reason for a refusal does
/// not repeat what the JWK contains.
pub fn jwk(data: &[u8]) {
    let Ok(jwk) = serde_json::from_slice::<Value>(data) else { return };
    let key = match EncryptionKey::from_jwk(&jwk) {
        Ok(key) => key,
        Err(reason) => {
            let text = format!("{reason} {reason:?}");
            // No reason has a word of 24 characters.
            let values = jwk.as_object().into_iter().flat_map(|members| members.values().filter_map(Value::as_str));
            let mut words = values.filter(|value| value.len() >= 24 && !value.contains(' '));
            return assert!(!words.any(|word| text.contains(word)), "{text}");
        }
    };
    assert_policy(&jwk, &key);

    let renamed = json!({ "kty": "RSA", "n": number(&jwk, "n"), "e": number(&jwk, "e") });
    let thumbprint = EncryptionKey::from_jwk(&renamed).map(|key| key.thumbprint().to_owned());
    assert_eq!(thumbprint.as_deref(), Ok(key.thumbprint()), "the thumbprint depends on other members or on zeros");

    let body = Plaintext::json(Bytes::from_static(b"{}")).ok();
    let sealed = body.and_then(|body| jose::seal(&body, &key).ok()).and_then(|compact| compact.into_bytes().ok());
    let sealed = sealed.unwrap_or_else(|| panic!("an accepted key does not seal"));
    assert_eq!(CallerMade::parse(sealed.into()).map(|message| message.kid().map(str::to_owned)), Ok(kid_of(&jwk)));
}

/// The JSON check: it agrees with serde_json, except for texts that are JSON but have no `Value`. An accepted body keeps
/// its bytes.
pub fn json_check(data: &[u8]) {
    let judged = Plaintext::json(Bytes::copy_from_slice(data));
    let value = serde_json::from_slice::<Value>(data).map_err(|error| error.to_string());
    match judged {
        Ok(plaintext) => {
            assert_eq!(plaintext.in_clear(), data);
            assert!(depth(data) <= MAX_DEPTH);
            let has_no_value = |error: &String| {
                ["number out of range", "surrogate", "hex escape", "recursion limit"]
                    .iter()
                    .any(|only_ours| error.contains(only_ours))
            };
            assert!(value.as_ref().err().is_none_or(has_no_value), "{value:?}");
        }
        Err(NotJson::TooDeep) => assert!(depth(data) > MAX_DEPTH),
        Err(fault) => assert!(value.is_err(), "{fault}"),
    }
}

/// The request target: an accepted path has no dot segment, no empty segment, no backslash and no control byte, as it
/// is and decoded.
pub fn request_target(data: &[u8]) {
    let Ok(uri) = Uri::try_from(data) else { return };
    let is_accepted = |version| target::check(&uri, version).is_ok();
    if is_accepted(Version::HTTP_11) {
        assert!(uri.scheme().is_none() && uri.authority().is_none());
        assert!(is_accepted(Version::HTTP_2), "HTTP/2 refuses a target of HTTP/1.1");
    }
    if !is_accepted(Version::HTTP_2) {
        return;
    }
    assert!(uri.scheme().is_none_or(|scheme| *scheme == Scheme::HTTPS));
    let path = uri.path();
    assert!(target::may_equal(path, path));
    let decoded: Vec<u8> = percent_decode(path.as_bytes()).collect();
    assert!(str::from_utf8(&decoded).is_ok());
    for reading in [path.as_bytes(), &decoded] {
        assert!(!reading.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\'));
        let segments: Vec<&[u8]> = reading.split(|byte| *byte == b'/').collect();
        let (Some((first, others)), Some(last)) = (segments.split_first(), segments.last()) else { return };
        assert!(first.is_empty() && !others.is_empty(), "the path is not absolute");
        for segment in others {
            let name: Vec<u8> = segment.iter().copied().take_while(|byte| *byte != b';').collect();
            assert!(name != b"." && name != b"..", "a dot segment is forwarded");
            assert!(!name.is_empty() || segment.is_empty() && segment == last, "an empty segment is forwarded");
        }
    }
}

/// A caller rule in the first line, a path in the second: an accepted rule is displayed as it was written. `*` matches
/// exactly one segment.
pub fn caller_rule(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (text, path) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(rule) = text.parse::<Rule>() else { return };
    assert_eq!(rule.to_string(), text);
    assert_eq!(text.parse().as_ref(), Ok(&rule));

    let Some((method, pattern)) = text.split_once(' ') else { panic!("a rule of one word") };
    let method = if method == "*" { Method::GET } else { method.parse().unwrap_or_else(|_| panic!("{method}")) };
    let below = pattern.strip_suffix("**");
    let example = |name: &str| match below {
        Some(below) => format!("{}{name}/{name}", below.replace('*', name)),
        None => pattern.replace('*', name),
    };
    assert!(rule.matches(&method, &example("x")), "the rule does not match its own pattern");
    let has_star = below.unwrap_or(pattern).contains('*');
    assert!(!has_star || !rule.matches(&method, &example("x%2Fy")), "* matches two segments");

    if rule.matches(&method, path) {
        let slashes = |text: &[u8]| text.iter().filter(|byte| **byte == b'/').count();
        let decoded: Vec<u8> = percent_decode(path.as_bytes()).collect();
        let (allowed, given) = (slashes(pattern.as_bytes()), slashes(&decoded));
        assert!(given == allowed || below.is_some() && given > allowed, "{path} has other segments than {pattern}");
    }
}

/// A JWK Set: each usable key obeys the policy, is found again, and shares its `kid` with no other usable key.
pub fn jwk_set(data: &[u8]) {
    let Ok(set) = KeySet::parse(data) else { return };
    let keys: Vec<_> = set.usable().collect();
    assert!((1..=MAX_ENTRIES).contains(&keys.len()));
    for (index, key) in keys.iter().enumerate() {
        assert!(set.publishes(key));
        let jwk = set.jwk(key).unwrap_or_else(|| panic!("a usable key has no JWK"));
        assert_policy(jwk, key);
        assert!(keys[..index].iter().all(|other| other.kid().is_none() || other.kid() != key.kid()));
    }
}

/// `Age` in the first line, lines of `Cache-Control` below it: the lifetime stays within its limits. A greater age, a
/// further `max-age` or a `no-store` never makes it longer.
pub fn cache_control(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n').map(HeaderValue::from_bytes);
    let age = lines.next().and_then(Result::ok);
    let mut headers: HeaderMap = lines.filter_map(Result::ok).map(|line| (CACHE_CONTROL, line)).collect();
    let config = Config::new(Source::File("keys.json".into()));
    let lifetime = |headers: &HeaderMap| {
        let lifetime = stated_lifetime(headers, &config);
        assert!(lifetime.is_none_or(|lifetime| (config.min_lifetime..=config.max_lifetime).contains(&lifetime)));
        lifetime
    };
    let without_age = lifetime(&headers);
    if let Some(age) = age {
        headers.insert(AGE, age);
    }
    let stated = lifetime(&headers);
    assert_eq!(stated.is_some(), without_age.is_some());
    assert!(stated <= without_age);

    headers.append(CACHE_CONTROL, HeaderValue::from_static("max-age=600"));
    let with_max_age = lifetime(&headers);
    assert!(with_max_age.is_some() && stated.is_none_or(|stated| with_max_age <= Some(stated)));
    headers.append(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    assert_eq!(lifetime(&headers), Some(config.min_lifetime));
}

/// A `traceparent` field: an accepted trace id is the digits in its place, and the field that the gateway sends is
/// accepted by the next one.
pub fn traceparent(data: &[u8]) {
    let found = |value: &[u8]| {
        let value = HeaderValue::from_bytes(value).ok()?;
        TraceContext::of(&HeaderMap::from_iter([(TRACEPARENT, value)]), None)
    };
    if let Some(trace) = found(data) {
        let (id, parent) = (trace.trace_id.to_string(), trace.parent.map(|span| span.to_string()));
        assert!(id.bytes().any(|byte| byte != b'0') && !data.starts_with(b"ff"));
        assert_eq!(data.get(2..36), Some(format!("-{id}-").as_bytes()));
        assert_eq!(data.get(36..52), parent.as_deref().map(str::as_bytes));
        assert!(data.len() == 55 || (data.len() > 55 && data[55] == b'-' && !data.starts_with(b"00")));
        let sent = trace.header(trace.span).and_then(|sent| found(sent.as_bytes()));
        assert_eq!(sent.map(|sent| (sent.trace_id, sent.parent)), Some((trace.trace_id, Some(trace.span))));
    }
    // A valid field is always accepted, with any id that has a digit other than 0.
    let digits: String = data.iter().take(15).map(|byte| format!("{byte:02x}")).collect();
    let id = format!("{digits:0<31}1");
    let trace = found(format!("00-{id}-00f067aa0ba902b7-01").as_bytes());
    assert_eq!(trace.map(|trace| trace.trace_id.to_string()), Some(id));
}

/// A token response: an accepted token can be a header value, and its lifetime is within the limits. A reply that
/// repeats what was read is read in the same way.
pub fn token_response(data: &[u8]) {
    let Ok(granted) = response::parse(data) else { return };
    let token = granted.token.expose();
    assert!((1..=MAX_TOKEN_BYTES).contains(&token.len()));
    assert!(token.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(HeaderValue::try_from(format!("Bearer {token}")).is_ok());
    assert!((MIN_LIFETIME..=MAX_LIFETIME).contains(&granted.lifetime));
    assert!(!format!("{:?}", granted.token).contains(token) || token.len() < 16, "the token is shown");

    let repeated =
        json!({ "access_token": token, "expires_in": granted.lifetime.as_secs_f64(), "scope": granted.scope })
            .to_string();
    assert_eq!(response::parse(repeated.as_bytes()).as_ref(), Ok(&granted));
}

/// The rules for a key, read from its JWK a second time.
fn assert_policy(jwk: &Value, key: &EncryptionKey) {
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth"] {
        assert!(jwk.get(private).is_none(), "the key is private: {private}");
    }
    assert_eq!(jwk["kty"], "RSA");
    assert!(jwk.get("use").is_none_or(|value| value == "enc"));
    assert!(jwk.get("alg").is_none_or(|value| value == "RSA-OAEP-256"));
    let allows = |operation: &Value| operation == "encrypt" || operation == "wrapKey";
    assert!(jwk.get("key_ops").is_none_or(|value| value.as_array().is_some_and(|list| list.iter().any(allows))));

    let octets = |member| BASE64URL.decode(number(jwk, member)).unwrap_or_default();
    let (n, e) = (octets("n"), octets("e"));
    let bits = |octets: &[u8]| octets.len() * 8 - octets.first().map_or(0, |first| first.leading_zeros() as usize);
    let is_odd = |octets: &[u8]| octets.last().is_some_and(|last| last % 2 == 1);
    assert!(is_odd(&n) && (MIN_MODULUS_BITS..=MAX_MODULUS_BITS).contains(&bits(&n)));
    assert!(is_odd(&e) && (2..=33).contains(&bits(&e)));
    assert_eq!(key.bits() as usize, bits(&n));

    assert_eq!(key.kid().map(str::to_owned), kid_of(jwk));
    assert!(key.kid().is_none_or(|kid| (1..=MAX_KID_BYTES).contains(&kid.len()) && !kid.contains(char::is_control)));
    assert_eq!(key.thumbprint().len(), 43);
}

fn kid_of(jwk: &Value) -> Option<String> {
    jwk.get("kid").and_then(Value::as_str).map(str::to_owned)
}

/// A number of a JWK without leading zero octets.
fn number(jwk: &Value, member: &str) -> String {
    let octets = jwk[member].as_str().and_then(|text| BASE64URL.decode(text).ok()).unwrap_or_default();
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    BASE64URL.encode(&octets[zeros..])
}

/// The greatest depth of brackets outside of strings, one byte at a time.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut greatest) = (0_usize, 0);
    let (mut in_string, mut is_escaped) = (false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        greatest = greatest.max(depth);
    }
    greatest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::{Path, PathBuf};

    use super::*;

    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 10] = [
        ("compact_jwe", compact_jwe),
        ("jwk", jwk),
        ("json_check", json_check),
        ("request_target", request_target),
        ("caller_rule", caller_rule),
        ("jwk_set", jwk_set),
        ("cache_control", cache_control),
        ("traceparent", traceparent),
        ("token_response", token_response),
        ("connection", connection),
    ];

    fn names_in(folder: &str) -> BTreeSet<String> {
        let folder = fuzz().join(folder);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn fuzz() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
    }

    #[test]
    fn every_property_holds_for_the_seed_corpus() {
        let mut broken = Vec::new();
        for (target, run) in TARGETS {
            let files = names_in(&format!("corpus/{target}"));
            assert!(!files.is_empty(), "{target} has no seed corpus");
            for file in files {
                let data = fs::read(fuzz().join("corpus").join(target).join(&file)).unwrap();
                if catch_unwind(|| run(&data)).is_err() {
                    broken.push(format!("fuzz/corpus/{target}/{file}"));
                }
            }
        }
        assert!(broken.is_empty(), "a property does not hold for {broken:?}");
    }

    #[test]
    fn every_target_has_a_corpus_a_program_and_a_manifest_entry() {
        let targets: BTreeSet<String> = TARGETS.iter().map(|(target, _)| (*target).to_owned()).collect();
        assert_eq!(names_in("corpus"), targets);
        let programs: BTreeSet<String> = targets.iter().map(|target| format!("{target}.rs")).collect();
        assert_eq!(names_in("fuzz_targets"), programs);
        let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
        for target in targets {
            let program = fs::read_to_string(fuzz().join(format!("fuzz_targets/{target}.rs"))).unwrap();
            assert!(program.contains(&format!("fuzzing::{target}(data)")), "{program}");
            assert!(
                manifest.contains(&format!("name = \"{target}\"\npath = \"fuzz_targets/{target}.rs\"")),
                "{target}"
            );
        }
    }
}
