//! Faulty secrets and refused credentials: what requests get meanwhile, the log, and the text for `/readyz`.

use super::*;
use crate::static_credential::StaticCredential;
use crate::testing::log_lines;
use http::StatusCode;
use std::path::Path;
use tracing::Level;

/// Makes a secret file unusable, and the reason that the log must name.
type Case = (fn(&Path), &'static str);

/// Runs `work` on this thread. Returns the lines about credentials that it logs at info level or above.
fn logged(work: impl Future<Output = ()>) -> Vec<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lines = log_lines(Level::INFO, || runtime.block_on(work));
    lines.into_iter().filter(|line| line["target"].as_str().unwrap().contains("credentials")).collect()
}

fn levels(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["level"].as_str().unwrap()).collect()
}

/// Advances the clock in small steps until the gateway has made so many attempts that failed.
async fn until_failed(credentials: &Credentials, control: &ClockControl, attempts: u64) {
    until(async || {
        control.advance(SECOND / 10);
        credentials.counters().renewals.all_failures() >= attempts
    })
    .await;
}

/// Makes the secret file unusable after the first token.
async fn check_that_the_token_outlives(make_unusable: fn(&Path), reason: &str, path: &Path) {
    let correct = || {
        let _ = std::fs::remove_dir(path);
        std::fs::write(path, "right\n").unwrap();
    };
    correct();
    let endpoint = Endpoint::start([EndpointResponse::Grants(1000)]).await;
    let mut config = endpoint.config();
    config.client_secret = SecretSource::File(path.to_owned());
    let (credentials, control) = credentials(Config::ClientCredentials(config));
    tokio::spawn(credentials.clone().run_refresh());
    assert_eq!(usable(&credentials).await, "Bearer token-1");
    make_unusable(path);
    control.advance(750 * SECOND);
    until_failed(&credentials, &control, 4).await;
    assert_eq!(usable(&credentials).await, "Bearer token-1", "the cached token stays in use");
    assert_eq!(endpoint.posts().await, 1, "nothing is sent");
    let failure = credentials.snapshot().failure().unwrap();
    assert!(failure.contains(reason) && failure.contains(path.to_str().unwrap()), "{failure}");
    correct();
    // The clock advances only far enough for the next look at the file.
    control.advance(SECOND);
    until(async || credentials.counters().renewals.ok() == 2).await;
    assert_eq!(usable(&credentials).await, "Bearer token-2");
    assert_eq!(credentials.snapshot().failure(), None);
}

#[test]
fn an_unusable_secret_file_is_logged_once_and_used_at_once_when_it_is_right_again() {
    let cases: [Case; 3] = [
        (|path| std::fs::write(path, "").unwrap(), "it is empty"),
        (
            |path| {
                std::fs::remove_file(path).unwrap();
                std::fs::create_dir(path).unwrap();
            },
            "it is a directory, not a file",
        ),
        (|path| std::fs::write(path, "canary\nsecond\n").unwrap(), "it has more than one line"),
    ];
    for (make_unusable, reason) in cases {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let lines = logged(check_that_the_token_outlives(make_unusable, reason, &path));
        assert_eq!(levels(&lines), ["ERROR", "INFO", "INFO"], "{reason}: {lines:?}");
        let error = lines[0]["error"].as_str().unwrap();
        assert!(error.contains(reason) && error.contains(path.to_str().unwrap()), "{error}");
        assert_eq!((&lines[0]["upstream"], &lines[0]["has_token"]), (&json!("provider"), &json!(true)));
        assert_eq!(lines[1]["message"], "the secret has changed; the gateway tries it at once");
        assert_eq!(lines[2]["message"], "the credential is renewed again");
        assert_eq!(lines[2]["failed_since"], lines[0]["since"]);
        assert!(!format!("{lines:?}").contains("canary"));
    }
}

