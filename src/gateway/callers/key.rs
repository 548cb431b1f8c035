//! Callers' keys: stored as digests, compared in constant time.
//!
//! A key file holds the SHA-256 of a key, not the key. A reader of the file therefore cannot send requests.
//! There is no salt and no slow hash: those protect passwords that people choose. A key has at least 128
//! random bits, so no dictionary contains it and no search finds it.

use std::fmt;
use std::path::PathBuf;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::watched_files::{FileContent, UnreadableFile};

/// The SHA-256 of a key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Returns the digest of `key`.
    #[must_use]
    pub fn of(key: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(bytes)
    }

    /// Returns whether the two digests are equal. Takes the same time for all digests.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    /// Returns the digest in hex, as a key file holds it.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Parses the format of `sha256sum`: 64 hex digits, optionally followed by a file name.
    fn parse(line: &str) -> Option<Self> {
        let (hex, _file) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
        }
        // `from_str_radix` accepts a sign.
        (!hex.contains('+')).then_some(Self(bytes))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// Where a caller's digests come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file with one digest per line. Blank lines and lines that begin with `#` are skipped. The gateway
    /// reads the file again when it changes. A file with comments but no digest locks the caller out. An
    /// empty file is an error: another program may still be writing it.
    File(PathBuf),
    /// The digests themselves, from an embedding program.
    Digests(Vec<KeyDigest>),
}

impl KeySource {
    /// Returns the digests as they are now.
    ///
    /// # Errors
    /// If the file cannot be read, is empty, or has a line that is not a digest.
    pub fn read(&self) -> Result<Vec<KeyDigest>, BadKeyFile> {
        match self {
            Self::Digests(digests) => Ok(digests.clone()),
            Self::File(path) => parse(&FileContent::read(path)?),
        }
    }
}

/// The digests of a key file.
pub(super) fn parse(file: &FileContent) -> Result<Vec<KeyDigest>, BadKeyFile> {
    let path = || file.path().to_owned();
    let text = std::str::from_utf8(file.bytes()).map_err(|_| BadKeyFile::NotText(path()))?;
    let (mut digests, mut has_comment) = (Vec::new(), false);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        has_comment |= line.starts_with('#');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        digests.push(KeyDigest::parse(line).ok_or_else(|| BadKeyFile::NotDigest { path: path(), line: index + 1 })?);
    }
    if digests.is_empty() && !has_comment { Err(BadKeyFile::Empty(path())) } else { Ok(digests) }
}

/// A key file that cannot be used. The text never repeats a line of the file: it may be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeyFile {
    #[error(transparent)]
    Unreadable(#[from] UnreadableFile),
    #[error("{}: is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    #[error("{}: line {line} is not the SHA-256 of a key in hex (64 digits)", path.display())]
    NotDigest { path: PathBuf, line: usize },
    #[error("{}: is empty; to lock the caller out, write a comment line (`# no keys`)", .0.display())]
    Empty(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08";

    fn read(content: impl AsRef<[u8]>) -> Result<Vec<KeyDigest>, BadKeyFile> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        KeySource::File(file.path().to_owned()).read()
    }

    #[test]
    fn a_key_file_has_one_digest_per_line_in_the_format_of_sha256sum() {
        let lower = HEX.to_lowercase();
        let digests = read(format!("# the old key\n\n{HEX}\r\n  {lower}  -\n")).unwrap();
        assert_eq!(digests, [KeyDigest::of("test"), KeyDigest::of("test")]);
        assert!(digests[0].is(&KeyDigest::of("test")) && !digests[0].is(&KeyDigest::of("Test")));
    }

    #[test]
    fn a_key_file_with_only_comments_has_no_keys() {
        assert_eq!(read("# no keys\n").unwrap(), []);
    }

    #[test]
    fn an_error_names_the_line_and_does_not_repeat_it() {
        for (content, message) in [
            ("", "is empty"),
            (" \n\n", "is empty"),
            ("\ncanary\n", "line 2 is not the SHA-256"),
            (&format!("{HEX}0"), "line 1 is not"),
            (&HEX.replace('9', "g"), "line 1 is not"),
            (&format!("+f{}", &HEX[2..]), "line 1 is not"),
            (&format!("ü{}", &HEX[2..]), "line 1 is not"),
        ] {
            let error = read(content).unwrap_err().to_string();
            assert!(error.contains(message) && !error.contains("canary"), "{content}: {error}");
        }
        assert!(read(b"\xff").unwrap_err().to_string().contains("is not UTF-8"));
        let missing = KeySource::File("/nowhere".into()).read().unwrap_err().to_string();
        assert_eq!(missing, "/nowhere: cannot be read: no such file");
    }
}
