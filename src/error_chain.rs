//! The text of an error with all its causes. For logs and terminals: callers get the texts of the table of refusals.

use std::io;

/// The error and its sources, joined by colons, the outermost first. A source is left out if the text already ends with
/// it.
#[must_use]
#[cfg(feature = "gateway")]
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
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
        io::ErrorKind::FileTooLarge => "it is longer than 1 MiB".to_owned(),
        io::ErrorKind::NotADirectory => "a part of the path is not a directory".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("middle: inside")]
    struct Middle(#[source] std::fmt::Error);

    #[test]
    fn causes_follow_each_other_without_repetition() {
        let middle = Middle(std::fmt::Error);
        assert_eq!(chain(&middle), format!("middle: inside: {}", std::fmt::Error));
        assert_eq!(chain(&Outer(middle)), format!("outer: middle: inside: {}", std::fmt::Error));
        assert_eq!(chain(&io::Error::other(std::fmt::Error)), std::fmt::Error.to_string());
    }

    #[test]
    fn the_cause_of_an_io_error_is_in_plain_words() {
        assert_eq!(io_cause(io::ErrorKind::NotFound), "no such file");
        assert_eq!(io_cause(io::ErrorKind::PermissionDenied), "permission denied");
    }
}
