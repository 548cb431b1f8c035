//! A strict reader of what the gateway sends, and the rules for it.
//!
//! It shares no code with the gateway and uses no crate: a mistake that both sides make would stay unseen. It is
//! stricter than HTTP. It accepts what this gateway has a reason to send, and nothing else.
//!
//! A refusal is a sentence. The tests compare it, so that each rule has an example that it refuses.

/// The methods that are forwarded.
const METHODS: [&[u8]; 6] = [b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"];

/// The fields that the gateway makes itself. Each is sent once at most, under exactly this name.
const OWN: [&str; 6] = ["authorization", "content-length", "content-type", "host", "via", "x-request-id"];

/// The caller's fields that are not forwarded. A name with underscores counts as the same name with hyphens.
const REMOVED: [&str; 34] = [
    "authorization",
    "client-ip",
    "connection",
    "cookie",
    "digest",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "repr-digest",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "x-client-ip",
    "x-forwarded",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-request-id",
    "x-rewrite-url",
    "x-host",
];

/// The same for all names with these prefixes.
const REMOVED_FAMILIES: [&str; 2] = ["content-", "x-forwarded-"];

pub(super) type Refused = &'static str;

/// A field: its name in lower case, and its value.
type Field<'a> = (String, &'a [u8]);

#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    fields: Vec<Field<'a>>,
    pub(super) body: &'a [u8],
}

/// What every request to the provider must have.
pub(super) struct Expected<'a> {
    pub(super) host: &'a str,
    pub(super) authorization: &'a str,
    /// The protected header of a message that the gateway has sealed. None if the caller may have sealed it.
    pub(super) header: Option<&'a str>,
    /// Text that no part of a request has, also not in base64url.
    pub(super) secret: Option<&'a str>,
}

impl Expected<'_> {
    fn reveals(&self, text: &[u8]) -> bool {
        self.secret.is_some_and(|secret| split_once(text, secret.as_bytes()).is_some())
    }
}

/// The request at the start of `octets`, and the octets behind it. None if the request is incomplete.
pub(super) fn request(octets: &[u8]) -> Result<Option<(Request<'_>, &[u8])>, Refused> {
    let Some((head, rest)) = split_once(octets, b"\r\n\r\n") else { return Ok(None) };
    let (line, fields) = split_once(head, b"\r\n").unwrap_or((head, b""));
    let parts: Vec<&[u8]> = line.split(|octet| *octet == b' ').collect();
    let [method, target, b"HTTP/1.1"] = parts[..] else { return Err("the request line has another form") };
    if !METHODS.contains(&method) {
        return Err("the method is not forwarded");
    }
    check_target(target)?;
    let fields = read_fields(fields)?;
    let Some((body, rest)) = rest.split_at_checked(length(&fields)?.unwrap_or(0)) else { return Ok(None) };
    Ok(Some((Request { method, target, fields, body }, rest)))
}

impl Request<'_> {
    /// Checks the fields and the body. Returns the length of the ciphertext, or 0 if there is no body.
    pub(super) fn check(&self, expected: &Expected<'_>) -> Result<usize, Refused> {
        for (name, _) in &self.fields {
            let name = name.as_str();
            let same_name = self.fields.iter().filter(|(other, _)| other == name).count();
            let hyphenated = name.replace('_', "-");
            let hyphenated = hyphenated.trim_matches('-');
            let is_removed =
                REMOVED.contains(&hyphenated) || REMOVED_FAMILIES.iter().any(|family| hyphenated.starts_with(family));
            if OWN.contains(&name) {
                if same_name > 1 {
                    return Err("a field of the gateway is repeated");
                }
            } else if is_removed {
                return Err("a field is not removed");
            }
        }
        if self.value("host") != Some(expected.host.as_bytes()) {
            return Err("the host is not the configured one");
        }
        if self.value("authorization") != Some(expected.authorization.as_bytes()) {
            return Err("the credential is not the configured one");
        }
        let via = self.value("via").unwrap_or_default();
        if !via.split(|octet| *octet == b',').all(|member| member.trim_ascii_start().starts_with(b"1.1 jwe-gateway")) {
            return Err("via names another proxy, or none");
        }
        if self.value("x-request-id").is_none_or(<[u8]>::is_empty) {
            return Err("there is no request id");
        }
        let in_clear = self.fields.iter().map(|(_, value)| *value).chain([self.target, self.body]);
        for text in in_clear.chain(self.fields.iter().map(|(name, _)| name.as_bytes())) {
            if expected.reveals(text) {
                return Err("the request has a secret of the caller");
            }
        }
        if self.body.is_empty() {
            return Ok(0);
        }
        if self.value("content-type") != Some(b"application/jose") {
            return Err("a body is not declared as a JWE");
        }
        check_message(self.body, expected)
    }

    fn value(&self, name: &str) -> Option<&[u8]> {
        value(&self.fields, name)
    }
}

