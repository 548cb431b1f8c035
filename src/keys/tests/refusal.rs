//! Fetches after the provider has refused a message.

use std::time::Duration;

use tokio::task::JoinSet;
use wiremock::ResponseTemplate;

use super::super::fixtures::{TestProvider, key, keys, last_error, publishes, until};
use super::super::{Config, FetchErrorKind};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_hard_cut_during_a_thousand_requests_causes_one_fetch_and_all_get_the_new_key() {
    let provider = TestProvider::start([publishes(&[1], 3600), publishes(&[2], 3600).set_delay(SECOND / 10)]).await;
    let (keys, _control) = provider.keys();
    let used = keys.current().await.unwrap();
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        let (keys, used) = (keys.clone(), used.clone());
        requests.spawn(async move { keys.replacement_for(&used).await });
    }
    for newer in requests.join_all().await {
        assert_eq!(newer.unwrap().kid(), Some("2"));
    }
    assert_eq!(provider.fetches().await, 2);
    // A later refusal of the same key causes no fetch.
    assert_eq!(keys.replacement_for(&used).await.unwrap().kid(), Some("2"));
    assert_eq!(provider.fetches().await, 2);
}

#[tokio::test]
async fn a_key_that_is_still_published_is_not_replaced() {
    let provider = TestProvider::start([publishes(&[1], 300), publishes(&[1, 2], 300)]).await;
    let (keys, _control) = provider.keys();
    let used = keys.current().await.unwrap();
    assert_eq!(keys.replacement_for(&used).await, None);
    assert_eq!(provider.fetches().await, 2);
    assert_eq!(provider.requests().await[1].headers["cache-control"], "no-cache");
}

#[tokio::test]
async fn new_key_material_with_the_same_kid_is_another_key() {
    let provider = TestProvider::start([publishes(&[1], 300)]).await;
    let (keys, _control) = provider.keys();
    keys.refresh().await.unwrap();
    assert_eq!(keys.replacement_for(&key("1", 7)).await, Some(key("1", 1)));
}

#[tokio::test]
async fn refusals_cause_ten_fetches_at_once_and_then_ten_per_second() {
    let provider = TestProvider::start([publishes(&[1], 3600)]).await;
    let (keys, control) = provider.keys();
    let used = keys.current().await.unwrap();
    for _ in 0..10 {
        assert_eq!(keys.replacement_for(&used).await, None);
    }
    assert_eq!(provider.fetches().await, 11);
    provider.now_responds(publishes(&[2], 3600));
    let mut requests = JoinSet::new();
    for _ in 0..100 {
        let (keys, used) = (keys.clone(), used.clone());
        requests.spawn(async move { keys.replacement_for(&used).await });
    }
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
    assert_eq!(provider.fetches().await, 11);
    control.advance(SECOND / 10);
    for newer in requests.join_all().await {
        assert_eq!(newer.unwrap().kid(), Some("2"));
    }
    assert_eq!(provider.fetches().await, 12);
}

#[tokio::test]
async fn the_backoff_of_the_schedule_does_not_delay_a_fetch_after_a_refusal() {
    let provider = TestProvider::start([publishes(&[1], 30), ResponseTemplate::new(500)]).await;
    let (keys, control) = provider.keys();
    tokio::spawn(keys.clone().run_refresh());
    until(async || keys.snapshot().fetches_ok == 1).await;
    let used = keys.current().await.unwrap();
    control.advance(30 * SECOND);
    until(async || keys.snapshot().fetches_failed == 1).await;
    provider.now_responds(publishes(&[2], 30));
    // The clock stands still, within the backoff of the schedule.
    assert_eq!(keys.replacement_for(&used).await.unwrap().kid(), Some("2"));
}

#[tokio::test]
async fn a_failed_fetch_after_a_refusal_keeps_the_set_and_does_not_block_the_next_one() {
    let provider = TestProvider::start([publishes(&[1], 300), ResponseTemplate::new(500), publishes(&[2], 300)]).await;
    let (keys, _control) = provider.keys();
    let used = keys.current().await.unwrap();
    assert_eq!(keys.replacement_for(&used).await, None);
    assert_eq!(last_error(&keys), Some(FetchErrorKind::Status(500)));
    assert_eq!(keys.current().await.unwrap(), used);
    assert_eq!(keys.replacement_for(&used).await.unwrap().kid(), Some("2"));
}

