//! The scheduled refresh, its failures, and the keys that are used meanwhile.

use std::time::Duration;

use wiremock::ResponseTemplate;

use super::super::fixtures::{TestProvider, keys, last_error, publishes, until};
use super::super::{FetchErrorKind, NoUsableKey};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_set_is_refreshed_before_its_lifetime_ends_without_traffic() {
    let provider = TestProvider::start([publishes(&[1], 100), publishes(&[1, 2], 100)]).await;
    let (keys, control) = provider.keys();
    tokio::spawn(keys.clone().run_refresh());
    until(async || keys.counters().fetches.ok() == 1).await;
    assert_eq!(keys.current().await.unwrap().kid(), Some("1"));
    control.advance(74 * SECOND);
    tokio::task::yield_now().await;
    assert_eq!(provider.fetches().await, 1);
    control.advance(11 * SECOND);
    until(async || keys.counters().fetches.ok() == 2).await;
    assert_eq!(keys.current().await.unwrap().kid(), Some("2"));
    assert_eq!(provider.fetches().await, 2);
}

#[tokio::test]
async fn the_second_fetch_is_conditional_and_304_confirms_the_set() {
    let first = publishes(&[1], 100).insert_header("etag", "\"one\"");
    let provider = TestProvider::start([first, ResponseTemplate::new(304)]).await;
    let (keys, control) = provider.keys();
    keys.refresh().await.unwrap();
    control.advance(90 * SECOND);
    keys.refresh().await.unwrap();
    let requests = provider.requests().await;
    assert!(!requests[0].headers.contains_key("if-none-match"));
    assert_eq!(requests[1].headers["if-none-match"], "\"one\"");
    let snapshot = keys.snapshot();
    assert_eq!(snapshot.age, Some(Duration::ZERO));
    assert_eq!(snapshot.lifetime_left, Some(100 * SECOND));
    assert_eq!(keys.counters().changes(), 1);
    assert_eq!(keys.current().await.unwrap().kid(), Some("1"));
    keys.refresh().await.unwrap();
    assert_eq!(provider.requests().await[2].headers["if-none-match"], "\"one\"");
}

#[tokio::test]
async fn while_refreshes_fail_the_last_good_set_is_used_until_it_expires() {
    let provider = TestProvider::start([publishes(&[1], 300), ResponseTemplate::new(500)]).await;
    let (keys, control) = provider.keys();
    tokio::spawn(keys.clone().run_refresh());
    until(async || keys.counters().fetches.ok() == 1).await;
    control.advance(300 * SECOND);
    until(async || keys.counters().fetches.all_failures() == 1).await;
    let stale = keys.snapshot();
    assert_eq!(stale.lifetime_left, Some(Duration::ZERO));
    assert_eq!(last_error(&keys), Some(FetchErrorKind::Status(500)));
    assert_eq!(keys.current().await.unwrap().kid(), Some("1"));
    control.advance(24 * 3600 * SECOND - SECOND);
    assert_eq!(keys.current().await.unwrap().kid(), Some("1"));
    control.advance(SECOND);
    let refused = keys.current().await.unwrap_err();
    assert!(matches!(refused, NoUsableKey::Expired { age, .. } if age == (24 * 3600 + 300) * SECOND), "{refused}");
    assert_eq!(keys.snapshot().usable, Err(refused));
}

#[tokio::test]
async fn a_provider_that_starts_later_is_found_without_a_restart() {
    let provider = TestProvider::start([ResponseTemplate::new(503)]).await;
    let (keys, control) = provider.keys();
    tokio::spawn(keys.clone().run_refresh());
    until(async || keys.counters().fetches.all_failures() == 1).await;
    assert!(matches!(keys.snapshot().usable, Err(NoUsableKey::NeverFetched { last_error: Some(_) })));
    assert_eq!(last_error(&keys), Some(FetchErrorKind::Busy { status: 503, retry_after: None }));
    let reason = keys.snapshot().usable.unwrap_err().to_string();
    assert!(reason.contains(&format!("{}: status 503", provider.url())), "{reason}");
    let waiting = tokio::spawn({
        let keys = keys.clone();
        async move { keys.current().await }
    });
    provider.now_responds(publishes(&[1], 300));
    control.advance(SECOND);
    assert_eq!(waiting.await.unwrap().unwrap().kid(), Some("1"));
}

