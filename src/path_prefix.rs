//! A prefix of paths: an upstream's `prefix`, or the base path of its URL.
//!
//! A prefix ends where a segment ends: `/v0` contains `/v0` and `/v0/x`, but not `/v0x`. Paths are compared
//! percent-decoded, so `/%760/x` is below `/v0`. The rest of a path is never re-encoded: it stays byte for
//! byte.
//!
//! The hard case is an escaped slash. Some servers read `/v0%2Fx` as `/v0/x`, others as one segment.
//! Therefore [`PathPrefix::contains`] accepts it, so that no rule for `/v0` is bypassed, and
//! [`PathPrefix::strip`] refuses it, because the rest would not begin with a slash.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use url::Url;

/// A prefix of paths. The default is `/`, which contains every path. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathPrefix(
    /// Without a slash at the end: `/` is the empty text.
    Arc<str>,
);

/// Why a text is not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPathPrefix {
    /// It does not begin with a slash.
    #[error("a prefix begins with /")]
    Relative,
    /// A request's path could not contain it, or it could be written in another way.
    #[error(
        "a prefix is \"/\" or segments like \"/a/b\", without a final /, dot segments, escapes or any of ? # \\ * ;"
    )]
    Segment,
}

impl PathPrefix {
    /// The base path of `url`.
    pub(crate) fn base_path(url: &Url) -> Self {
        Self(url.path().trim_end_matches('/').into())
    }

    /// The prefix as it is configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        if self.0.is_empty() { "/" } else { &self.0 }
    }

    /// Whether every path is below this prefix.
    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `path` is this prefix or below it.
    pub(crate) fn contains(&self, path: &str) -> bool {
        let mut path = percent_decode_str(path);
        percent_decode_str(&self.0).all(|byte| path.next() == Some(byte)) && matches!(path.next(), None | Some(b'/'))
    }

    /// Returns the rest of `path` after this prefix, from the slash on, or `/` if nothing follows. None if `path`
    /// is not below this prefix, or if the slash after the prefix is escaped.
    pub(crate) fn strip<'p>(&self, path: &'p str) -> Option<&'p str> {
        let mut ends = path.match_indices('/').map(|(index, _)| index).chain([path.len()]);
        let end = ends.find(|end| percent_decode_str(&path[..*end]).eq(percent_decode_str(&self.0)))?;
        let rest = &path[end..];
        Some(if rest.is_empty() { "/" } else { rest })
    }

    /// Returns this prefix followed by `path`, which begins with a slash.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl FromStr for PathPrefix {
    type Err = BadPathPrefix;

    /// Accepts one spelling of each prefix, so that two prefixes are the same only if their texts are.
    fn from_str(text: &str) -> Result<Self, BadPathPrefix> {
        let path = text.strip_prefix('/').ok_or(BadPathPrefix::Relative)?;
        let is_plain = |c: char| c.is_ascii_graphic() && !"?#%\\*;".contains(c);
        let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(is_plain);
        if !path.is_empty() && !path.split('/').all(is_segment) {
            return Err(BadPathPrefix::Segment);
        }
        Ok(Self(text.trim_end_matches('/').into()))
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> PathPrefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_ends_where_a_segment_ends() {
        for (text, path) in
            [("/", "/v0/x"), ("/", "/"), ("/v0", "/v0"), ("/v0", "/v0/x"), ("/v0", "/%760/x"), ("/v0", "/v0%2Fx")]
        {
            assert!(prefix(text).contains(path), "{text} {path}");
        }
        for path in ["/v0x", "/v", "/", "/V0"] {
            assert!(!prefix("/v0").contains(path), "{path}");
        }
    }

    #[test]
    fn the_rest_of_a_stripped_path_is_not_changed() {
        for (text, path, rest) in [
            ("/a", "/a/b/c%20d", Some("/b/c%20d")),
            ("/a", "/%61/b%2Fc", Some("/b%2Fc")),
            ("/a", "/a", Some("/")),
            ("/a/b", "/a%2Fb/c", Some("/c")),
            ("/", "/a%2Fb", Some("/a%2Fb")),
            ("/a", "/a%2Fb", None),
            ("/a", "/ab", None),
        ] {
            assert_eq!(prefix(text).strip(path), rest, "{text} {path}");
        }
    }

    #[test]
    fn a_base_path_may_have_escapes_and_a_final_slash() {
        let base = PathPrefix::base_path(&"https://a.test/b%C3%A9/".parse().unwrap());
        assert_eq!(base.join("/x?y"), "/b%C3%A9/x?y");
        assert_eq!(base.strip("/b%c3%a9/x"), Some("/x"));
        assert_eq!(PathPrefix::base_path(&"https://a.test".parse().unwrap()), prefix("/"));
    }

    #[test]
    fn a_prefix_has_one_spelling() {
        for text in ["/", "/a", "/a/b.c"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        for (text, fault) in [
            ("", BadPathPrefix::Relative),
            ("a", BadPathPrefix::Relative),
            ("/a/", BadPathPrefix::Segment),
            ("//", BadPathPrefix::Segment),
            ("/a/../b", BadPathPrefix::Segment),
            ("/%61", BadPathPrefix::Segment),
        ] {
            assert_eq!(text.parse::<PathPrefix>(), Err(fault), "{text}");
        }
    }
}
