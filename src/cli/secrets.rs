//! Writes the sandbox's secrets to files, with the names that the examples in `deploy/` use.
//!
//! The secrets are valid only for this run of the sandbox. The files also contain keys for callers of a
//! gateway. A directory with other files is not touched: a real secret could have one of these names.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use uuid::Uuid;

use crate::gateway::callers::KeyDigest;
use crate::sandbox::Sandbox;

/// A file that marks a directory as written by a sandbox.
const MARK: &str = "MADE-UP";

/// The callers' keys of the examples.
const CALLERS: [&str; 2] = ["sidecar_key", "portfolio_key"];

/// Writes all files, readable only by their owner.
pub(super) fn write(sandbox: &Sandbox, directory: &Path) -> io::Result<()> {
    make(directory)?;
    let file = |name: &str, content: &str| write_private(&directory.join(name), content);
    file(MARK, "Written by a sandbox; the next one overwrites it. These secrets are not real.\n")?;
    let flinks = sandbox.flinks();
    file("client_secret", sandbox.client_secret())?;
    file("flinks_client_secret", flinks.client_secret.expose())?;
    file("flinks_bearer", flinks.bearer.expose())?;
    file("flinks_api_key", flinks.api_key.expose())?;
    file("flinks_auth_key", flinks.auth_key.expose())?;
    for name in CALLERS {
        let key = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        file(name, &key)?;
        file(&format!("{name}.sha256"), &format!("{}\n", KeyDigest::of(&key).hex()))?;
    }
    Ok(())
}

fn make(directory: &Path) -> io::Result<()> {
    match fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            Some(_) if !directory.join(MARK).exists() => Err(io::Error::other("holds files that no sandbox wrote")),
            _ => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(directory),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn create(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(not(unix))]
fn create(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

fn write_private(path: &Path, content: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(content.as_bytes())
}
