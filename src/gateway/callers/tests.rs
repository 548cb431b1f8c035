use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};

use super::*;
use crate::clock::ClockControl;
use crate::testing::HungFile;

fn with_key(name: &str, key: &str) -> Config {
    Config { keys: Some(KeySource::Digests(vec![KeyDigest::of(key)])), ..Config::new(name) }
}

fn callers(configs: Vec<Config>) -> Callers {
    Callers::new(configs, TokenKey::random().unwrap(), Clock::system(), None).unwrap()
}

fn manual(config: Config) -> (Caller, Callers, ClockControl) {
    let (clock, control) = Clock::manual();
    let callers = Callers::new(vec![config], TokenKey::random().unwrap(), clock, None).unwrap();
    let caller = callers.identify(&authorization("Bearer key"), &Peer::default()).unwrap().unwrap();
    (caller, callers, control)
}

fn request<'a>(method: &'a Method, path: &'a str) -> CallerRequest<'a> {
    CallerRequest { method, path, request_id: "id" }
}

fn authorization(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))])
}

fn name_of(callers: &Callers, headers: &HeaderMap, peer: &Peer) -> Option<String> {
    callers.identify(headers, peer).ok().map(|caller| caller.unwrap().name().to_string())
}

#[test]
fn without_callers_any_request_is_served_and_with_callers_only_authenticated_ones() {
    let no_headers = HeaderMap::new();
    assert!(callers(Vec::new()).identify(&no_headers, &Peer::default()).unwrap().is_none());
    let callers = callers(vec![with_key("a", "key-a"), with_key("b", "key-b")]);
    let name = |value| name_of(&callers, &authorization(value), &Peer::default());
    assert_eq!(name("Bearer key-a").as_deref(), Some("a"));
    assert_eq!(name("bearer  key-b ").as_deref(), Some("b"));
    for value in ["Bearer key-c", "Bearer ", "Bearer", "Basic key-a", "key-a", "Bearer key-a, Bearer key-a"] {
        assert_eq!(name(value), None, "{value}");
    }
    let mut twice = authorization("Bearer key-a");
    twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer key-a"));
    assert_eq!(name_of(&callers, &twice, &Peer::default()), None);
    assert_eq!(name_of(&callers, &no_headers, &Peer::default()), None);
}

#[test]
fn a_certificate_authenticates_its_caller_unless_there_is_an_authorization_field() {
    let by_certificate = Config { certificate: Some("spiffe://x/a".into()), ..Config::new("a") };
    let callers = callers(vec![by_certificate, with_key("b", "key-b")]);
    let peer = Peer::certified(vec!["other.test".into(), "spiffe://x/a".into()]);
    assert_eq!(name_of(&callers, &HeaderMap::new(), &peer).as_deref(), Some("a"));
    assert_eq!(name_of(&callers, &authorization("Bearer key-b"), &peer).as_deref(), Some("b"));
    assert_eq!(name_of(&callers, &authorization("Bearer wrong"), &peer), None);
    assert_eq!(name_of(&callers, &HeaderMap::new(), &Peer::certified(vec!["SPIFFE://x/a".into()])), None);
}

#[tokio::test]
async fn a_token_authenticates_its_caller_until_its_key_is_removed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |hex: &str| std::fs::write(file.path(), hex).unwrap();
    // The digests of "one" and of "two".
    let one = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    let two = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3";
    write(one);
    let a = Config { keys: Some(KeySource::File(file.path().to_owned())), ..Config::new("a") };
    let callers = callers(vec![a, with_key("b", "three")]);
    for (name, key) in [("a", "three"), ("b", "one"), ("c", "one"), ("a", "")] {
        assert!(callers.token(name, key).is_err(), "{name} {key}");
    }
    let (caller, token) = callers.token("a", "one").unwrap();
    assert_eq!(&**caller.name(), "a");
    let credential = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    let headers = HeaderMap::from_iter([(AUTHORIZATION, credential)]);
    assert_eq!(name_of(&callers, &headers, &Peer::default()).as_deref(), Some("a"));

    // A second key is added, then the first is removed.
    let key_file = callers.0.callers[0].keys.file().unwrap();
    write(&format!("{one}\n{two}\n"));
    watched_files::poll(&callers.0.key_files()).await;
    assert_eq!(key_file.reloads(), 1);
    assert!(name_of(&callers, &headers, &Peer::default()).is_some());
    assert!(callers.token("a", "two").is_ok());
    write(two);
    watched_files::poll(&callers.0.key_files()).await;
    assert_eq!(name_of(&callers, &headers, &Peer::default()), None);
    watched_files::poll(&callers.0.key_files()).await;
    assert_eq!((key_file.reloads(), key_file.failed_polls()), (2, 0));
}

