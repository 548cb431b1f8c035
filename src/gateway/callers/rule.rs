//! A rule of a caller: a method and a pattern of paths.
//!
//! The hard case is a path that the gateway and the provider read differently. The segments of a path are
//! decoded once before they are compared. If a decoded segment still has an escape or a slash, the provider
//! may read it in two ways, and only a trailing `**` matches it. A caller that may send to `/credentials/*`
//! therefore cannot reach `/credentials/x%2Fdelete`. Dot segments, empty segments and backslashes are refused
//! earlier. Paths are case-sensitive, and a trailing slash counts.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::gateway::request::target;

/// A rule such as `POST /v0/bank/credentials/*`: a method, or `*` for any, and a path. In the path, `*`
/// stands for one segment, and a trailing `**` for one or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    method: Option<Method>,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Any,
    Tail,
}

/// Why a text is not a rule. Each error says what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// The text is not two words.
    #[error("a rule is a method and a path, such as \"POST /v0/bank/credentials/*\"")]
    Form,
    /// The gateway never forwards this method.
    #[error("the method must be one of {}, or * for any", target::METHODS)]
    Method,
    /// The gateway forwards no request with such a path.
    #[error("the path must begin with /, and must not contain empty segments, dot segments, escapes or a query")]
    Path,
    /// A star is part of a segment, or two stars are not at the end.
    #[error("* must be a whole segment, and ** must be the last segment")]
    Star,
}

impl Rule {
    /// Returns whether the rule allows a request with `method` and `path`, as the caller sent it.
    #[must_use]
    pub fn matches(&self, method: &Method, path: &str) -> bool {
        if self.method.as_ref().is_some_and(|own| own != method) {
            return false;
        }
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut remaining = path.split('/');
        for segment in &self.segments {
            let matches = match (segment, remaining.next()) {
                (Segment::Tail, next) => return next.is_some(),
                (_, None) => false,
                (Segment::Literal(own), Some(next)) => decoded(next) == own.as_bytes(),
                (Segment::Any, Some(next)) => is_unambiguous(&decoded(next)),
            };
            if !matches {
                return false;
            }
        }
        remaining.next().is_none()
    }
}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let (method, path) = text.split_once(' ').ok_or(BadRule::Form)?;
        let method = match method {
            "*" => None,
            name => Some(Method::from_bytes(name.as_bytes()).map_err(|_| BadRule::Method)?),
        };
        if method.as_ref().is_some_and(|method| !target::is_forwarded(method)) {
            return Err(BadRule::Method);
        }
        let segments: Vec<&str> = path.strip_prefix('/').ok_or(BadRule::Path)?.split('/').collect();
        let last = segments.len() - 1;
        let segments = segments.into_iter().enumerate().map(|(index, segment)| match segment {
            "**" if index == last => Ok(Segment::Tail),
            "*" => Ok(Segment::Any),
            "" if index == last => Ok(Segment::Literal(String::new())),
            "" | "." | ".." => Err(BadRule::Path),
            _ if segment.contains('*') => Err(BadRule::Star),
            _ if segment.contains(['%', '?', '#', '\\', ' ']) || segment.contains(char::is_control) => {
                Err(BadRule::Path)
            }
            _ => Ok(Segment::Literal(segment.to_owned())),
        });
        Ok(Self { method, segments: segments.collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.method.as_ref().map_or("*", Method::as_str))?;
        self.segments.iter().try_for_each(|segment| match segment {
            Segment::Literal(text) => write!(f, "/{text}"),
            Segment::Any => f.write_str("/*"),
            Segment::Tail => f.write_str("/**"),
        })
    }
}

fn decoded(segment: &str) -> Cow<'_, [u8]> {
    percent_decode_str(segment).into()
}

/// Whether every server reads this as one segment that is not empty.
fn is_unambiguous(segment: &[u8]) -> bool {
    !segment.is_empty() && !segment.iter().any(|byte| matches!(byte, b'/' | b'%' | b'\\'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(rule: &str, request: &str) -> bool {
        let (method, path) = request.split_once(' ').unwrap();
        rule.parse::<Rule>().unwrap().matches(&method.parse().unwrap(), path)
    }

    #[test]
    fn a_rule_matches_its_method_and_path_and_nothing_else() {
        let rule = "POST /v0/bank/credentials/*";
        for request in ["POST /v0/bank/credentials/status", "POST /v0/b%61nk/credentials/a%20b"] {
            assert!(matches(rule, request), "{request}");
        }
        for request in [
            "GET /v0/bank/credentials/status",
            "POST /v0/bank/credentials",
            "POST /v0/bank/credentials/",
            "POST /v0/bank/credentials/a/b",
            "POST /v0/bank/credentials/a/",
            "POST /v0/bank/credentials/a%2Fb",
            "POST /v0/bank/credentials/a%252Fb",
            "POST /v0/bank/credentials/%2e%2e%2ftoken",
            "POST /v0/bank/credentials/a%5Cb",
            "POST /v0/bank%2Fcredentials/a",
            "POST /V0/bank/credentials/status",
            "POST /v0/bank/credentials;x/status",
        ] {
            assert!(!matches(rule, request), "{request}");
        }
    }

    #[test]
    fn two_stars_match_one_or_more_segments() {
        for request in ["GET /v0/a", "DELETE /v0/a/b/c", "GET /v0/a%2Fb", "GET /v0/"] {
            assert!(matches("* /v0/**", request), "{request}");
        }
        for request in ["GET /v0", "GET /v1/a", "GET /v00/a"] {
            assert!(!matches("* /v0/**", request), "{request}");
        }
        assert!(matches("* /**", "GET /") && matches("GET /", "GET /") && !matches("GET /", "GET /a"));
        assert!(matches("GET /*/b", "GET /a/b") && !matches("GET /*/b", "GET //b"));
    }

    #[test]
    fn an_invalid_rule_is_refused_with_its_reason() {
        for (text, fault) in [
            ("/v0", BadRule::Form),
            ("", BadRule::Form),
            ("TRACE /v0", BadRule::Method),
            ("post /v0", BadRule::Method),
            ("GET v0", BadRule::Path),
            ("GET  /v0", BadRule::Path),
            ("GET /a//b", BadRule::Path),
            ("GET /a/../b", BadRule::Path),
            ("GET /a%2Fb", BadRule::Path),
            ("GET /a?b", BadRule::Path),
            ("GET /a b", BadRule::Path),
            ("GET /a*", BadRule::Star),
            ("GET /**/b", BadRule::Star),
        ] {
            assert_eq!(text.parse::<Rule>(), Err(fault), "{text}");
        }
        let text = "POST /v0/*/c/**";
        assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
    }

    proptest! {
        #[test]
        fn a_star_matches_only_what_every_server_reads_as_one_segment(segment in "[a-z0-9%./\\\\]{0,8}") {
            let path = format!("/v0/{segment}/x");
            if "* /v0/*/x".parse::<Rule>().unwrap().matches(&Method::GET, &path) {
                let once = percent_decode_str(&path).decode_utf8_lossy().into_owned();
                let twice = percent_decode_str(&once).decode_utf8_lossy().into_owned();
                for reading in [&path, &once, &twice] {
                    prop_assert_eq!(reading.split(['/', '\\']).count(), 4, "{}", reading);
                }
            }
        }
    }
}