#[tokio::test]
async fn the_waits_after_failures_grow_to_half_a_minute() {
    let provider = TestProvider::start([ResponseTemplate::new(500)]).await;
    let (keys, control) = provider.keys();
    tokio::spawn(keys.clone().run_refresh());
    let mut seconds = 0;
    let mut waits = Vec::new();
    for failure in 1..=9 {
        until(async || {
            let done = keys.counters().fetches.all_failures() == failure;
            if !done {
                control.advance(SECOND / 10);
                seconds += 1;
            }
            done
        })
        .await;
        waits.push(seconds);
        seconds = 0;
    }
    // In tenths of a second. The clock also moved while each fetch was under way.
    assert!(waits[1] >= 5 && waits[8] >= 150, "{waits:?}");
    assert_eq!(provider.fetches().await, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_first_requests_cause_one_fetch() {
    let provider = TestProvider::start([publishes(&[1], 300).set_delay(SECOND / 10)]).await;
    let (keys, _control) = provider.keys();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let keys = keys.clone();
        requests.spawn(async move { keys.current().await });
    }
    for key in requests.join_all().await {
        assert_eq!(key.unwrap().kid(), Some("1"));
    }
    assert_eq!(provider.fetches().await, 1);
}

#[tokio::test]
async fn a_thousand_first_requests_to_a_failing_provider_cause_a_few_fetches() {
    let provider = TestProvider::start([ResponseTemplate::new(500)]).await;
    let (keys, control) = provider.keys();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let keys = keys.clone();
        requests.spawn(async move { keys.current().await });
    }
    until(async || {
        control.advance(SECOND / 10);
        tokio::task::yield_now().await;
        while requests.try_join_next().is_some_and(|result| result.unwrap().is_err()) {}
        requests.is_empty()
    })
    .await;
    // The first at 0 s, the others after waits of 0.5..1, 1..2 and 2..4 s, within five seconds.
    assert!((2..=4).contains(&provider.fetches().await), "{}", provider.fetches().await);
}

#[tokio::test]
async fn a_request_after_a_long_outage_is_served_one_second_after_the_last_failure() {
    let provider = TestProvider::start([ResponseTemplate::new(500)]).await;
    let (keys, control) = provider.keys();
    while keys.counters().fetches.all_failures() < 8 {
        control.advance(30 * SECOND);
        let _ = keys.refresh().await;
    }
    provider.now_responds(publishes(&[1], 300));
    let waiting = tokio::spawn({
        let keys = keys.clone();
        async move { keys.current().await }
    });
    tokio::task::yield_now().await;
    assert_eq!(provider.fetches().await, 8, "at most one fetch per second");
    control.advance(SECOND);
    assert_eq!(waiting.await.unwrap().unwrap().kid(), Some("1"));
}

#[tokio::test]
async fn a_busy_provider_is_not_asked_again_before_the_end_of_its_retry_after() {
    let busy = ResponseTemplate::new(503).insert_header("retry-after", "20");
    let provider = TestProvider::start([busy, publishes(&[1], 300)]).await;
    let (keys, control) = provider.keys();
    tokio::spawn(keys.clone().run_refresh());
    until(async || keys.counters().fetches.all_failures() == 1).await;
    // Requests that find no key do not shorten the wait.
    for _ in 0..19 {
        control.advance(SECOND);
        let keys = keys.clone();
        tokio::spawn(async move { keys.current().await });
        tokio::task::yield_now().await;
    }
    assert_eq!(provider.fetches().await, 1);
    control.advance(3 * SECOND);
    until(async || keys.counters().fetches.ok() == 1).await;
    assert_eq!(keys.current().await.unwrap().kid(), Some("1"));
}

