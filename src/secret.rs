//! Secrets, and the files they are read from.
//!
//! A [`Secret`] has no `Display` and no `Serialize`, its `Debug` prints a placeholder, and its
//! memory is wiped when it is dropped. No flag takes a secret, because every process listing would show
//! it: a flag takes the path of a file that holds the secret.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, Zeroizing};

use crate::error_chain::io_cause;

/// A secret text: a client secret, an API key, an access token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text. The caller should keep no copy.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Returns the text, for the code that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The source of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Read again each time it is needed, so that a rotated secret needs no restart.
    File(PathBuf),
    /// Given by value, from the environment or by an embedding program.
    Value(Secret),
}

impl SecretSource {
    /// Returns the current secret, without one trailing line break: editors and `echo` add one.
    ///
    /// # Errors
    /// When the file cannot be read, is not UTF-8, or holds nothing.
    pub fn read(&self) -> Result<Secret, UnreadableSecret> {
        let path = match self {
            Self::Value(secret) => return Ok(secret.clone()),
            Self::File(path) => path,
        };
        let fault = |cause| UnreadableSecret { path: path.clone(), cause };
        let mut bytes = std::fs::read(path).map_err(|error| fault(Cause::Io(error.kind())))?;
        let text = std::str::from_utf8(&bytes).map(trim_one_line_break).map(str::to_owned);
        bytes.zeroize();
        match text {
            Ok(text) if text.is_empty() => Err(fault(Cause::Empty)),
            Ok(text) => Ok(Secret::new(text)),
            Err(_) => Err(fault(Cause::NotText)),
        }
    }

    /// Reads the secret on another thread, because a file on a network may block the runtime's threads.
    ///
    /// # Errors
    /// As [`read`](Self::read), and if the runtime shuts down meanwhile.
    pub async fn read_aside(&self) -> Result<Secret, UnreadableSecret> {
        let path = match self {
            Self::Value(secret) => return Ok(secret.clone()),
            Self::File(path) => path.clone(),
        };
        let source = self.clone();
        let read = tokio::task::spawn_blocking(move || source.read()).await;
        read.unwrap_or_else(|_| Err(UnreadableSecret { path, cause: Cause::Io(io::ErrorKind::Interrupted) }))
    }

    /// Whether every user can read the file, which deserves a warning.
    #[must_use]
    pub fn is_world_readable(&self) -> bool {
        match self {
            Self::File(path) => world_readable(path),
            Self::Value(_) => false,
        }
    }
}

/// A secret file that holds no secret. Carries the path and the reason, never the content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secret file {}: {cause}", path.display())]
pub struct UnreadableSecret {
    path: PathBuf,
    cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Cause {
    #[error("{}", io_cause(*.0))]
    Io(io::ErrorKind),
    #[error("not UTF-8")]
    NotText,
    #[error("empty")]
    Empty,
}

fn trim_one_line_break(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

#[cfg(unix)]
fn world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn world_readable(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Result<Secret, UnreadableSecret> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        SecretSource::File(file.path().to_owned()).read()
    }

    #[test]
    fn one_trailing_line_break_is_not_part_of_the_secret() {
        assert_eq!(read(b"s3cret\n").unwrap().expose(), "s3cret");
        assert_eq!(read(b"s3cret\r\n").unwrap().expose(), "s3cret");
        assert_eq!(read(b"s3cret\n\n").unwrap().expose(), "s3cret\n");
        assert_eq!(read(b" s3cret ").unwrap().expose(), " s3cret ");
    }

    #[test]
    fn an_empty_or_binary_or_missing_file_is_an_error_that_names_the_file_only() {
        assert!(read(b"\n").unwrap_err().to_string().ends_with("empty"));
        let binary = read(b"canary\xff").unwrap_err();
        assert!(!format!("{binary} {binary:?}").contains("canary"));
        let missing = SecretSource::File("/nowhere/secret".into()).read().unwrap_err();
        assert_eq!(missing.to_string(), "secret file /nowhere/secret: no such file");
    }

    #[test]
    fn no_formatting_shows_a_secret() {
        let source = SecretSource::Value(Secret::new("canary".into()));
        assert!(!format!("{source:?} {source:#?}").contains("canary"));
    }
}
