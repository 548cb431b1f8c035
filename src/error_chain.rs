//! An error told whole: what failed, and why, and why that. For logs and terminals; what a caller
//! gets is a row of the table of refusals.

use std::error::Error;

/// The error and its sources, outermost first, joined by colons. A library's error that repeats
/// its source in its own text is not told twice.
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
    fn causes_follow_each_other_and_none_is_told_twice() {
        let middle = Middle(std::fmt::Error);
        assert_eq!(chain(&middle), format!("middle: inside: {}", std::fmt::Error));
        assert_eq!(chain(&Outside(middle)), format!("outside: middle: inside: {}", std::fmt::Error));
        assert_eq!(chain(&std::io::Error::other(std::fmt::Error)), std::fmt::Error.to_string());
    }
}
