//! The command `lint`.

use jwe_gateway::jose::FindingCode;
use jwe_gateway::sandbox::{Options, Rotation, Sandbox};
use serde_json::Value;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

use crate::documents::{document, table};
use crate::process::run;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_message_passes_until_its_key_is_withdrawn() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let (public, private) = (sandbox.jwks_url(), sandbox.management_url() + "/keys/private");
    let message = run(&["seal", "--keys", &public], br#"{"iban":"canary"}"#).stdout;
    let lint = |keys: &str, more: &[&str]| {
        let output = run(&[&["lint", "--keys", keys], more].concat(), &message);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = lint(&private, &[]);
    assert_eq!(code, Some(0));
    assert!(text.contains("nothing found") && text.contains("checked: form, header, key, tag"), "{text}");
    assert!(lint(&public, &[]).1.contains("the tag can only be checked with the private key"));

    let withdrawn = sandbox.kids()[0].clone();
    let kid = sandbox.rotate(Rotation::HardCut).await.unwrap();
    let (code, text) = lint(&private, &["--json"]);
    assert_eq!(code, Some(1));
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&found["ok"], &found["kid"]), (&false.into(), &withdrawn.clone().into()));
    assert_eq!(found["findings"][0]["code"], "kid_unknown");
    let sentence = found["findings"][0]["text"].as_str().unwrap();
    assert!(sentence.contains(&withdrawn) && sentence.contains(&kid), "{sentence}");
}

#[test]
fn a_file_with_plain_json_is_named_as_such_and_not_printed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"{"iban":"canary"}"#).unwrap();
    let output = run(&["lint", file.path().to_str().unwrap()], b"");
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.starts_with("plaintext: the message is not sealed"), "{printed}");
    assert!(printed.contains("the provider would refuse this message: 1 finding") && !printed.contains("canary"));
    assert_eq!(run(&["lint", "/nowhere"], b"").status.code(), Some(69));
    assert_eq!(run(&["lint", "--keys", "/nowhere"], b"").status.code(), Some(1));
    for wrong in ["[]", "7", r#"{"keys":{}}"#, "{"] {
        std::fs::write(file.path(), wrong).unwrap();
        let output = run(&["lint", "--keys", file.path().to_str().unwrap()], b"");
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && reason.contains("--keys: not "), "{wrong}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_set_or_a_message_that_is_too_long_is_refused_and_not_read_to_its_end() {
    let long = " ".repeat(1024 * 1024 + 1);
    let server = MockServer::start().await;
    Mock::given(matchers::any()).respond_with(ResponseTemplate::new(200).set_body_string(&long)).mount(&server).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &long).unwrap();
    let path = file.path().to_str().unwrap();
    let refused = |arguments: &[&str]| {
        let output = run(arguments, b"");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let reason = "jwe-gateway: --keys: the key set is longer than 1048576 bytes\n".to_owned();
    assert_eq!(refused(&["lint", "--keys", path]), (Some(1), reason.clone()));
    assert_eq!(refused(&["lint", "--keys", &server.uri()]), (Some(69), reason));
    file.as_file().set_len(64 * 1024 * 1024 + 1).unwrap();
    let reason = format!("jwe-gateway: {path}: messages are limited to 64 MiB\n");
    assert_eq!(refused(&["lint", path]), (Some(69), reason));
}

#[test]
fn the_documentation_lists_every_finding() {
    let rows = table(&document("docs/commands.md"), "| finding | meaning |");
    let documented: Vec<_> = rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let known: Vec<_> = FindingCode::ALL.iter().map(|code| (format!("`{code}`"), code.meaning().to_owned())).collect();
    assert_eq!(documented, known);
}
