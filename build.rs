//! Passes facts about the build to `src/build_info.rs`: revision, target, features, versions of the cryptographic libraries.
//!
//! The revision comes from the first of these that is there: the variable `JWE_GATEWAY_REVISION`, `.cargo_vcs_info.json`
//! (in a package that `cargo package` made), `.git`. A build without optimisation does not read `.git`: each commit
//! would compile the crate again, and such a build is not distributed.
//!
//! Rejected: a crate such as vergen, for three files; the command `git`, which a build image may lack, and which refuses
//! the directory of another user.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Used where a fact cannot be found.
const UNKNOWN: &str = "unknown";

#[allow(clippy::print_stdout, reason = "stdout is how a build script talks to Cargo")]
#[allow(clippy::disallowed_methods, reason = "the environment is how Cargo talks to a build script")]
fn main() -> Result<(), String> {
    let directory = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?);
    let is_optimised = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let given = env::var("JWE_GATEWAY_REVISION").ok().filter(|revision| !revision.is_empty());
    let Revision { text, sources } = match given {
        Some(text) => Revision { text: checked(text)?, sources: Vec::new() },
        None => revision(&directory, is_optimised),
    };
    let lock = fs::read_to_string(directory.join("Cargo.lock")).unwrap_or_default();
    let features: Vec<String> = env::vars().filter_map(|(name, _)| feature(&name)).collect();

    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rerun-if-env-changed=JWE_GATEWAY_REVISION");
    sources.iter().for_each(|source| println!("cargo:rerun-if-changed={}", source.display()));
    println!("cargo:rustc-env=JWE_GATEWAY_REVISION={text}");
    println!("cargo:rustc-env=JWE_GATEWAY_TARGET={}", env::var("TARGET").unwrap_or_else(|_| UNKNOWN.to_owned()));
    println!("cargo:rustc-env=JWE_GATEWAY_FEATURES={}", sorted(features).join(","));
    for (variable, package) in [
        ("RUSTLS", "rustls"),
        ("AWS_LC_RS", "aws-lc-rs"),
        ("AWS_LC_SYS", "aws-lc-sys"),
        ("AWS_LC_FIPS_SYS", "aws-lc-fips-sys"),
        ("JOSEKIT", "josekit"),
        ("OPENSSL_SRC", "openssl-src"),
    ] {
        println!("cargo:rustc-env=JWE_GATEWAY_{variable}={}", locked_version(&lock, package));
    }
    Ok(())
}

/// A revision, and the files that change when it changes.
pub(crate) struct Revision {
    pub(crate) text: String,
    pub(crate) sources: Vec<PathBuf>,
}

/// The revision of the source in `directory`. `.git` is read only if `may_read_git`.
pub(crate) fn revision(directory: &Path, may_read_git: bool) -> Revision {
    let package_info = directory.join(".cargo_vcs_info.json");
    if let Ok(text) = fs::read_to_string(&package_info) {
        // {"git": {"sha1": "..."}, "path_in_vcs": ""}
        let sha1 = text.split("\"sha1\"").nth(1).and_then(|rest| rest.split('"').nth(1));
        let text = sha1.filter(|sha1| is_revision(sha1)).unwrap_or(UNKNOWN).to_owned();
        return Revision { text, sources: vec![package_info] };
    }
    let from_git = if may_read_git { revision_of_git(&directory.join(".git")) } else { None };
    from_git.unwrap_or_else(|| Revision { text: UNKNOWN.to_owned(), sources: Vec::new() })
}

/// The commit that `HEAD` means. `dot_git` is a directory, or in a work tree a file that names one.
fn revision_of_git(dot_git: &Path) -> Option<Revision> {
    let own = match fs::read_to_string(dot_git) {
        Ok(text) => dot_git.parent()?.join(text.strip_prefix("gitdir: ")?.trim_end()),
        Err(_) => dot_git.to_owned(),
    };
    // The branches of a work tree are in the directory that all work trees share.
    let shared = match fs::read_to_string(own.join("commondir")) {
        Ok(path) => own.join(path.trim_end()),
        Err(_) => own.clone(),
    };
    let head = own.join("HEAD");
    let text = fs::read_to_string(&head).ok()?;
    let Some(branch) = text.strip_prefix("ref: ").map(str::trim_end) else {
        let text = text.trim_end().to_owned();
        return is_revision(&text).then(|| Revision { text, sources: vec![head] });
    };
    let (loose, packed) = (shared.join(branch), shared.join("packed-refs"));
    let (text, sources) = match fs::read_to_string(&loose) {
        Ok(text) => (text.trim_end().to_owned(), vec![head, loose]),
        Err(_) => {
            let refs = fs::read_to_string(&packed).ok()?;
            let line = refs.lines().find(|line| line.split(' ').nth(1) == Some(branch))?;
            // The next commit makes a file below `refs`.
            (line.split(' ').next()?.to_owned(), vec![head, packed, shared.join("refs")])
        }
    };
    is_revision(&text).then_some(Revision { text, sources })
}

/// Whether the text is a full commit id: SHA-1 or SHA-256 in hex.
fn is_revision(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The value of the variable, if it fits into one line of output and one metric label.
pub(crate) fn checked(revision: String) -> Result<String, String> {
    let is_plain = revision.len() <= 64 && revision.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b));
    let fault = || format!("JWE_GATEWAY_REVISION={revision:?}: use at most 64 letters, digits, '.', '_', '-' and '+'");
    if is_plain { Ok(revision) } else { Err(fault()) }
}

/// The feature that Cargo reports in this variable. `default` is not one of its own.
pub(crate) fn feature(variable: &str) -> Option<String> {
    let name = variable.strip_prefix("CARGO_FEATURE_")?.to_lowercase().replace('_', "-");
    (name != "default").then_some(name)
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// The version of a package in `Cargo.lock`. If this crate is a library of another program, that program's lock file may
/// differ, and Cargo does not show it to a build script.
pub(crate) fn locked_version<'l>(lock: &'l str, package: &str) -> &'l str {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name).skip(1);
    let version = lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.unwrap_or(UNKNOWN)
}