#[tokio::test]
async fn an_unusable_key_file_leaves_the_last_good_keys_in_use() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed").unwrap();
    let a = Config { keys: Some(KeySource::File(file.path().to_owned())), ..Config::new("a") };
    let callers = callers(vec![a]);
    std::fs::write(file.path(), "7692c3ad3540").unwrap();
    watched_files::poll(&callers.0.key_files()).await;
    assert_eq!(name_of(&callers, &authorization("Bearer one"), &Peer::default()).as_deref(), Some("a"));
    assert_eq!(callers.snapshot()[0].reloads_failed, 1);
    std::fs::write(file.path(), "").unwrap();
    watched_files::poll(&callers.0.key_files()).await;
    assert_eq!(callers.snapshot()[0].reloads_failed, 2);
    watched_files::poll(&callers.0.key_files()).await;
    assert_eq!(callers.snapshot()[0].reloads_failed, 3, "each failed read counts");
    assert!(name_of(&callers, &authorization("Bearer one"), &Peer::default()).is_some());
}

#[tokio::test]
async fn a_key_file_with_only_comments_locks_out_the_caller_and_its_tokens() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), KeyDigest::of("one").hex()).unwrap();
    let a = Config { keys: Some(KeySource::File(file.path().to_owned())), ..Config::new("a") };
    let callers = callers(vec![a]);
    let (_, token) = callers.token("a", "one").unwrap();
    std::fs::write(file.path(), "# left the company\n").unwrap();
    watched_files::poll(&callers.0.key_files()).await;
    for presented in ["one", &token] {
        let field = HeaderValue::try_from(format!("Bearer {presented}")).unwrap();
        assert_eq!(name_of(&callers, &HeaderMap::from_iter([(AUTHORIZATION, field)]), &Peer::default()), None);
    }
}

#[tokio::test]
async fn a_reloaded_key_of_another_caller_is_refused_until_that_caller_gives_it_up() {
    let files = [tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap()];
    let write = |index: usize, key: &str| std::fs::write(files[index].path(), KeyDigest::of(key).hex()).unwrap();
    let config = |index: usize, name: &str| {
        write(index, name);
        Config { keys: Some(KeySource::File(files[index].path().to_owned())), ..Config::new(name) }
    };
    let callers = callers(vec![config(0, "a"), config(1, "b")]);
    let poll = async |index: usize| watched_files::poll(&callers.0.key_files()[index..=index]).await;
    let owner = |key: &'static str| name_of(&callers, &authorization(key), &Peer::default());
    write(0, "b");
    poll(0).await;
    assert_eq!((owner("Bearer a").as_deref(), owner("Bearer b").as_deref()), (Some("a"), Some("b")));
    write(1, "c");
    poll(1).await;
    poll(0).await;
    assert_eq!((owner("Bearer b").as_deref(), owner("Bearer c").as_deref()), (Some("a"), Some("b")));
    assert_eq!(owner("Bearer a"), None);
}

#[tokio::test]
async fn a_key_that_moves_to_an_earlier_caller_has_its_new_owner_after_one_poll_without_an_error() {
    let files = [tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap()];
    let write = |index: usize, key: &str| std::fs::write(files[index].path(), KeyDigest::of(key).hex()).unwrap();
    let config = |index: usize, name: &str| {
        write(index, name);
        Config { keys: Some(KeySource::File(files[index].path().to_owned())), ..Config::new(name) }
    };
    let (clock, control) = Clock::manual();
    let configs = vec![config(0, "a"), config(1, "b")];
    let callers = Callers::new(configs, TokenKey::random().unwrap(), clock, None).unwrap();
    let refresh = tokio::spawn(callers.clone().run_refresh());
    tokio::task::yield_now().await;
    write(0, "b");
    write(1, "c");
    control.advance(watched_files::POLL_INTERVAL);
    let owner = |key: &'static str| name_of(&callers, &authorization(key), &Peer::default());
    let moved = async {
        while owner("Bearer c").is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), moved).await.unwrap();
    assert_eq!((owner("Bearer b").as_deref(), owner("Bearer c").as_deref()), (Some("a"), Some("b")));
    assert_eq!(callers.snapshot().iter().map(|caller| caller.reloads_failed).sum::<u64>(), 0);
    refresh.abort();
}

