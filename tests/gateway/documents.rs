//! What is written down holds.

use std::path::Path;

/// The repository's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

#[test]
fn every_file_the_readme_points_to_is_there() {
    let readme = readme();
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
        assert!(root().join(link).exists(), "{link}");
    }
}

#[test]
fn the_readme_names_every_setting_of_the_example() {
    let readme = readme();
    let example = std::fs::read_to_string(root().join("deploy/gateway.toml")).unwrap();
    let keys = example.lines().filter_map(|line| {
        let (key, _) = line.trim_start_matches(['#', '!']).split_once(" = ")?;
        key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some(key)
    });
    for key in keys {
        assert!(readme.contains(&format!("`{key}`")), "{key} is not in the README's configuration table");
    }
}