#[tokio::test]
async fn a_request_that_finds_an_expired_set_starts_a_fetch() {
    let provider = TestProvider::start([publishes(&[1], 300), ResponseTemplate::new(500)]).await;
    let (keys, control) = provider.keys();
    keys.refresh().await.unwrap();
    let refresh = tokio::spawn(keys.clone().run_refresh());
    while keys.counters().fetches.all_failures() < 8 {
        control.advance(24 * 3600 * SECOND);
        let _ = keys.refresh().await;
    }
    assert!(matches!(keys.current().await, Err(NoUsableKey::Expired { .. })));
    provider.now_responds(publishes(&[2], 300));
    control.advance(SECOND);
    until(async || keys.current().await.is_ok_and(|key| key.kid() == Some("2"))).await;
    refresh.abort();
}

#[tokio::test]
async fn a_request_waits_for_the_first_key_up_to_first_key_wait() {
    let provider = TestProvider::start([publishes(&[1], 300).set_delay(60 * SECOND)]).await;
    let mut config = provider.config();
    config.fetch_timeout = 30 * SECOND;
    let (keys, control) = keys(config);
    let waiting = tokio::spawn({
        let keys = keys.clone();
        async move { keys.current().await }
    });
    until(async || provider.fetches().await == 1).await;
    control.advance(5 * SECOND);
    assert_eq!(waiting.await.unwrap(), Err(NoUsableKey::NeverFetched { last_error: None }));
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_end_the_fetch_of_the_others() {
    let provider = TestProvider::start([publishes(&[1], 300).set_delay(SECOND / 5)]).await;
    let (keys, _control) = provider.keys();
    let first = tokio::spawn({
        let keys = keys.clone();
        async move { keys.current().await }
    });
    until(async || provider.fetches().await == 1).await;
    let second = tokio::spawn({
        let keys = keys.clone();
        async move { keys.current().await }
    });
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(second.await.unwrap().unwrap().kid(), Some("1"));
    assert_eq!(provider.fetches().await, 1);
}

#[tokio::test]
async fn a_withdrawn_key_is_gone_after_the_next_refresh() {
    let provider = TestProvider::start([publishes(&[1, 2], 300), publishes(&[2], 300)]).await;
    let (keys, _control) = provider.keys();
    keys.refresh().await.unwrap();
    assert_eq!(keys.current().await.unwrap().kid(), Some("1"));
    keys.refresh().await.unwrap();
    assert_eq!(keys.current().await.unwrap().kid(), Some("2"));
    assert_eq!(keys.snapshot().entries.len(), 1);
}

#[tokio::test]
async fn pins_that_match_no_key_are_reported_without_a_wait() {
    let provider = TestProvider::start([publishes(&[1, 2], 300)]).await;
    let mut config = provider.config();
    config.pin = vec!["3".into()];
    let (keys, _control) = keys(config);
    assert_eq!(keys.current().await, Err(NoUsableKey::PinsMatchNothing { published: 2 }));
    assert_eq!(keys.current().await, Err(NoUsableKey::PinsMatchNothing { published: 2 }));
    assert!(keys.snapshot().usable.unwrap_err().to_string().contains("pin"));
    assert_eq!(provider.fetches().await, 1);
}

#[tokio::test]
async fn a_refresh_that_shortens_the_lifetime_brings_the_schedule_forward() {
    let provider = TestProvider::start([publishes(&[1], 3600), publishes(&[1], 60)]).await;
    let (keys, control) = provider.keys();
    tokio::spawn(keys.clone().run_refresh());
    until(async || keys.counters().fetches.ok() == 1).await;
    keys.refresh().await.unwrap();
    let mut seconds = 0;
    until(async || {
        control.advance(SECOND);
        seconds += 1;
        tokio::task::yield_now().await;
        keys.counters().fetches.ok() >= 3
    })
    .await;
    // The clock also moved during the fetch. The schedule of the first set is at 2,700 s or later.
    assert!(seconds < 1000, "{seconds}");
}