/// How many requests of a caller's `octets` may be forwarded, as the framing of the first one allows (RFC 9112 section
/// 6.3). None if it sets no limit. A head with line feeds alone is not judged.
pub(super) fn most_requests(octets: &[u8]) -> Option<usize> {
    let (head, _) = split_once(octets, b"\r\n\r\n")?;
    if head.split(|octet| *octet == b'\n').rev().skip(1).any(|line| !line.ends_with(b"\r")) {
        return None;
    }
    let mut lines = head.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii);
    let is_old = lines.next()?.ends_with(b"HTTP/1.0");
    let fields: Vec<_> = lines.filter_map(|line| split_once(line, b":")).collect();
    let values = |name: &[u8]| -> Vec<&[u8]> {
        let same_name = fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        same_name.map(|(_, value)| value.trim_ascii()).collect()
    };
    let (codings, lengths) = (values(b"transfer-encoding"), values(b"content-length"));
    let is_length = |value: &&[u8]| !value.is_empty() && value.iter().all(u8::is_ascii_digit) && *value == lengths[0];
    match &codings[..] {
        [] if lengths.iter().all(is_length) => None,
        // The coding decides. The octets behind the body must not be read as a request.
        [coding] if coding.eq_ignore_ascii_case(b"chunked") && !is_old => (!lengths.is_empty()).then_some(1),
        _ => Some(0),
    }
}

/// The final responses in `octets`, from the first octet to the last. For each one, whether it closes the connection.
/// `to_head`: a response may be to HEAD, and then has no body.
pub(super) fn responses(mut octets: &[u8], to_head: bool) -> Result<Vec<bool>, Refused> {
    let mut responses = Vec::new();
    while !octets.is_empty() {
        let (head, rest) = split_once(octets, b"\r\n\r\n").ok_or("the head of a response is incomplete")?;
        let (line, fields) = split_once(head, b"\r\n").unwrap_or((head, b""));
        let parts: Vec<&[u8]> = line.splitn(3, |octet| *octet == b' ').collect();
        let [b"HTTP/1.1" | b"HTTP/1.0", &[class @ b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'], reason] = parts[..] else {
            return Err("the status line has another form");
        };
        if reason.iter().any(u8::is_ascii_control) {
            return Err("the status line has another form");
        }
        let fields = read_fields(fields)?;
        octets = rest;
        if class == b'1' {
            continue;
        }
        let length = length(&fields)?.ok_or("a response has no length")?;
        let is_without_body = to_head && (rest.is_empty() || rest.starts_with(b"HTTP/1."));
        if !is_without_body {
            octets = rest.get(length..).ok_or("the body of a response is incomplete")?;
        }
        responses.push(value(&fields, "connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close")));
    }
    Ok(responses)
}

