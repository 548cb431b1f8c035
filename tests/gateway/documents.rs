//! The documents agree with the code and with each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jwe_gateway::config::CallerConfig;

use crate::callers::caller;
use crate::certificates::{Authority, client};
use crate::harness::{TestGateway, eventually};

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The Markdown files of the root and of `docs/`.
fn documents() -> Vec<PathBuf> {
    let files = [root().to_owned(), root().join("docs")].into_iter().flat_map(|directory| {
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The cells of the rows below the line `header`.
pub(crate) fn table(text: &str, header: &str) -> Vec<Vec<String>> {
    let rows = text.lines().skip_while(|line| *line != header).skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let rows: Vec<_> = rows.map(cells).collect();
    assert!(!rows.is_empty(), "a table has the header {header}");
    rows
}

#[test]
fn every_link_to_a_file_or_a_heading_has_a_target() {
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link}", path.display());
            if !heading.is_empty() {
                let target = std::fs::read_to_string(&target).unwrap();
                assert!(anchors(&target).contains(heading), "{}: {link}", path.display());
            }
        }
    }
}

/// The anchors that GitHub makes of a document's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn the_changelog_has_the_form_of_keep_a_changelog() {
    const GROUPS: [&str; 6] = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    let changelog = document("CHANGELOG.md");
    let mut versions = changelog.split("\n## ");
    let head = versions.next().unwrap();
    assert!(head.starts_with("# Changelog\n") && head.contains("keepachangelog.com/en/1.1.0"), "{head}");
    for (index, version) in versions.enumerate() {
        let (title, text) = version.split_once('\n').unwrap();
        let is_dated = title.split_once("] - ").is_some_and(|(_, date)| date.parse::<jiff::civil::Date>().is_ok());
        assert!(if index == 0 { title == "[Unreleased]" } else { title.starts_with('[') && is_dated }, "{title}");
        let mut groups: Vec<usize> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix("### ") {
                Some(name) => {
                    groups.push(GROUPS.iter().position(|group| *group == name).unwrap_or_else(|| panic!("{line}")))
                }
                None => assert!(!groups.is_empty() && (line.starts_with("- ") || line.starts_with("  ")), "{line}"),
            }
        }
        assert!(!groups.is_empty() && groups.is_sorted_by(|earlier, later| earlier < later), "{title}: {groups:?}");
    }
}

#[test]
fn every_source_file_that_the_architecture_names_exists() {
    let rows = table(&document("ARCHITECTURE.md"), "| question | file |");
    let words = rows.iter().flat_map(|row| row[1].split('`').skip(1).step_by(2));
    let files: BTreeSet<&str> = words.filter(|word| word.contains('/') && word.ends_with(".rs")).collect();
    assert!(files.len() > 20, "the table names files");
    for file in files {
        assert!(root().join("src").join(file).exists() || root().join(file).exists(), "{file}");
    }
}

/// The type and the label names of each metric.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

#[tokio::test]
async fn the_documentation_lists_exactly_the_metrics_of_a_scrape_with_types_and_labels() {
    let authority = Authority::new();
    let gateway = TestGateway::spawn_with(|config| {
        config.gateway.callers = vec![caller("a"), CallerConfig { enforce: false, ..caller("b") }];
        authority.serve(config);
    })
    .await;
    gateway.ready().await;
    let caller = client(authority.caller(rustls::ALL_VERSIONS, &[b"http/1.1"], None));
    let refused = caller.get(format!("https://{}/", gateway.address)).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    drop(refused);
    eventually("a counted request", async || gateway.admin("/metrics").await.1.contains("caller_unknown")).await;
    let (_, text) = gateway.admin("/metrics").await;
    assert_eq!(documented_metrics(), scraped_metrics(&text));
    assert_eq!(documented_words("| phase | begins | ends |"), label_values(&text, "phase"));
    let reasons = documented_words("| reason | key set | token | meaning |");
    let fetches: String = text.lines().filter(|line| line.contains("_fetches_total{")).collect();
    assert_eq!(reasons, label_values(&fetches, "reason").into_iter().filter(|reason| !reason.is_empty()).collect());
}

/// The first cells of a table.
fn documented_words(header: &str) -> BTreeSet<String> {
    table(&document("docs/operations.md"), header).iter().map(|row| row[0].replace('`', "")).collect()
}

/// The values of a label in a scrape.
fn label_values(text: &str, label: &str) -> BTreeSet<String> {
    let start = format!("{label}=\"");
    let values = text.split(&start).skip(1).filter_map(|rest| rest.split('"').next());
    values.map(str::to_owned).collect()
}

fn documented_metrics() -> Metrics {
    const HEADER: &str = "| metric | type | labels | unit | meaning |";
    let text = document("docs/operations.md");
    let groups = text.match_indices(HEADER).map(|(at, _)| table(&text[at..], HEADER));
    let rows: Vec<_> = groups.flatten().collect();
    let metrics: Metrics =
        rows.iter().map(|row| (row[0].replace('`', ""), (row[1].clone(), label_names(&row[2])))).collect();
    assert_eq!(metrics.len(), rows.len(), "no metric is listed twice");
    metrics
}

/// The label names in a cell such as "`upstream`, `state` = `usable` or `rejected`".
fn label_names(cell: &str) -> BTreeSet<String> {
    let parts: Vec<&str> = cell.split('`').collect();
    let words = (1..parts.len()).step_by(2);
    let is_value = |at: &usize| {
        let (before, after) = (parts[at - 1].trim(), parts[at + 1].trim());
        before == "=" || before == "or" || after == "or"
    };
    words.filter(|at| !is_value(at)).map(|at| parts[at].to_owned()).collect()
}

fn scraped_metrics(text: &str) -> Metrics {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let metric = |(name, kind): (&str, &str)| {
        let sample = if kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
        let samples: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(sample.as_str()))
            .filter(|rest| rest.starts_with(['{', ' ']))
            .collect();
        assert!(!samples.is_empty(), "{name} has a sample");
        let labels =
            samples[0].strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(labels, _)| labels);
        let names = labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
        (name.to_owned(), (kind.to_owned(), names.collect()))
    };
    kinds.map(metric).collect()
}

#[test]
fn the_documentation_names_every_setting_of_the_example() {
    let documented = settings_of_document(&document("docs/configuration.md"));
    for setting in settings_of_example(&document("deploy/gateway.toml")) {
        assert!(documented.contains(&setting), "{setting:?} is not in docs/configuration.md");
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
    assert!(settings.len() > 40, "the example has settings");
    settings
}

/// Section and key of each row. The section is in the first row of its group only.
fn settings_of_document(text: &str) -> BTreeSet<(String, String)> {
    let mut section = String::new();
    let mut settings = BTreeSet::new();
    let rows = text.lines().skip_while(|line| !line.starts_with("| section |")).skip(2);
    for row in rows.take_while(|row| row.starts_with('|')) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        if let Some(name) = cells[1].strip_prefix('`') {
            section = name.trim_end_matches('`').to_owned();
        }
        settings.extend(cells[2].split(", ").map(|key| (section.clone(), key.trim_matches('`').to_owned())));
    }
    settings
}
