//! Escapes text from other programs for HTML.

use std::fmt::{self, Write};

/// The number of characters that are shown of a text. With [`MAX_LISTED`](super::super::MAX_LISTED) and the
/// limits of a plan it keeps the page below 60 KB.
const MAX_TEXT: usize = 200;

/// A text that is safe as content or as a quoted attribute.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().take(MAX_TEXT) {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if c.is_control() => f.write_char(' ')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
