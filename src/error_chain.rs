//! Texts of errors with their causes, for logs and terminals. A caller gets a row of the table of refusals instead.

use std::error::Error;
use std::io;

/// The error and its sources, outermost first, joined by colons. Some libraries repeat the source in the text of the
/// error; such a source is left out.
#[must_use]
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

/// The cause of an input or output error in plain words. The standard library says "entity not found".
#[must_use]
pub(crate) fn io_cause(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory, not a file".to_owned(),
        io::ErrorKind::NotADirectory => "a part of the path is not a directory".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outside")]
    struct Outside(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("middle: inside")]
    struct Middle(#[source] std::fmt::Error);

    #[test]
    fn causes_are_joined_and_none_is_repeated() {
        let middle = Middle(std::fmt::Error);
        assert_eq!(chain(&middle), format!("middle: inside: {}", std::fmt::Error));
        assert_eq!(chain(&Outside(middle)), format!("outside: middle: inside: {}", std::fmt::Error));
        assert_eq!(chain(&io::Error::other(std::fmt::Error)), std::fmt::Error.to_string());
    }

    #[test]
    fn the_cause_of_an_io_error_is_in_plain_words() {
        assert_eq!(io_cause(io::ErrorKind::NotFound), "no such file");
        assert_eq!(io_cause(io::ErrorKind::PermissionDenied), "permission denied");
    }
}