/// A path that begins with `/` and can be read in one way, and perhaps a query.
fn check_target(target: &[u8]) -> Result<(), Refused> {
    if !target.starts_with(b"/") || !target.iter().all(|octet| (b'!'..=b'~').contains(octet) && *octet != b'#') {
        return Err("the target has another form");
    }
    let path = target.split(|octet| *octet == b'?').next().unwrap_or_default();
    for path in [path.to_vec(), percent_decoded(path)] {
        if path.iter().any(|octet| octet.is_ascii_control() || *octet == b'\\') {
            return Err("the path has a control character or a backslash");
        }
        let last = path.iter().filter(|octet| **octet == b'/').count();
        for (index, segment) in path.split(|octet| *octet == b'/').enumerate() {
            match segment.split(|octet| *octet == b';').next().unwrap_or_default() {
                b"." | b".." => return Err("the path has a dot segment"),
                b"" if index != 0 && (index != last || !segment.is_empty()) => {
                    return Err("the path has an empty segment");
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn percent_decoded(path: &[u8]) -> Vec<u8> {
    let digit = |octet: Option<&u8>| octet.and_then(|octet| char::from(*octet).to_digit(16));
    let mut decoded = Vec::new();
    let mut at = 0;
    while let Some(octet) = path.get(at) {
        match (octet, digit(path.get(at + 1)), digit(path.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(*octet);
                at += 1;
            }
        }
    }
    decoded
}

/// Lines of `name: value`, separated by CRLF.
fn read_fields(mut lines: &[u8]) -> Result<Vec<Field<'_>>, Refused> {
    let mut fields = Vec::new();
    while !lines.is_empty() {
        let (line, rest) = split_once(lines, b"\r\n").unwrap_or((lines, b""));
        let (name, value) = split_once(line, b":").ok_or("a field has no colon")?;
        let is_token = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet);
        if name.is_empty() || !name.iter().all(is_token) {
            return Err("the name of a field is not a token");
        }
        if !value.iter().all(|octet| *octet == b'\t' || !octet.is_ascii_control()) {
            return Err("the value of a field has a control character");
        }
        fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value.trim_ascii()));
        lines = rest;
    }
    Ok(fields)
}

/// The length of the body. The gateway knows it of every message, so it never needs chunks.
fn length(fields: &[Field<'_>]) -> Result<Option<usize>, Refused> {
    if value(fields, "transfer-encoding").is_some() {
        return Err("the message has a transfer coding");
    }
    let mut lengths = fields.iter().filter(|(name, _)| name == "content-length").map(|(_, value)| *value);
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(None),
        (Some(digits), None) if (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) => {
            Ok(Some(digits.iter().fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))))
        }
        _ => Err("the length has another form, or is repeated"),
    }
}

/// The first value of the field `name`.
fn value<'a>(fields: &[Field<'a>], name: &str) -> Option<&'a [u8]> {
    fields.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
}

/// A compact JWE: five parts in base64url. Returns the length of its ciphertext.
fn check_message(message: &[u8], expected: &Expected<'_>) -> Result<usize, Refused> {
    let parts = message.split(|octet| *octet == b'.').map(base64url).collect::<Option<Vec<_>>>();
    let parts = parts.ok_or("a part of the message is not base64url")?;
    let [header, encrypted_key, iv, ciphertext, tag] = &parts[..] else { return Err("the message has not five parts") };
    if expected.header.is_some_and(|expected| header != expected.as_bytes()) {
        return Err("the protected header is not the gateway's");
    }
    if encrypted_key.len() < 256 || iv.len() != 16 || tag.len() != 32 {
        return Err("a part of the message has another length");
    }
    if ciphertext.is_empty() || ciphertext.len() % 16 != 0 {
        return Err("the ciphertext is not made of blocks");
    }
    if parts.iter().any(|part| expected.reveals(part)) {
        return Err("the message has a secret of the caller");
    }
    Ok(ciphertext.len())
}

/// Decodes base64url without padding.
fn base64url(text: &[u8]) -> Option<Vec<u8>> {
    let (mut octets, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push((bits >> count) as u8);
        }
    }
    // A last digit alone has no octet, and unused bits are 0: each message has one spelling.
    (count < 6 && bits & ((1 << count) - 1) == 0).then_some(octets)
}

