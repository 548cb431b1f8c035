use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};

use super::*;
use crate::clock::ClockControl;

fn with_key(name: &str, key: &str) -> Config {
    Config { keys: Some(KeySource::Digests(vec![KeyDigest::of(key)])), ..Config::new(name) }
}

fn callers(configs: Vec<Config>) -> Callers {
    Callers::new(configs, TokenKey::random().unwrap(), Clock::system()).unwrap()
}

fn manual(config: Config) -> (Caller, Callers, ClockControl) {
    let (clock, control) = Clock::manual();
    let callers = Callers::new(vec![config], TokenKey::random().unwrap(), clock).unwrap();
    let caller = callers.identify(&authorization("Bearer key"), &Peer::default()).unwrap().unwrap();
    (caller, callers, control)
}

fn asked<'a>(method: &'a Method, path: &'a str) -> CallerRequest<'a> {
    CallerRequest { method, path, request_id: "id" }
}

fn authorization(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))])
}

fn name_of(callers: &Callers, headers: &HeaderMap, peer: &Peer) -> Option<String> {
    callers.identify(headers, peer).ok().map(|caller| caller.unwrap().name().to_string())
}

#[test]
fn without_callers_everyone_is_served_and_with_callers_nobody_unknown() {
    let nobody = HeaderMap::new();
    assert!(callers(Vec::new()).identify(&nobody, &Peer::default()).unwrap().is_none());
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
    assert_eq!(name_of(&callers, &nobody, &Peer::default()), None);
}

#[test]
fn a_certificate_names_its_caller_unless_an_authorization_says_otherwise() {
    let by_certificate = Config { certificate: Some("spiffe://x/a".into()), ..Config::new("a") };
    let callers = callers(vec![by_certificate, with_key("b", "key-b")]);
    let peer = Peer::certified(vec!["other.test".into(), "spiffe://x/a".into()]);
    assert_eq!(name_of(&callers, &HeaderMap::new(), &peer).as_deref(), Some("a"));
    assert_eq!(name_of(&callers, &authorization("Bearer key-b"), &peer).as_deref(), Some("b"));
    assert_eq!(name_of(&callers, &authorization("Bearer wrong"), &peer), None);
    assert_eq!(name_of(&callers, &HeaderMap::new(), &Peer::certified(vec!["SPIFFE://x/a".into()])), None);
}

#[test]
fn a_token_of_ours_is_its_callers_and_ends_with_the_key() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |hex: &str| std::fs::write(file.path(), hex).unwrap();
    // Of "one" and of "two".
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

    // A second key is added, then the first taken away.
    let state = &callers.0.callers[0];
    write(&format!("{one}\n{two}\n"));
    assert_eq!(callers.0.reload(state), Ok(true));
    assert!(name_of(&callers, &headers, &Peer::default()).is_some());
    assert!(callers.token("a", "two").is_ok());
    write(two);
    assert_eq!(callers.0.reload(state), Ok(true));
    assert_eq!(name_of(&callers, &headers, &Peer::default()), None);
    assert_eq!(callers.0.reload(state), Ok(false));
}

#[test]
fn a_key_file_that_breaks_leaves_the_last_good_keys_in_force() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed").unwrap();
    let a = Config { keys: Some(KeySource::File(file.path().to_owned())), ..Config::new("a") };
    let callers = callers(vec![a]);
    std::fs::write(file.path(), "7692c3ad3540").unwrap();
    assert!(callers.0.reload(&callers.0.callers[0]).is_err());
    assert_eq!(name_of(&callers, &authorization("Bearer one"), &Peer::default()).as_deref(), Some("a"));
    assert_eq!(callers.snapshot()[0].reloads_failed, 1);
    std::fs::write(file.path(), "").unwrap();
    assert!(callers.0.reload(&callers.0.callers[0]).is_err());
    assert!(name_of(&callers, &authorization("Bearer one"), &Peer::default()).is_some());
}

#[test]
fn a_key_file_of_comments_shuts_its_caller_out_and_its_tokens_with_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), KeyDigest::of("one").hex()).unwrap();
    let a = Config { keys: Some(KeySource::File(file.path().to_owned())), ..Config::new("a") };
    let callers = callers(vec![a]);
    let (_, token) = callers.token("a", "one").unwrap();
    std::fs::write(file.path(), "# left the company\n").unwrap();
    assert_eq!(callers.0.reload(&callers.0.callers[0]), Ok(true));
    for presented in ["one", &token] {
        let line = HeaderValue::try_from(format!("Bearer {presented}")).unwrap();
        assert_eq!(name_of(&callers, &HeaderMap::from_iter([(AUTHORIZATION, line)]), &Peer::default()), None);
    }
}

#[tokio::test]
async fn changed_key_files_are_read_again_by_the_clock() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed").unwrap();
    let a = Config { keys: Some(KeySource::File(file.path().to_owned())), ..Config::new("a") };
    let (clock, control) = Clock::manual();
    let callers = Callers::new(vec![a], TokenKey::random().unwrap(), clock).unwrap();
    let keeper = tokio::spawn(callers.clone().run_refresh());
    std::fs::write(file.path(), "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3").unwrap();
    let read = async {
        while name_of(&callers, &authorization("Bearer two"), &Peer::default()).is_none() {
            control.advance(POLL);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap();
    assert_eq!(name_of(&callers, &authorization("Bearer one"), &Peer::default()), None);
    keeper.abort();
}

#[test]
fn two_callers_with_one_key_could_not_be_told_apart() {
    let configs = vec![with_key("a", "key"), with_key("b", "key")];
    let fault = Callers::new(configs, TokenKey::random().unwrap(), Clock::system()).unwrap_err();
    assert_eq!(fault.to_string(), "callers a and b have a key in common");
}

#[test]
fn a_caller_gets_its_rate_and_its_places_and_no_more() {
    let config = Config { requests_per_second: Some(2), concurrent: Some(3), ..with_key("a", "key") };
    let (caller, callers, control) = manual(config);
    let admit = || caller.admit(&asked(&Method::GET, "/"));
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
fn what_is_not_enforced_is_counted_and_let_through() {
    let allow = Some(vec!["GET /v0/*".parse().unwrap()]);
    let config = Config { allow, enforce: false, concurrent: Some(0), ..with_key("a", "key") };
    let (caller, callers, _hands) = manual(config.clone());
    assert!(caller.admit(&asked(&Method::POST, "/v0/x")).is_ok());
    assert!(caller.admit(&asked(&Method::GET, "/v0/x")).is_ok());
    let snapshot = &callers.snapshot()[0];
    assert_eq!((snapshot.enforced, snapshot.forbidden, snapshot.too_many), (false, 1, 2), "each reason by itself");
    let (caller, _callers, _hands) = manual(Config { enforce: true, ..config });
    assert_eq!(caller.admit(&asked(&Method::POST, "/v0/x")).unwrap_err(), Denied::Forbidden);
}
