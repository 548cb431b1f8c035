//! The documents agree with the repository.

use std::collections::BTreeSet;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

#[test]
fn every_file_that_the_readme_links_to_exists() {
    let readme = readme();
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
        assert!(root().join(link).exists(), "{link}");
    }
}

#[test]
fn the_settings_table_names_every_setting_of_the_example() {
    let example = std::fs::read_to_string(root().join("deploy/gateway.toml")).unwrap();
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let documented = settings_of_table(&page);
    for setting in settings_of_example(&example) {
        assert!(documented.contains(&setting), "{setting:?} is not in the table of docs/configuration.md");
    }
}

/// Section and key of each setting, commented out or not.
fn settings_of_example(example: &str) -> BTreeSet<(String, String)> {
    let mut section = String::new();
    let mut settings = BTreeSet::new();
    for line in example.lines() {
        if let Some(written) = Some(line.trim_start_matches(['#', '!'])).filter(|line| line.starts_with('[')) {
            section = written.to_owned();
        } else if let Some((key, _)) = line.trim_start_matches(['#', '!']).split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            settings.insert((section.clone(), key.to_owned()));
        }
    }
    assert!(settings.len() > 40, "the example is read");
    settings
}

/// Section and key of each row of the settings table. A section's name is in the first of its rows.
fn settings_of_table(page: &str) -> BTreeSet<(String, String)> {
    let mut section = String::new();
    let mut settings = BTreeSet::new();
    let rows = page.lines().skip_while(|line| !line.starts_with("| section |")).skip(2);
    for row in rows.take_while(|row| row.starts_with('|')) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        if let Some(name) = cells[1].strip_prefix('`') {
            section = name.trim_end_matches('`').to_owned();
        }
        settings.extend(cells[2].split(", ").map(|key| (section.clone(), key.trim_matches('`').to_owned())));
    }
    settings
}
