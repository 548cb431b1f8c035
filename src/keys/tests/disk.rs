//! Keys from a file, and the last-known-good file.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use super::super::fixtures::{TestProvider, document, jwk, keys, publishes, refresh, until};
use super::super::{Config, FetchErrorKind, NoUsableKey, Source};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_file_is_read_again_and_a_half_written_one_replaces_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    fs::write(&path, document(&[jwk("1", 1)])).unwrap();
    let (keys, control) = keys(Config::new(Source::File(path.clone())));
    tokio::spawn(keys.clone().run_refresh());
    assert_eq!(keys.current().await.unwrap().kid(), Some("1"));
    fs::write(&path, &document(&[jwk("2", 2)])[..40]).unwrap();
    control.advance(10 * SECOND);
    until(async || keys.counters().fetches.all_failures() == 1).await;
    assert_eq!(keys.current().await.unwrap().kid(), Some("1"));
    fs::write(&path, document(&[jwk("2", 2)])).unwrap();
    control.advance(SECOND);
    until(async || keys.counters().fetches.ok() == 2).await;
    assert_eq!(keys.current().await.unwrap().kid(), Some("2"));
}

#[tokio::test]
async fn a_missing_file_and_a_file_that_is_too_long_are_failures() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let (keys, _control) = keys(Config::new(Source::File(path.clone())));
    let missing = keys.refresh().await.unwrap_err();
    assert_eq!(missing.kind, FetchErrorKind::File(std::io::ErrorKind::NotFound));
    assert_eq!(missing.to_string(), format!("{}: cannot be read: no such file", path.display()));
    fs::write(&path, vec![b' '; 2 * 1024 * 1024]).unwrap();
    assert_eq!(refresh(&keys).await, Err(FetchErrorKind::TooLarge));
    assert!(matches!(keys.snapshot().usable, Err(NoUsableKey::NeverFetched { last_error: Some(_) })));
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// A configuration with this last-known-good file.
fn with_last_known_good(provider: &TestProvider, path: &Path) -> Config {
    let mut config = provider.config();
    config.last_known_good = Some(path.to_owned());
    config
}

#[tokio::test]
async fn the_last_good_set_is_used_after_a_restart_during_an_outage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("last-good.json");
    let both = publishes(&[1, 2], 300);
    let provider = TestProvider::start([publishes(&[1], 300), both, ResponseTemplate::new(503)]).await;
    let (before, _control) = keys(with_last_known_good(&provider, &path));
    before.refresh().await.unwrap();
    before.refresh().await.unwrap();
    assert_eq!(before.current().await.unwrap().kid(), Some("2"));
    until(async || read(&path).is_some_and(|file| file["keys"].as_array().unwrap().len() == 2)).await;
    assert_eq!(read(&path).unwrap()["keys"][0]["kid"], "2");

    let (after, control) = keys(with_last_known_good(&provider, &path));
    assert_eq!(after.current().await.unwrap().kid(), Some("2"));
    assert_eq!(after.counters().fetches.ok(), 0, "the key is from the file");
    assert!(after.snapshot().age.unwrap() < 60 * SECOND);
    tokio::spawn(after.clone().run_refresh());
    until(async || after.counters().fetches.all_failures() == 1).await;
    provider.now_responds(publishes(&[1, 2, 3], 300));
    control.advance(SECOND);
    until(async || after.counters().fetches.ok() == 1).await;
    assert_eq!(after.current().await.unwrap().kid(), Some("3"));
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_file_and_it_is_replaced_atomically() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("last-good.json");
    fs::write(&path, "old content").unwrap();
    let provider = TestProvider::start([publishes(&[1], 300)]).await;
    let (keys, _control) = keys(with_last_known_good(&provider, &path));
    keys.refresh().await.unwrap();
    until(async || read(&path).is_some()).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_fails_no_request() {
    let provider = TestProvider::start([publishes(&[1], 300)]).await;
    let (keys, _control) = keys(with_last_known_good(&provider, Path::new("/nowhere/last-good.json")));
    assert_eq!(keys.current().await.unwrap().kid(), Some("1"));
}

/// Runs `work` on a runtime whose only thread for file access hangs until `work` drops the sender.
fn while_file_access_hangs<F: Future<Output = ()>>(work: impl FnOnce(mpsc::Sender<()>) -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.max_blocking_threads(1).enable_all().build().unwrap();
    let (release, hung) = mpsc::channel::<()>();
    runtime.spawn_blocking(move || hung.recv());
    runtime.block_on(work(release));
}

#[test]
fn a_read_of_the_last_good_set_that_hangs_does_not_stop_the_fetches() {
    while_file_access_hangs(|release| async move {
        let provider = TestProvider::start([publishes(&[1], 300)]).await;
        let (keys, _control) = keys(with_last_known_good(&provider, Path::new("/nowhere/last-good.json")));
        tokio::spawn(keys.clone().run_refresh());
        until(async || keys.counters().fetches.ok() == 1).await;
        assert_eq!(keys.current().await.unwrap().kid(), Some("1"));
        drop(release);
    });
}

