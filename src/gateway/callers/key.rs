//! Callers' keys: kept as digests, compared in constant time.
//!
//! A file holds the SHA-256 of a key and not the key, so whoever reads it cannot send. No salt and no
//! slow hash: these are for passwords that people choose. A key is at least 128 random bits,
//! which no dictionary holds and no search finds.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// The SHA-256 of a key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Of this key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(bytes)
    }

    /// Whether the two are the same, in constant time.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    /// As a key file holds it.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As `sha256sum` writes it: 64 hex digits, and perhaps the name of a file behind them.
    fn parse(line: &str) -> Option<Self> {
        let (hex, _file) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
        }
        // `from_str_radix` takes a sign.
        (!hex.contains('+')).then_some(Self(bytes))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// Where a caller's digests are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// One a line; blank lines and lines that begin with `#` are none. Read again when it changes. A
    /// file of comments alone shuts its caller out; one of nothing at all may be half written.
    File(PathBuf),
    /// By value, from an embedding program.
    Digests(Vec<KeyDigest>),
}

impl KeySource {
    /// The digests as they are now.
    ///
    /// # Errors
    /// When the file cannot be read, holds nothing, or a line that is no digest.
    pub fn read(&self) -> Result<Vec<KeyDigest>, BadKeyFile> {
        let path = match self {
            Self::Digests(digests) => return Ok(digests.clone()),
            Self::File(path) => path,
        };
        let fault = |cause| BadKeyFile { path: path.clone(), cause };
        let text = fs::read_to_string(path).map_err(|error| fault(Cause::Io(error.kind())))?;
        let (mut digests, mut is_commented) = (Vec::new(), false);
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            is_commented |= line.starts_with('#');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            digests.push(KeyDigest::parse(line).ok_or_else(|| fault(Cause::Line(index + 1)))?);
        }
        if digests.is_empty() && !is_commented { Err(fault(Cause::Empty)) } else { Ok(digests) }
    }

    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Digests(_) => None,
        }
    }
}

/// A file of digests that cannot be used. Never repeats what stands there: it may be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct BadKeyFile {
    path: PathBuf,
    cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Cause {
    #[error("cannot be read: {0}")]
    Io(io::ErrorKind),
    #[error("line {0} is not the SHA-256 of a key in hex (64 digits)")]
    Line(usize),
    #[error("is empty (a line `# nobody` would shut the caller out)")]
    Empty,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08";

    fn read(content: &str) -> Result<Vec<KeyDigest>, BadKeyFile> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        KeySource::File(file.path().to_owned()).read()
    }

    #[test]
    fn a_file_holds_one_digest_a_line_as_sha256sum_writes_it() {
        let lower = HEX.to_lowercase();
        let digests = read(&format!("# of the old key\n\n{HEX}\r\n  {lower}  -\n")).unwrap();
        assert_eq!(digests, [KeyDigest::of("test"), KeyDigest::of("test")]);
        assert!(digests[0].is(&KeyDigest::of("test")) && !digests[0].is(&KeyDigest::of("Test")));
    }

    #[test]
    fn a_file_of_comments_alone_holds_no_key() {
        assert_eq!(read("# nobody\n").unwrap(), []);
    }

    #[test]
    fn what_is_no_digest_is_told_by_its_line_and_never_repeated() {
        for (content, message) in [
            ("", "is empty"),
            (" \n\n", "is empty"),
            ("\ncanary\n", "line 2 is not the SHA-256"),
            (&format!("{HEX}0"), "line 1 is not"),
            (&HEX.replace('9', "g"), "line 1 is not"),
            (&format!("+f{}", &HEX[2..]), "line 1 is not"),
            (&format!("ü{}", &HEX[2..]), "line 1 is not"),
        ] {
            let fault = read(content).unwrap_err().to_string();
            assert!(fault.contains(message) && !fault.contains("canary"), "{content}: {fault}");
        }
        assert!(KeySource::File("/nowhere".into()).read().unwrap_err().to_string().contains("/nowhere"));
    }
}