/// Splits at the first `separator`.
fn split_once<'a>(octets: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = octets.windows(separator.len()).position(|window| window == separator)?;
    Some((&octets[..at], &octets[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "canary";

    /// A message with this header and this ciphertext, in base64url.
    fn message(header: &str, ciphertext: &str) -> String {
        let zeros = |octets: usize| "A".repeat((octets * 4).div_ceil(3));
        format!("{header}.{}.{}.{ciphertext}.{}", zeros(256), zeros(16), zeros(32))
    }

    /// A request that keeps all rules.
    fn valid() -> String {
        let message = message("e30", &"A".repeat(64));
        format!(
            "POST /v0/x?y HTTP/1.1\r\ncontent-type: application/jose\r\nx-test: 1\r\nvia: 1.1 jwe-gateway\r\n\
             x-request-id: r\r\nauthorization: Bearer t\r\nhost: h\r\ncontent-length: {}\r\n\r\n{message}",
            message.len()
        )
    }

    fn checked(octets: &[u8]) -> Result<usize, Refused> {
        let expected = Expected { host: "h", authorization: "Bearer t", header: Some("{}"), secret: Some(SECRET) };
        let Some((request, rest)) = request(octets)? else { return Err("incomplete") };
        if rest.is_empty() { request.check(&expected) } else { Err("octets behind the request") }
    }

    /// The refusal of the valid request after `from` is replaced.
    fn refused(from: &str, to: &str) -> Refused {
        let changed = valid().replacen(from, to, 1);
        assert_ne!(changed, valid(), "{from}");
        checked(changed.as_bytes()).expect_err(to)
    }

    #[test]
    fn a_request_that_keeps_the_rules_is_accepted() {
        assert_eq!(checked(valid().as_bytes()), Ok(48));
        let get = "GET / HTTP/1.1\r\nvia: 1.1 jwe-gateway-0f, 1.1 jwe-gateway-1\r\nx-request-id: r\r\n\
                   authorization: Bearer t\r\nhost: h\r\n\r\n";
        assert_eq!(checked(get.as_bytes()), Ok(0));
        for target in ["/", "/v0/", "/a;x/b", "/a.b/..c", "/%41?//../%00\\"] {
            assert_eq!(check_target(target.as_bytes()), Ok(()), "{target}");
        }
    }

    #[test]
    fn a_request_line_of_another_form_is_refused() {
        for line in
            ["POST  /v0/x HTTP/1.1", "POST /v0/x HTTP/1.0", "POST /v0 x HTTP/1.1", "POST /v0/x", "POST\t/v0/x HTTP/1.1"]
        {
            assert_eq!(refused("POST /v0/x?y HTTP/1.1", line), "the request line has another form", "{line}");
        }
        assert_eq!(refused("POST", "OPTIONS"), "the method is not forwarded");
        assert_eq!(refused("POST", "post"), "the method is not forwarded");
        for (target, refusal) in [
            ("http://h/v0", "the target has another form"),
            ("*", "the target has another form"),
            ("/caf\u{e9}", "the target has another form"),
            ("/a\nb", "the target has another form"),
            ("/a#b", "the target has another form"),
            ("/a%0Ab", "the path has a control character or a backslash"),
            ("/a\\b", "the path has a control character or a backslash"),
            ("/a/../b", "the path has a dot segment"),
            ("/a/%2e%2E", "the path has a dot segment"),
            ("/a%2f..;x%2fb", "the path has a dot segment"),
            ("//a", "the path has an empty segment"),
            ("/a/;x", "the path has an empty segment"),
            ("/a//", "the path has an empty segment"),
        ] {
            assert_eq!(refused("/v0/x?y", target), refusal, "{target}");
        }
    }

    #[test]
    fn malformed_fields_are_refused() {
        for (line, refusal) in [
            ("x-test : 1", "the name of a field is not a token"),
            (" x-test: 1", "the name of a field is not a token"),
            (": 1", "the name of a field is not a token"),
            ("x-test", "a field has no colon"),
            ("x-test: a\r\n b: c", "the name of a field is not a token"),
            ("x-test: a\nb: c", "the value of a field has a control character"),
            ("x-test: a\rb", "the value of a field has a control character"),
            ("x-test: a\0b", "the value of a field has a control character"),
            ("content-length: 1", "the length has another form, or is repeated"),
            ("transfer-encoding: chunked", "the message has a transfer coding"),
        ] {
            assert_eq!(refused("x-test: 1", line), refusal, "{line:?}");
        }
        for length in ["+1", "0x1", "1, 1", "", "9999999999"] {
            let text = format!("content-length: {length}\r\nx-length");
            assert_eq!(refused("content-length", &text), "the length has another form, or is repeated", "{length}");
        }
    }

    #[test]
    fn a_field_that_the_gateway_must_remove_is_refused() {
        for name in REMOVED.iter().filter(|name| !OWN.contains(name)).chain(&["x-forwarded-for", "Content-Encoding"]) {
            if *name != "transfer-encoding" {
                assert_eq!(refused("x-test", name), "a field is not removed", "{name}");
            }
        }
        for name in ["authorization_", "_Cookie", "content_type", "transfer_encoding", "x_forwarded_for", "x-real_ip"] {
            assert_eq!(refused("x-test", name), "a field is not removed", "{name}");
        }
        for name in ["host", "Authorization", "via", "content-type", "x-request-id"] {
            assert_eq!(refused("x-test", name), "a field of the gateway is repeated", "{name}");
        }
    }

    #[test]
    fn the_fields_of_the_gateway_must_have_their_values() {
        assert_eq!(refused("host: h", "host: h.test"), "the host is not the configured one");
        assert_eq!(refused("host: h", "x-host-name: h"), "the host is not the configured one");
        assert_eq!(refused("Bearer t", "Bearer caller"), "the credential is not the configured one");
        assert_eq!(refused("authorization", "x-key"), "the credential is not the configured one");
        assert_eq!(refused("1.1 jwe-gateway", "1.1 internal, 1.1 jwe-gateway"), "via names another proxy, or none");
        assert_eq!(refused("via", "x-via"), "via names another proxy, or none");
        assert_eq!(refused("x-request-id: r", "x-request-id: "), "there is no request id");
    }

    #[test]
    fn a_body_that_is_not_the_gateways_jwe_is_refused() {
        assert_eq!(refused("application/jose", "application/json"), "a body is not declared as a JWE");
        let body = |body: &str| {
            let valid = valid();
            let head = valid.split("content-length").next().unwrap();
            checked(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap_err()
        };
        assert_eq!(body("{\"iban\":1}"), "a part of the message is not base64url");
        assert_eq!(body("e30.AA.AA"), "the message has not five parts");
        assert_eq!(body("e31.AA.AA.AA.AA"), "a part of the message is not base64url");
        assert_eq!(body("e30.AA.AA.AA.A"), "a part of the message is not base64url");
        assert_eq!(body(&message("e30=", "")), "a part of the message is not base64url");
        assert_eq!(body(&message("e2E", "")), "the protected header is not the gateway's");
        assert_eq!(body(&message("e30", "")), "the ciphertext is not made of blocks");
        assert_eq!(body(&message("e30", "AAAA")), "the ciphertext is not made of blocks");
        assert_eq!(body("e30.AA.AA.AA.AA"), "a part of the message has another length");
    }

    #[test]
    fn a_secret_of_the_caller_is_refused_in_every_part() {
        for (from, to) in [("x-test: 1", "x-test: canary"), ("x-test", "x-canary"), ("/v0/x", "/canary")] {
            assert_eq!(refused(from, to), "the request has a secret of the caller");
        }
        // "canary" and ten zeros, and "AAcanary" and eight.
        for ciphertext in ["Y2FuYXJ5AAAAAAAAAAAAAA", "QUFjYW5hcnkAAAAAAAAAAA"] {
            let message = message("e30", ciphertext);
            let expected = Expected { host: "", authorization: "", header: None, secret: Some(SECRET) };
            let refusal = check_message(message.as_bytes(), &expected);
            assert_eq!(refusal, Err("the message has a secret of the caller"), "{ciphertext}");
        }
    }

    #[test]
    fn an_incomplete_request_and_octets_behind_a_request_are_seen() {
        let valid = valid();
        for end in [0, 1, 30, valid.len() - 1] {
            assert_eq!(checked(&valid.as_bytes()[..end]), Err("incomplete"));
        }
        assert_eq!(checked(format!("{valid}x").as_bytes()), Err("octets behind the request"));
    }

    #[test]
    fn responses_are_counted_and_malformed_ones_are_refused() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let closing = "HTTP/1.0 400 Bad Request\r\nConnection: close\r\ncontent-length: 0\r\n\r\n";
        let read = |text: &str| responses(text.as_bytes(), false);
        assert_eq!(read(&format!("{ok}HTTP/1.1 100 Continue\r\n\r\n{ok}{closing}")), Ok(vec![false, false, true]));
        assert_eq!(read(""), Ok(vec![]));
        let to_head = ok.trim_end_matches("{}");
        assert_eq!(responses(format!("{to_head}{ok}{to_head}").as_bytes(), true), Ok(vec![false; 3]));
        for (text, refusal) in [
            (to_head, "the body of a response is incomplete"),
            ("HTTP/1.1 200 OK\r\n\r\n", "a response has no length"),
            ("HTTP/1.1 200 OK\r\n", "the head of a response is incomplete"),
            ("HTTP/2 200 OK\r\n\r\n", "the status line has another form"),
            ("HTTP/1.1 99 OK\r\n\r\n", "the status line has another form"),
            ("HTTP/1.1 200\r\n\r\n", "the status line has another form"),
            ("HTTP/1.1 200 a\nb\r\n\r\n", "the status line has another form"),
            ("HTTP/1.1 200 OK\r\nx: a\nb\r\n\r\n", "the value of a field has a control character"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nx", "the head of a response is incomplete"),
        ] {
            assert_eq!(read(text), Err(refusal), "{text:?}");
        }
    }

    #[test]
    fn ambiguous_framing_limits_the_requests_that_may_be_forwarded() {
        for (fields, most) in [
            ("Host: g", None),
            ("Content-Length: 5", None),
            ("Content-Length: 5\r\ncontent-length: 5", None),
            ("Transfer-Encoding: Chunked", None),
            ("X: y\nTransfer-Encoding: gzip", None),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5", Some(1)),
            ("Content-Length: +5\r\nTRANSFER-ENCODING:chunked", Some(1)),
            ("Content-Length: 5\r\nContent-Length: 6", Some(0)),
            ("Content-Length: 5, 5", Some(0)),
            ("Content-Length:", Some(0)),
            ("Transfer-Encoding: gzip, chunked", Some(0)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Some(0)),
            ("Transfer-Encoding: \u{b}chunked", Some(0)),
        ] {
            let request = format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
            assert_eq!(most_requests(request.as_bytes()), most, "{fields}");
        }
        assert_eq!(most_requests(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Some(0));
        assert_eq!(most_requests(b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n"), None);
    }

    #[test]
    fn the_oracle_uses_no_code_of_the_gateway_and_no_crate() {
        let code = include_str!("oracle.rs").split("#[cfg(test)]").next().unwrap_or_default();
        let uses = |line: &&str| line.starts_with("use ") || line.contains("crate::") || line.contains("super::");
        assert_eq!(code.lines().filter(uses).collect::<Vec<_>>(), Vec::<&str>::new());
    }
}
