//! Where a request differs from the description of the API: never the value that is there.
//!
//! A pointer goes to the log, and to the caller. The names in it are those of the description: a name that the caller made
//! up can be a value, such as an account number, and is written as `*`. So a pointer has neither control characters nor
//! text of any length.

use std::fmt;

use jsonschema::error::ValidationErrorKind;

/// The findings of one request that are kept. A body with many faults has the same one many times.
pub(crate) const MAX_FINDINGS: usize = 20;

/// The bytes of a pointer. A deeper place is named by its beginning, and `/...`.
const MAX_POINTER: usize = 200;

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Body,
    Query,
    /// With the method.
    Path,
}

impl Place {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Query => "query",
            Self::Path => "path",
        }
    }
}

macro_rules! rules {
    ($($variant:ident $name:literal)*) => {
        /// A rule of the description.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Rule {
            $($variant,)*
        }

        impl Rule {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

rules! {
    // The gateway's own.
    Operation "operation"
    Duplicate "duplicate"
    Identifier "identifier"
    // Keywords of JSON Schema.
    Required "required"
    Type "type"
    Enum "enum"
    Const "const"
    Pattern "pattern"
    MinLength "minLength"
    MaxLength "maxLength"
    Minimum "minimum"
    Maximum "maximum"
    MinItems "minItems"
    MaxItems "maxItems"
    UniqueItems "uniqueItems"
    MinProperties "minProperties"
    MaxProperties "maxProperties"
    AdditionalProperties "additionalProperties"
    AnyOf "anyOf"
    OneOf "oneOf"
    Not "not"
    Other "other"
}

impl From<&ValidationErrorKind> for Rule {
    fn from(kind: &ValidationErrorKind) -> Self {
        let keyword = match kind {
            ValidationErrorKind::ExclusiveMinimum { .. } => "minimum",
            ValidationErrorKind::ExclusiveMaximum { .. } => "maximum",
            kind => kind.keyword(),
        };
        // The first three are not keywords.
        Self::ALL.iter().skip(3).copied().find(|rule| rule.as_str() == keyword).unwrap_or(Self::Other)
    }
}

/// One difference between a request and the description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub place: Place,
    /// RFC 6901, in the body or in the object of the query's parameters.
    pub pointer: String,
    pub rule: Rule,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, pointer, rule } = self;
        write!(f, "{}{pointer} {}", place.as_str(), rule.as_str())
    }
}

/// A pointer in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Pointer {
    text: String,
    is_cut: bool,
}

impl Pointer {
    /// Appends the name of a member as the description writes it. `None`: the description does not have this name.
    pub(super) fn name(&mut self, name: Option<&str>) {
        match name {
            Some(name) => self.push(&name.replace('~', "~0").replace('/', "~1")),
            None => self.push("*"),
        }
    }

    pub(super) fn index(&mut self, index: usize) {
        self.push(&index.to_string());
    }

    fn push(&mut self, segment: &str) {
        if !self.is_cut && self.text.len() + segment.len() < MAX_POINTER {
            self.text.push('/');
            self.text.push_str(segment);
        } else if !self.is_cut {
            self.text.push_str("/...");
            self.is_cut = true;
        }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_escaped_and_bounded() {
        let mut pointer = Pointer::default();
        pointer.name(Some("a/b~c"));
        pointer.index(7);
        pointer.name(None);
        assert_eq!(pointer.clone().into_text(), "/a~1b~0c/7/*");
        (0..1000).for_each(|_| pointer.name(Some("member")));
        let text = pointer.into_text();
        assert!(text.ends_with("/member/...") && text.len() <= MAX_POINTER + 4, "{text}");
    }

    #[test]
    fn every_rule_has_a_name_and_a_position_of_its_own() {
        for (index, rule) in Rule::ALL.iter().enumerate() {
            assert_eq!(*rule as usize, index);
            assert_eq!(Rule::ALL.iter().filter(|other| other.as_str() == rule.as_str()).count(), 1);
        }
    }
}