#[test]
fn a_write_that_hangs_is_followed_by_one_write_of_the_newest_set() {
    while_file_access_hangs(|release| async move {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("last-good.json");
        let provider = TestProvider::start((1..=20).map(|seed| publishes(&[seed], 300))).await;
        let (keys, _control) = keys(with_last_known_good(&provider, &path));
        keys.refresh().await.unwrap();
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let tasks_of_one_fetch = tasks();
        for _ in 2..=20 {
            keys.refresh().await.unwrap();
        }
        assert!(tasks() < tasks_of_one_fetch + 10, "{} tasks instead of {tasks_of_one_fetch}", tasks());
        drop(release);
        until(async || read(&path).is_some_and(|file| file["keys"][0]["kid"] == "20")).await;
    });
}

/// The key that a gateway uses with this file while its provider is down.
async fn key_from(content: impl FnOnce(&TestProvider) -> Value) -> Result<Option<String>, NoUsableKey> {
    key_from_file_with_mode(0o600, content).await
}

/// The same for a file with this mode.
async fn key_from_file_with_mode(
    mode: u32,
    content: impl FnOnce(&TestProvider) -> Value,
) -> Result<Option<String>, NoUsableKey> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("last-good.json");
    let provider = TestProvider::start([ResponseTemplate::new(503)]).await;
    fs::write(&path, content(&provider).to_string()).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    let mut config = with_last_known_good(&provider, &path);
    config.first_key_wait = Duration::ZERO;
    let (keys, _control) = keys(config);
    // With a wait of zero, `current` alone would not read the file.
    keys.restore().await;
    keys.current().await.map(|key| key.kid().map(str::to_owned))
}

fn seconds_ago(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() - seconds
}

fn file(provider: &TestProvider, age: i64, keys: Value) -> Value {
    json!({ "source": provider.url().as_str(), "fetched_at": seconds_ago(age), "lifetime_seconds": 300, "keys": keys })
}

#[tokio::test]
async fn the_age_of_the_set_counts_across_the_restart() {
    let day = 24 * 3600;
    let within = key_from(|provider| file(provider, day, json!([jwk("1", 1)]))).await;
    assert_eq!(within, Ok(Some("1".into())));
    let beyond = key_from(|provider| file(provider, day + 301, json!([jwk("1", 1)]))).await;
    assert!(matches!(beyond, Err(NoUsableKey::Expired { .. })));
    let corrected = key_from(|provider| file(provider, -30, json!([jwk("1", 1)]))).await;
    assert_eq!(corrected, Ok(Some("1".into())), "a clock that was corrected by some seconds");
}

#[tokio::test]
async fn a_set_that_was_fetched_in_the_future_is_not_used() {
    for ahead in [3600, i64::from(u32::MAX)] {
        let future = key_from(|provider| file(provider, -ahead, json!([jwk("1", 1)]))).await;
        assert!(matches!(future, Err(NoUsableKey::NeverFetched { .. })), "{ahead} s ahead: {future:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_other_users_can_write_is_not_used() {
    for mode in [0o660, 0o606, 0o666] {
        let refused = key_from_file_with_mode(mode, |provider| file(provider, 0, json!([jwk("1", 1)]))).await;
        assert!(matches!(refused, Err(NoUsableKey::NeverFetched { .. })), "{mode:o}: {refused:?}");
    }
    let others_read = key_from_file_with_mode(0o644, |provider| file(provider, 0, json!([jwk("1", 1)]))).await;
    assert_eq!(others_read, Ok(Some("1".into())));
}

#[tokio::test]
async fn a_set_from_the_file_is_checked_like_a_fetched_one() {
    let mut signing = jwk("1", 1);
    signing["use"] = "sig".into();
    let same_kid = json!([jwk("1", 1), jwk("1", 2)]);
    for keys in [json!([]), json!([null]), json!([signing]), same_kid] {
        let result = key_from(|provider| file(provider, 0, keys.clone())).await;
        assert!(matches!(result, Err(NoUsableKey::NeverFetched { .. })), "{keys}");
    }
    assert!(key_from(|_| json!("not ours")).await.is_err());
    assert!(key_from(|provider| json!({ "source": provider.url().as_str(), "keys": [jwk("1", 1)] })).await.is_err());
}

#[tokio::test]
async fn the_keys_of_another_source_are_not_used() {
    let other = |provider: &TestProvider| {
        let mut file = file(provider, 0, json!([jwk("1", 1)]));
        file["source"] = "https://other.example/.well-known/jwks.json".into();
        file
    };
    assert!(matches!(key_from(other).await, Err(NoUsableKey::NeverFetched { .. })));
}