#[tokio::test]
async fn a_key_file_that_hangs_does_not_stop_the_reload_of_other_key_files() {
    let (hung, file) = (HungFile::new(), tempfile::NamedTempFile::new().unwrap());
    hung.replace(&KeyDigest::of("one").hex());
    std::fs::write(file.path(), KeyDigest::of("two").hex()).unwrap();
    let with_file = |name: &str, path: &std::path::Path| Config {
        keys: Some(KeySource::File(path.to_owned())),
        ..Config::new(name)
    };
    let (clock, control) = Clock::manual();
    let configs = vec![with_file("a", hung.path()), with_file("b", file.path())];
    let callers = Callers::new(configs, TokenKey::random().unwrap(), clock, None).unwrap();
    let refresh = tokio::spawn(callers.clone().run_refresh());
    hung.hang();
    std::fs::write(file.path(), KeyDigest::of("three").hex()).unwrap();
    let reload = async {
        while name_of(&callers, &authorization("Bearer three"), &Peer::default()).is_none() {
            control.advance(watched_files::POLL_INTERVAL);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reload).await.unwrap();
    let owner = name_of(&callers, &authorization("Bearer one"), &Peer::default());
    assert_eq!(owner.as_deref(), Some("a"), "the last good keys of the other caller stay in use");
    refresh.abort();
}

#[tokio::test]
async fn changed_key_files_are_loaded_when_the_clock_says_so() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed").unwrap();
    let a = Config { keys: Some(KeySource::File(file.path().to_owned())), ..Config::new("a") };
    let (clock, control) = Clock::manual();
    let callers = Callers::new(vec![a], TokenKey::random().unwrap(), clock, None).unwrap();
    let refresh = tokio::spawn(callers.clone().run_refresh());
    std::fs::write(file.path(), "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3").unwrap();
    let reload = async {
        while name_of(&callers, &authorization("Bearer two"), &Peer::default()).is_none() {
            control.advance(watched_files::POLL_INTERVAL);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reload).await.unwrap();
    assert_eq!(name_of(&callers, &authorization("Bearer one"), &Peer::default()), None);
    refresh.abort();
}

#[test]
fn two_callers_with_the_same_key_are_refused() {
    let configs = vec![with_key("a", "key"), with_key("b", "key")];
    let fault = Callers::new(configs, TokenKey::random().unwrap(), Clock::system(), None).unwrap_err();
    assert_eq!(fault.to_string(), "callers a and b have a key in common");
}

#[test]
fn a_caller_gets_its_rate_and_its_permits_and_no_more() {
    let config = Config { requests_per_second: Some(2), concurrent: Some(3), ..with_key("a", "key") };
    let (caller, callers, control) = manual(config);
    let admit = || caller.admit(&request(&Method::GET, "/"));
    let first = admit().unwrap();
    let _second = admit().unwrap();
    let wait = Duration::from_millis(500);
    assert_eq!(admit().unwrap_err(), Denied::TooFast { retry_after: wait });
    control.advance(wait);
    let _third = admit().unwrap();
    control.advance(wait);
    assert_eq!(admit().unwrap_err(), Denied::TooMany);
    drop(first);
    control.advance(wait);
    assert!(admit().is_ok());
    let snapshot = &callers.snapshot()[0];
    assert_eq!((snapshot.too_fast, snapshot.too_many, snapshot.forbidden), (1, 1, 0));
}

#[test]
fn with_enforce_off_violations_are_counted_and_pass() {
    let allow = Some(vec!["GET /v0/*".parse().unwrap()]);
    let config = Config { allow, enforce: false, concurrent: Some(0), ..with_key("a", "key") };
    let (caller, callers, _control) = manual(config.clone());
    assert!(caller.admit(&request(&Method::POST, "/v0/x")).is_ok());
    assert!(caller.admit(&request(&Method::GET, "/v0/x")).is_ok());
    let snapshot = &callers.snapshot()[0];
    assert_eq!((snapshot.enforced, snapshot.forbidden, snapshot.too_many), (false, 1, 2), "each reason has a counter");
    let (caller, _callers, _control) = manual(Config { enforce: true, ..config });
    assert_eq!(caller.admit(&request(&Method::POST, "/v0/x")).unwrap_err(), Denied::Forbidden);
}
