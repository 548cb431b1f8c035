//! Removes the members of `Proxy-Status` that a provider sets in the gateway's name.
//!
//! Callers recognise a response of the gateway by its member (RFC 9209 section 2). A provider that writes the same name
//! could pretend that the gateway refused a request. Members of other intermediaries are kept.
//!
//! The hard case is a sidecar, whose upstream is an egress with the same name: its members must reach the caller. No
//! reply proves that an egress sent it, because a provider at the same address sees everything that an egress sees. So
//! the configuration decides (`egress`).
//!
//! The list is not parsed completely (RFC 9651 section 4.2). It is split at commas outside of strings. A line is
//! removed if one of its members has no name, or if a string in it does not end. Readers would disagree about such a line.

use http::{HeaderMap, HeaderValue};

use crate::gateway::response::refusal::{PROXY_STATUS, PSEUDONYM};

/// Removes the members with the gateway's name, and malformed lines.
pub(crate) fn remove_own_members(headers: &mut HeaderMap) {
    if !headers.contains_key(PROXY_STATUS) {
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(PROXY_STATUS).iter().filter_map(without_own_members).collect();
    headers.remove(PROXY_STATUS);
    for line in lines {
        headers.append(PROXY_STATUS, line);
    }
}

/// `None` if nothing is left of the line.
fn without_own_members(line: &HeaderValue) -> Option<HeaderValue> {
    let members = members(line.to_str().ok()?)?;
    let kept: Vec<&str> = members.iter().filter(|(name, _)| !is_own(name)).map(|(_, member)| *member).collect();
    if kept.len() == members.len() {
        return Some(line.clone());
    }
    HeaderValue::try_from(kept.join(", ")).ok().filter(|line| !line.is_empty())
}

/// Names are compared without regard to case, because a careless reader may do that.
fn is_own(name: &str) -> bool {
    name.eq_ignore_ascii_case(PSEUDONYM)
}

/// The members of a line, each with its name. `None` if the line is malformed.
fn members(line: &str) -> Option<Vec<(String, &str)>> {
    let mut members = Vec::new();
    let (mut start, mut in_string, mut is_escaped) = (0, false, false);
    for (index, byte) in line.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b',' if !in_string => {
                members.push(line[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    if in_string {
        return None;
    }
    members.push(line[start..].trim());
    members.into_iter().map(|member| Some((name_of(member)?, member))).collect()
}

/// The name of a member: a token or a string (RFC 9209 section 2), in front of its parameters.
fn name_of(member: &str) -> Option<String> {
    let (name, rest) = match member.strip_prefix('"') {
        Some(string) => {
            let mut name = String::new();
            let mut characters = string.chars();
            loop {
                match characters.next()? {
                    '"' => break,
                    '\\' => name.push(characters.next()?),
                    other => name.push(other),
                }
            }
            (name, characters.as_str())
        }
        None => {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
            let end = member.bytes().position(|byte| !is_token(byte)).unwrap_or(member.len());
            (member[..end].to_owned(), &member[end..])
        }
    };
    let rest = rest.trim_start();
    (!name.is_empty() && (rest.is_empty() || rest.starts_with(';'))).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(lines: &[&'static str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PROXY_STATUS, HeaderValue::from_static(line));
        }
        remove_own_members(&mut headers);
        headers.get_all(PROXY_STATUS).iter().map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn members_in_our_name_are_removed_and_others_are_kept() {
        let ours = "jwe-gateway; error=http_request_denied; details=\"caller_forbidden\"";
        let others = "cdn.test; received-status=200, \"a, b\"; details=\"jwe-gateway; error=x, \\\"y\"";
        assert_eq!(kept(&[others]), [others]);
        assert_eq!(kept(&[ours, "cdn.test"]), ["cdn.test"]);
        assert_eq!(kept(&["cdn.test, jwe-gateway;error=x,JWE-Gateway , other"]), ["cdn.test, other"]);
        assert_eq!(kept(&["\"jwe-gateway\"; error=x", "\"jwe\\-gateway\"; error=x"]), [""; 0]);
        assert_eq!(kept(&["jwe-gateway-2; error=x"]), ["jwe-gateway-2; error=x"]);
    }

    #[test]
    fn a_line_that_readers_could_read_in_two_ways_is_removed() {
        for line in ["cdn; details=\"", "cdn jwe-gateway; error=x", "", "cdn,", ";error=x", "(jwe-gateway); error=x"] {
            assert_eq!(kept(&[line]), [""; 0], "{line}");
        }
        assert_eq!(kept(&["cdn; details=\"", "jwe-gateway; error=x"]), [""; 0]);
    }
}