#[tokio::test]
async fn a_failed_fetch_is_shared_by_all_refused_callers_that_wait_for_it() {
    let provider = TestProvider::start([publishes(&[1], 300), ResponseTemplate::new(500).set_delay(SECOND / 10)]).await;
    let (keys, _control) = provider.keys();
    let used = keys.current().await.unwrap();
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        let (keys, used) = (keys.clone(), used.clone());
        requests.spawn(async move { keys.replacement_for(&used).await });
    }
    assert!(requests.join_all().await.iter().all(Option::is_none));
    // One fetch that most joined, and one for the callers that came after its request had left.
    assert!(provider.fetches().await <= 3, "{}", provider.fetches().await);
}

#[tokio::test]
async fn a_response_that_may_predate_the_refusal_does_not_confirm_the_key() {
    let provider =
        TestProvider::start([publishes(&[1], 300), publishes(&[1], 300).set_delay(SECOND / 5), publishes(&[2], 300)])
            .await;
    let (keys, _control) = provider.keys();
    let used = keys.current().await.unwrap();
    let scheduled = tokio::spawn({
        let keys = keys.clone();
        async move { keys.refresh().await }
    });
    until(async || provider.fetches().await == 2).await;
    assert_eq!(keys.replacement_for(&used).await.unwrap().kid(), Some("2"));
    scheduled.await.unwrap().unwrap();
    assert_eq!(provider.fetches().await, 3);
}

#[tokio::test]
async fn a_scheduled_fetch_that_a_cache_may_have_answered_does_not_confirm_the_key() {
    let provider = TestProvider::start([publishes(&[1], 300), publishes(&[1], 300), publishes(&[2], 300)]).await;
    let (keys, _control) = provider.keys();
    let used = keys.current().await.unwrap();
    // Both calls join the same fetch. It is sent as a scheduled one, without `no-cache`.
    let (scheduled, newer) = tokio::join!(keys.refresh(), keys.replacement_for(&used));
    assert_eq!((scheduled, newer.unwrap().kid()), (Ok(()), Some("2")));
    let requests = provider.requests().await;
    let bypass_caches: Vec<_> = requests.iter().map(|request| request.headers.contains_key("cache-control")).collect();
    assert_eq!(bypass_caches, [false, false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_caller_waits_for_at_most_three_fetches_in_close_succession() {
    let provider = TestProvider::start([publishes(&[1], 3600), publishes(&[1], 3600).set_delay(SECOND / 20)]).await;
    let (keys, control) = keys(Config { fetch_timeout: 100_000 * SECOND, ..provider.config() });
    let used = keys.current().await.unwrap();
    // The clock moves fast, so the budget is never empty for long.
    let clock = tokio::spawn(async move {
        loop {
            control.advance(SECOND);
            tokio::time::sleep(SECOND / 200).await;
        }
    });
    let mut waited = JoinSet::new();
    for round in 1..=12 {
        for _ in 0..10 {
            let (keys, used) = (keys.clone(), used.clone());
            waited.spawn(async move {
                let fetches = || keys.snapshot().fetches_ok;
                let before = fetches();
                assert_eq!(keys.replacement_for(&used).await, None);
                fetches() - before
            });
        }
        until(async || provider.fetches().await > round).await;
    }
    // One fetch that was sent before the call, one that was sent after it, and one because a thread may run late.
    let waited = waited.join_all().await;
    assert!(waited.iter().all(|fetches| *fetches <= 3), "{waited:?}");
    assert!(provider.fetches().await <= 12 + 3, "{}", provider.fetches().await);
    clock.abort();
}

#[tokio::test]
async fn a_refused_caller_that_leaves_does_not_end_the_fetch_of_the_others() {
    let provider = TestProvider::start([publishes(&[1], 300), publishes(&[2], 300).set_delay(SECOND / 5)]).await;
    let (keys, _control) = provider.keys();
    let used = keys.current().await.unwrap();
    let request = || {
        let (keys, used) = (keys.clone(), used.clone());
        tokio::spawn(async move { keys.replacement_for(&used).await })
    };
    let first = request();
    until(async || provider.fetches().await == 2).await;
    let second = request();
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(second.await.unwrap().unwrap().kid(), Some("2"));
    assert_eq!(provider.fetches().await, 2);
}
