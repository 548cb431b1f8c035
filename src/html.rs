//! What every HTML page of the gateway needs: escaped text, and a content security policy.
//!
//! A page shows texts of other programs: kids, paths, request ids, error messages. [`Escaped`] makes each of them safe
//! where it is inserted. [`policy`] is the second line of defence: even a mistake in the escaping could run no script and fetch
//! nothing.
//!
//! Rejected: a template engine. The two pages are mostly numbers and SVG.

use std::fmt::{self, Write};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The number of characters that are shown of a text. It limits the size of a page.
pub(crate) const MAX_TEXT: usize = 200;

/// A text that is safe as content or as a quoted attribute. It is cut after [`MAX_TEXT`] characters.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, self.0.chars().take(MAX_TEXT))
    }
}

/// The same, not cut. For a text that has a limit.
pub(crate) struct EscapedWhole<'a>(pub(crate) &'a str);

impl fmt::Display for EscapedWhole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, self.0.chars())
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, text: impl Iterator<Item = char>) -> fmt::Result {
    for c in text {
        match c {
            '&' => f.write_str("&amp;")?,
            '<' => f.write_str("&lt;")?,
            '>' => f.write_str("&gt;")?,
            '"' => f.write_str("&quot;")?,
            '\'' => f.write_str("&#39;")?,
            // The second group changes the direction or the lines of the text around it. XML 1.0 excludes the last two.
            c if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
                || matches!(c, '\u{fffe}' | '\u{ffff}') =>
            {
                f.write_char(' ')?;
            }
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

/// The content security policy of a page with one style sheet, this one, and nothing else. It is valid in a header and
/// in a `meta` element.
pub(crate) fn policy(style: &str) -> String {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_of_a_text_ends_an_element_or_an_attribute() {
        let hostile = "</td><script>alert(\"x\")</script>'&\n\x1b[31m\u{9b}\u{202e}\u{fffe}\u{ffff}";
        let escaped = Escaped(hostile).to_string();
        assert!(
            !escaped.contains(['<', '>', '"', '\'', '\n', '\x1b', '\u{9b}', '\u{202e}', '\u{fffe}', '\u{ffff}']),
            "{escaped}"
        );
        assert_eq!(EscapedWhole(hostile).to_string(), escaped);
        assert!(escaped.contains("&amp;"));
        assert_eq!(Escaped(&"é".repeat(10_000)).to_string(), "é".repeat(MAX_TEXT));
    }

    #[test]
    fn the_policy_allows_one_style_sheet_by_its_hash() {
        // printf 'p{}' | openssl dgst -sha256 -binary | base64
        let policy = policy("p{}");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-gG2yISYereRMiG2lMXrbiUgi0Ubw9p7QCeWcroOvy9Y='"),
            "{policy}"
        );
    }
}
