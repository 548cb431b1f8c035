//! What the binary prints about itself: completions, manual pages, the schema of its configuration.

use std::collections::BTreeSet;
use std::process::Command;

use crate::documents::document;
use crate::process::run;

fn text(arguments: &[&str]) -> String {
    let output = run(arguments, b"");
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `help` lists.
fn commands() -> BTreeSet<String> {
    let help = text(&["help"]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap().lines();
    let names = list.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let names: BTreeSet<_> = names.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(names.len() > 10 && names.contains("run"), "{names:?}");
    names
}

#[test]
fn the_completions_of_each_shell_name_every_command_and_its_flags() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = text(&["completions", shell]);
        for expected in commands().iter().map(String::as_str).chain(["client-secret-file", "drain-delay"]) {
            assert!(script.contains(expected), "{shell}: {expected}");
        }
    }
    assert_eq!(run(&["completions", "tcsh"], b"").status.code(), Some(2));
}

#[test]
fn bash_completes_a_command_and_a_flag() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("completions");
    std::fs::write(&file, text(&["completions", "bash"])).unwrap();
    let complete = |words: &str, index: usize| {
        let script = format!(
            "source '{}'; COMP_WORDS=({words}); COMP_CWORD={index}; \
             _jwe__gateway jwe-gateway \"${{COMP_WORDS[{index}]}}\" \"${{COMP_WORDS[{index}-1]}}\"; echo \"${{COMPREPLY[*]}}\"",
            file.display()
        );
        let output = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("jwe-gateway doc", 1), "doctor");
    assert_eq!(complete("jwe-gateway run --max-b", 2), "--max-body");
}

#[test]
fn there_is_a_manual_page_for_the_program_and_for_each_command() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("man");
    assert_eq!(text(&["man", "--out", out.to_str().unwrap()]), "");
    let page = |name: &str| std::fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(page("jwe-gateway.1"), text(&["man"]));
    let mut expected = BTreeSet::from(["jwe-gateway.1".to_owned()]);
    expected.extend(commands().iter().filter(|name| *name != "help").map(|name| format!("jwe-gateway-{name}.1")));
    let written = out.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(written.collect::<BTreeSet<_>>(), expected);
    for name in &expected {
        let head = format!(".TH {} 1  \"jwe-gateway {}\"", name.trim_end_matches(".1"), env!("CARGO_PKG_VERSION"));
        assert!(page(name).contains(&head), "{name}");
    }
    let run_page = page("jwe-gateway-run.1");
    assert!(run_page.contains("max\\-body") && run_page.contains("JWE_GATEWAY_MAX_BODY"), "{run_page}");
}

#[test]
fn manual_pages_are_not_written_over_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = run(&["man", "--out", file.path().to_str().unwrap()], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--out "), "{output:?}");
}

#[test]
fn the_committed_schema_is_printed() {
    assert_eq!(text(&["schema"]), document("docs/gateway.schema.json"));
}