#[test]
fn refused_credentials_are_logged_when_the_refusal_begins_when_the_token_expires_and_when_it_ends() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "canary\n").unwrap();
    let lines = logged(async {
        let endpoint = Endpoint::start([EndpointResponse::Grants(1000), status(401)]).await;
        let mut config = endpoint.config();
        config.client_secret = SecretSource::File(file.path().to_owned());
        // The test moves the clock while a request is under way, so no request may time out.
        config.fetch_timeout = 100_000 * SECOND;
        let (credentials, control) = credentials(Config::ClientCredentials(config));
        tokio::spawn(credentials.clone().run_refresh());
        let _ = usable(&credentials).await;
        control.advance(750 * SECOND);
        until_failed(&credentials, &control, 3).await;
        let failure = credentials.snapshot().failure().unwrap();
        assert!(failure.contains(" since 20") && failure.contains("status 401"), "{failure}");
        assert!(failure.ends_with(&format!("; secret file {}", file.path().display())), "{failure}");
        control.advance(250 * SECOND);
        until_failed(&credentials, &control, 6).await;
        endpoint.now_responds(EndpointResponse::Grants(1000));
        until(async || {
            control.advance(SECOND);
            credentials.counters().renewals.ok() == 2
        })
        .await;
    });
    assert_eq!(levels(&lines), ["ERROR", "ERROR", "INFO"], "{lines:?}");
    for (line, has_token) in lines.iter().zip([true, false]) {
        assert_eq!(line["message"], "the token endpoint refuses the credentials");
        assert_eq!(line["secret_file"], file.path().to_str().unwrap());
        assert_eq!((&line["upstream"], &line["has_token"]), (&json!("provider"), &json!(has_token)));
        assert_eq!(line["since"], lines[0]["since"]);
    }
    assert_eq!(lines[2]["failed_since"], lines[0]["since"]);
}

#[test]
fn an_outage_of_the_token_endpoint_is_logged_once_at_warn_level_and_again_when_its_kind_changes() {
    let lines = logged(async {
        let endpoint = Endpoint::start([status(500)]).await;
        let (credentials, control) = endpoint.credentials();
        tokio::spawn(credentials.clone().run_refresh());
        until_failed(&credentials, &control, 3).await;
        endpoint.now_responds(status(401));
        until_failed(&credentials, &control, 5).await;
    });
    assert_eq!(levels(&lines), ["WARN", "ERROR"], "{lines:?}");
    assert_eq!(lines[0]["since"], lines[1]["since"], "the failure has not ended");
}

/// Credentials with the static secret in `path`.
fn fixed(path: &Path) -> (Credentials, ClockControl) {
    let (header, secret) = (http::HeaderName::from_static("x-api-key"), SecretSource::File(path.to_owned()));
    credentials(Config::Static(StaticCredential { header, prefix: String::new(), secret }))
}

#[test]
fn an_egress_that_does_not_know_the_credential_is_logged_once_and_once_more_when_it_does() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "canary-one").unwrap();
    let lines = logged(async {
        let (credentials, control) = fixed(file.path());
        let one = credentials.current().await.unwrap();
        for _ in 0..20 {
            assert!(credentials.replacement_for(&one, Refuser::Egress).await.is_err());
            // Another replica of the egress knows it: the refusal has not ended.
            credentials.note_accepted(&one, StatusCode::OK);
        }
        let failure = credentials.snapshot().failure().unwrap();
        assert!(failure.starts_with("the egress does not know the credential since 20"), "{failure}");
        assert!(failure.ends_with(&format!("; secret file {}", file.path().display())), "{failure}");
        control.advance(10 * SECOND);
        credentials.note_accepted(&one, StatusCode::OK);
        assert_eq!(credentials.snapshot().failure(), None);
        // A changed file ends the next refusal at once.
        assert!(credentials.replacement_for(&one, Refuser::Egress).await.is_err());
        std::fs::write(file.path(), "canary-two").unwrap();
        let two = credentials.replacement_for(&one, Refuser::Egress).await.unwrap().unwrap();
        credentials.note_accepted(&two, StatusCode::OK);
        assert_eq!(credentials.snapshot().failure(), None);
    });
    assert_eq!(levels(&lines), ["ERROR", "INFO", "ERROR", "INFO"], "{lines:?}");
    assert_eq!(lines[0]["message"], "the egress does not know the credential");
    assert_eq!(lines[0]["secret_file"], file.path().to_str().unwrap());
    assert_eq!(lines[1]["refused_since"], lines[0]["since"]);
    assert!(!format!("{lines:?}").contains("canary"));
}

#[test]
fn a_static_credential_that_the_provider_has_never_accepted_is_logged_once_if_it_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "one").unwrap();
    let lines = logged(async {
        let (credentials, control) = fixed(file.path());
        let one = credentials.current().await.unwrap();
        for _ in 0..5 {
            assert!(credentials.replacement_for(&one, Refuser::Provider).await.unwrap().is_none());
        }
        control.advance(10 * SECOND);
        credentials.note_accepted(&one, StatusCode::OK);
        // From now on, a refusal concerns the request.
        assert!(credentials.replacement_for(&one, Refuser::Provider).await.unwrap().is_none());
    });
    assert_eq!(levels(&lines), ["ERROR", "INFO"], "{lines:?}");
    assert_eq!(lines[0]["message"], "the provider refuses the static credential");
}
