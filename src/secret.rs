//! Secrets, and where they are read from.
//!
//! A [`Secret`] has no `Display` and no `Serialize`. Its `Debug` prints a placeholder, and its memory is wiped when it is
//! dropped. No command-line flag takes a secret, because every process listing would show it. A flag takes the path of
//! a file instead.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error_chain::io_cause;
use crate::file_read;

/// A secret text: a client secret, an API key, an access token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text. The program should keep no other copy.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the code that sends it.
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

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file. It is read each time the secret is needed, so a rotated secret needs no restart.
    File(PathBuf),
    /// The secret itself, from the environment or from an embedding program.
    Value(Secret),
}

impl SecretSource {
    /// Reads the secret. One line break at the end is removed, because editors and `echo` add one.
    ///
    /// # Errors
    /// If the file cannot be read, is not UTF-8, or is empty.
    pub fn read(&self) -> Result<Secret, UnreadableSecret> {
        let path = match self {
            Self::Value(secret) => return Ok(secret.clone()),
            Self::File(path) => path,
        };
        parse(path, file_read::read_whole_blocking(path))
    }

    /// Reads a secret that must be one line, such as a client secret. A second line is more often a mistake of the
    /// program that wrote the file than a part of the secret.
    ///
    /// # Errors
    /// The same as for [`read`](Self::read), and if the secret contains a line break.
    pub fn read_line(&self) -> Result<Secret, UnreadableSecret> {
        self.read().and_then(|secret| self.check_line(secret))
    }

    /// Reads the secret within [`file_read::TIMEOUT`]: a mounted file may be on a network.
    ///
    /// # Errors
    /// The same as for [`read`](Self::read), and if the read takes longer.
    pub async fn read_async(&self) -> Result<Secret, UnreadableSecret> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => parse(path, file_read::read_whole(path).await),
        }
    }

    /// The same for a secret that must be one line.
    ///
    /// # Errors
    /// The same as for [`read_line`](Self::read_line), and if the read takes longer.
    pub async fn read_line_async(&self) -> Result<Secret, UnreadableSecret> {
        self.read_async().await.and_then(|secret| self.check_line(secret))
    }

    fn check_line(&self, secret: Secret) -> Result<Secret, UnreadableSecret> {
        if secret.expose().contains(['\n', '\r']) {
            return Err(UnreadableSecret { path: self.file().map(Path::to_owned), cause: Cause::SeveralLines });
        }
        Ok(secret)
    }

    /// The file. `None` if the secret was given by value.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Value(_) => None,
        }
    }

    /// Whether users other than the owner and the group can read the file.
    #[must_use]
    pub fn is_world_readable(&self) -> bool {
        match self {
            Self::File(path) => world_readable(path),
            Self::Value(_) => false,
        }
    }
}

/// A secret that cannot be used. The text has the path and the reason, never the content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secret{}: {cause}", path.as_ref().map(|path| format!(" file {}", path.display())).unwrap_or_default())]
pub struct UnreadableSecret {
    /// `None` if the secret was given by value.
    path: Option<PathBuf>,
    cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Cause {
    #[error("{}", io_cause(*.0))]
    Io(io::ErrorKind),
    #[error("it is not UTF-8 text")]
    NotText,
    #[error("it is empty")]
    Empty,
    #[error("it has more than one line; a secret is one line")]
    SeveralLines,
}

fn parse(path: &Path, content: io::Result<Zeroizing<Vec<u8>>>) -> Result<Secret, UnreadableSecret> {
    let fault = |cause| UnreadableSecret { path: Some(path.to_owned()), cause };
    let bytes = content.map_err(|error| fault(Cause::Io(error.kind())))?;
    match std::str::from_utf8(&bytes).map(trim_one_line_break) {
        Ok("") => Err(fault(Cause::Empty)),
        Ok(text) => Ok(Secret::new(text.to_owned())),
        Err(_) => Err(fault(Cause::NotText)),
    }
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
    fn one_line_break_at_the_end_is_removed() {
        assert_eq!(read(b"s3cret\n").unwrap().expose(), "s3cret");
        assert_eq!(read(b"s3cret\r\n").unwrap().expose(), "s3cret");
        assert_eq!(read(b"s3cret\n\n").unwrap().expose(), "s3cret\n");
        assert_eq!(read(b" s3cret ").unwrap().expose(), " s3cret ");
    }

    #[test]
    fn the_error_for_an_empty_binary_or_missing_file_names_only_the_file() {
        assert!(read(b"\n").unwrap_err().to_string().ends_with("empty"));
        let binary = read(b"canary\xff").unwrap_err();
        assert!(!format!("{binary} {binary:?}").contains("canary"));
        let missing = SecretSource::File("/nowhere/secret".into()).read().unwrap_err();
        assert_eq!(missing.to_string(), "secret file /nowhere/secret: no such file");
    }

    #[test]
    fn a_secret_of_more_than_one_line_is_refused_where_one_line_is_expected() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = SecretSource::File(file.path().to_owned());
        for several in ["canary\nsecond\n", "canary\r\nsecond", "canary\n\n", "\ncanary"] {
            std::fs::write(file.path(), several).unwrap();
            let error = source.read_line().unwrap_err();
            assert!(error.to_string().starts_with(&format!("secret file {}: ", file.path().display())), "{error}");
            assert!(error.to_string().contains("more than one line"), "{error}");
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
        std::fs::write(file.path(), "canary\r\n").unwrap();
        assert_eq!(source.read_line().unwrap().expose(), "canary");
        let value = SecretSource::Value(Secret::new("canary\nsecond".into()));
        assert_eq!(
            value.read_line().unwrap_err().to_string(),
            "secret: it has more than one line; a secret is one line"
        );
    }

    #[test]
    fn no_format_prints_a_secret() {
        let source = SecretSource::Value(Secret::new("canary".into()));
        assert!(!format!("{source:?} {source:#?}").contains("canary"));
    }
}
