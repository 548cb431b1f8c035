//! The paths of a description: `/v0/letters/{letter_id}`.
//!
//! Segments are compared percent-decoded, because the gateway forwards them in any spelling. An escaped slash does not end
//! a segment. A parameter matches any segment that is not empty.

use percent_encoding::percent_decode_str;

/// A path with parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathTemplate {
    written: Box<str>,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    /// A parameter with the text around it.
    Parameter {
        before: Box<str>,
        after: Box<str>,
    },
}

impl PathTemplate {
    /// None if `path` does not begin with a slash.
    pub(super) fn new(path: &str) -> Option<Self> {
        let segments = path.strip_prefix('/')?.split('/').map(Segment::new).collect();
        Some(Self { written: path.into(), segments })
    }

    /// As the document writes it.
    pub(super) fn as_str(&self) -> &str {
        &self.written
    }

    /// How many segments have a parameter. If two templates match a path, the one with fewer is meant.
    pub(super) fn parameters(&self) -> usize {
        self.segments.iter().filter(|segment| matches!(segment, Segment::Parameter { .. })).count()
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let mut rest = path.strip_prefix('/').unwrap_or(path).split('/');
        self.segments.iter().all(|segment| rest.next().is_some_and(|text| segment.matches(text)))
            && rest.next().is_none()
    }
}

impl Segment {
    fn new(text: &str) -> Self {
        match text.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?.1))) {
            Some((before, after)) => Self::Parameter { before: before.into(), after: after.into() },
            None => Self::Literal(percent_decode_str(text).decode_utf8_lossy().into()),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            // Most segments have no escapes.
            Self::Literal(literal) => text == &**literal || percent_decode_str(text).eq(literal.bytes()),
            Self::Parameter { before, after } => {
                let inner = text.strip_prefix(&**before).and_then(|rest| rest.strip_suffix(&**after));
                inner.is_some_and(|inner| !inner.is_empty())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_matches_paths_in_any_spelling() {
        let template = PathTemplate::new("/v0/letters/{id}/x").unwrap();
        for path in ["/v0/letters/7/x", "/v0/l%65tters/a%2Fb/x", "/v0/letters/./x"] {
            assert!(template.matches(path), "{path}");
        }
        for path in ["/v0/letters/7", "/v0/letters//x", "/v0/letters/7/x/", "/v0/Letters/7/x", "/", "/v0%2Fletters/7/x"]
        {
            assert!(!template.matches(path), "{path}");
        }
        let partial = PathTemplate::new("/files/{name}.pdf").unwrap();
        assert!(partial.matches("/files/a.pdf") && !partial.matches("/files/.pdf") && !partial.matches("/files/a.txt"));
        assert_eq!((template.parameters(), partial.parameters()), (1, 1));
        assert!(PathTemplate::new("/").unwrap().matches("/"));
        assert_eq!(PathTemplate::new("v0"), None);
    }
}
