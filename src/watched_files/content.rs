//! The content of files, and the comparison of contents.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, Digest, SHA256};
use zeroize::Zeroizing;

use crate::error_chain::io_cause;
use crate::file_read;

/// The files of a [`Loader`](super::Loader), as they were at one moment.
pub(crate) struct FileContents(pub(super) Vec<Result<FileContent, UnreadableFile>>);

impl FileContents {
    pub(super) fn read(paths: Vec<&Path>) -> Self {
        Self(paths.into_iter().map(FileContent::read).collect())
    }

    /// The content of the file at `path`, which must be one of the loader's [`files`](super::Loader::files).
    ///
    /// # Errors
    /// If the file could not be read.
    pub(crate) fn of(&self, path: &Path) -> Result<&FileContent, UnreadableFile> {
        let found = self.0.iter().find(|read| match read {
            Ok(content) => content.path == path,
            Err(unreadable) => unreadable.path == path,
        });
        match found {
            Some(Ok(content)) => Ok(content),
            Some(Err(unreadable)) => Err(unreadable.clone()),
            None => Err(UnreadableFile { path: path.to_owned(), cause: io::ErrorKind::NotFound }),
        }
    }
}

/// A file, as it was at one moment. Its memory is wiped afterwards: it may hold a private key.
pub(crate) struct FileContent {
    path: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
}

impl FileContent {
    /// Reads the file. Blocks.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self, UnreadableFile> {
        Self::of(path, file_read::read_whole_blocking(path))
    }

    /// Reads the file within [`file_read::TIMEOUT`].
    ///
    /// # Errors
    /// If it cannot be read in that time.
    pub(super) async fn read_in_time(path: PathBuf) -> Result<Self, UnreadableFile> {
        Self::of(&path, file_read::read_whole(&path).await)
    }

    fn of(path: &Path, bytes: io::Result<Zeroizing<Vec<u8>>>) -> Result<Self, UnreadableFile> {
        match bytes {
            Ok(bytes) => Ok(Self { path: path.to_owned(), bytes }),
            Err(error) => Err(UnreadableFile { path: path.to_owned(), cause: error.kind() }),
        }
    }

    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileContent({})", self.path.display())
    }
}

/// A file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableFile {
    path: PathBuf,
    cause: io::ErrorKind,
}

impl UnreadableFile {
    pub(super) fn interrupted(path: PathBuf) -> Self {
        Self { path, cause: io::ErrorKind::Interrupted }
    }
}

impl std::error::Error for UnreadableFile {}

impl fmt::Display for UnreadableFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: cannot be read: {}", self.path.display(), io_cause(self.cause))
    }
}

/// Distinguishes one state of the files from another, and reveals nothing about a key in them.
#[derive(Clone)]
pub(super) struct Fingerprint(Digest);

impl Fingerprint {
    pub(super) fn of(contents: &FileContents) -> Self {
        /// Stands for the length of a file that cannot be read. No real file has so many bytes.
        const UNREADABLE: u64 = u64::MAX;
        let mut context = Context::new(&SHA256);
        for read in &contents.0 {
            // The length is hashed too, so that a byte that moves from one file to the next is a change.
            let bytes = read.as_ref().ok().map(FileContent::bytes);
            context.update(&bytes.map_or(UNREADABLE, |bytes| bytes.len() as u64).to_be_bytes());
            context.update(bytes.unwrap_or_default());
        }
        Self(context.finish())
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref() == other.0.as_ref()
    }
}

impl Eq for Fingerprint {}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_missing_file_is_reported_by_its_path() {
        let unreadable = FileContent::read(Path::new("/nowhere/key.pem")).unwrap_err();
        assert_eq!(unreadable.to_string(), "/nowhere/key.pem: cannot be read: no such file");
    }

    #[test]
    fn debug_output_does_not_contain_the_content() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "canary").unwrap();
        assert!(!format!("{:?}", FileContent::read(file.path()).unwrap()).contains("canary"));
    }
}
