//! `build.rs` finds the revision wherever the source comes from, and `--version` prints it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::run;

#[expect(dead_code, reason = "Cargo runs the rest of the script")]
#[path = "../../build.rs"]
mod script;

use script::{checked, feature, locked_version, revision};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Returns the revision of a directory, and whether Cargo watches a file for it.
fn found(directory: &Path) -> (String, bool) {
    let revision = revision(directory, true);
    assert!(revision.sources.iter().all(|source| source.exists()), "{:?}", revision.sources);
    (revision.text, !revision.sources.is_empty())
}

#[test]
fn a_package_has_the_revision_that_cargo_wrote_into_it() {
    let directory = tempfile::tempdir().unwrap();
    let info = directory.path().join(".cargo_vcs_info.json");
    fs::write(&info, format!("{{\n  \"git\": {{\n    \"sha1\": \"{COMMIT}\"\n  }},\n  \"path_in_vcs\": \"\"\n}}"))
        .unwrap();
    assert_eq!(found(directory.path()), (COMMIT.to_owned(), true));
    fs::write(&info, "{}").unwrap();
    assert_eq!(found(directory.path()), ("unknown".to_owned(), true));
}

#[test]
fn a_clone_and_a_work_tree_have_the_revision_of_git() {
    let directory = tempfile::tempdir().unwrap();
    let clone = directory.path().join("clone");
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&clone).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    fs::create_dir(&clone).unwrap();
    git(&["init", "--quiet", "--initial-branch", "main"]);
    assert_eq!(found(&clone).0, "unknown", "there is no commit");
    let author = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
    git(&[&author[..], &["commit", "--quiet", "--allow-empty", "--message", "first"]].concat());
    let first = git(&["rev-parse", "HEAD"]);
    assert_eq!(found(&clone), (first.clone(), true), "a branch in a file of its own");
    git(&["pack-refs", "--all"]);
    assert_eq!(found(&clone), (first.clone(), true), "a branch among the packed ones");
    let tree = directory.path().join("tree");
    git(&["worktree", "add", "--quiet", "-b", "other", tree.to_str().unwrap()]);
    assert_eq!(found(&tree), (first.clone(), true), "a work tree");
    git(&["checkout", "--quiet", "--detach"]);
    assert_eq!(found(&clone), (first, true), "no branch");
    assert_eq!(revision(&clone, false).text, "unknown", "a build without optimisation");
}

#[test]
fn a_source_without_any_trace_of_its_revision_still_builds() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(found(directory.path()), ("unknown".to_owned(), false));
    fs::create_dir(directory.path().join(".git")).unwrap();
    assert_eq!(found(directory.path()), ("unknown".to_owned(), false));
}

#[test]
fn a_given_revision_must_fit_into_one_line() {
    assert_eq!(checked("v1.2.3-rc+4".to_owned()).unwrap(), "v1.2.3-rc+4");
    for wrong in ["a\ncargo:rustc-env=X=1", "a b", "a\"b", &"a".repeat(65)] {
        assert!(checked(wrong.to_owned()).unwrap_err().starts_with("JWE_GATEWAY_REVISION="), "{wrong}");
    }
}

#[test]
fn features_and_versions_are_read_as_cargo_writes_them() {
    assert_eq!(feature("CARGO_FEATURE_VENDORED_OPENSSL").as_deref(), Some("vendored-openssl"));
    assert_eq!((feature("CARGO_FEATURE_DEFAULT"), feature("CARGO_PKG_NAME")), (None, None));
    let lock =
        "[[package]]\nname = \"rustls-x\"\nversion = \"9\"\n\n[[package]]\nname = \"rustls\"\nversion = \"0.23.46\"\n";
    assert_eq!((locked_version(lock, "rustls"), locked_version(lock, "absent")), ("0.23.46", "unknown"));
}

#[test]
fn the_long_version_has_revision_features_and_libraries_and_the_short_one_is_one_line() {
    let printed = |flag: &str| String::from_utf8(run(&[flag], b"").stdout).unwrap();
    let short = concat!("jwe-gateway ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(printed("-V"), short);
    let long = printed("--version");
    assert!(long.starts_with(short), "{long}");
    let lock = fs::read_to_string(crate::documents::root().join("Cargo.lock")).unwrap();
    let facts = [
        ("revision", String::new()),
        ("target", std::env::consts::ARCH.to_owned()),
        ("features", "sandbox".to_owned()),
        ("aws-lc", format!("(aws-lc-rs {})", locked_version(&lock, "aws-lc-rs"))),
        ("rustls", locked_version(&lock, "rustls").to_owned()),
        ("openssl", format!("(josekit {};", locked_version(&lock, "josekit"))),
    ];
    for (name, expected) in facts {
        let line = long.lines().find(|line| line.split(' ').next() == Some(name));
        assert!(line.is_some_and(|line| line.contains(&expected) && line.len() > 10), "{name} {expected} in:\n{long}");
    }
}
