//! Fetches after the provider has refused a message.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use wiremock::ResponseTemplate;

use super::super::fixtures::{TestProvider, key, last_error, publishes, until};
use super::super::{FetchErrorKind, KeyStatus, Keys};
use crate::jose::EncryptionKey;

const SECOND: Duration = Duration::from_secs(1);

fn newer(status: KeyStatus<Arc<EncryptionKey>>) -> Arc<EncryptionKey> {
    match status {
        KeyStatus::Replaced(key) => key,
        other => panic!("{other:?}"),
    }
}

/// A caller whose message the provider has refused.
fn refused(keys: &Keys, used: &Arc<EncryptionKey>) -> impl Future<Output = KeyStatus<Arc<EncryptionKey>>> + use<> {
    let (keys, used) = (keys.clone(), Arc::clone(used));
    async move { keys.replacement_for(&used).await }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hard_cut_during_a_thousand_requests_causes_one_fetch_and_all_get_the_new_key() {
    let provider = TestProvider::start([publishes(&[1], 3600), publishes(&[2], 3600).set_delay(SECOND / 10)]).await;
    let (keys, _control) = provider.keys();
    let used = keys.current().await.unwrap();
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        requests.spawn(refused(&keys, &used));
    }
    for status in requests.join_all().await {
        assert_eq!(newer(status).kid(), Some("2"));
    }
    assert_eq!(provider.fetches().await, 2);
    // A later refusal of the same key causes no fetch.
    assert_eq!(newer(keys.replacement_for(&used).await).kid(), Some("2"));
    assert_eq!(provider.fetches().await, 2);
}

#[tokio::test]
async fn a_key_that_is_still_published_is_not_replaced() {
    let provider = TestProvider::start([publishes(&[1], 300), publishes(&[1, 2], 300)]).await;
    let (keys, _control) = provider.keys();
    let used = keys.current().await.unwrap();
    assert_eq!(keys.replacement_for(&used).await, KeyStatus::Unchanged);
    assert_eq!(provider.fetches().await, 2);
    assert_eq!(provider.requests().await[1].headers["cache-control"], "no-cache");
}

#[tokio::test]
async fn new_key_material_with_the_same_kid_is_another_key() {
    let provider = TestProvider::start([publishes(&[1], 300)]).await;
    let (keys, _control) = provider.keys();
    keys.refresh().await.unwrap();
    assert_eq!(keys.replacement_for(&key("1", 7)).await, KeyStatus::Replaced(key("1", 1)));
}

#[tokio::test]
async fn refusals_cause_ten_fetches_at_once_and_then_ten_per_second() {
    let provider = TestProvider::start([publishes(&[1], 3600)]).await;
    let (keys, control) = provider.keys();
    let used = keys.current().await.unwrap();
    for _ in 0..10 {
        assert_eq!(keys.replacement_for(&used).await, KeyStatus::Unchanged);
    }
    assert_eq!(provider.fetches().await, 11);
    provider.now_responds(publishes(&[2], 3600));
    let mut requests = JoinSet::new();
    for _ in 0..100 {
        requests.spawn(refused(&keys, &used));
    }
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
    assert_eq!(provider.fetches().await, 11);
    control.advance(SECOND / 10);
    for status in requests.join_all().await {
        assert_eq!(newer(status).kid(), Some("2"));
    }
    assert_eq!(provider.fetches().await, 12);
}

#[tokio::test]
async fn the_backoff_of_the_schedule_does_not_delay_a_fetch_after_a_refusal() {
    let provider = TestProvider::start([publishes(&[1], 30), ResponseTemplate::new(500)]).await;
    let (keys, control) = provider.keys();
    tokio::spawn(keys.clone().run_refresh());
    until(async || keys.counters().fetches.ok() == 1).await;
    let used = keys.current().await.unwrap();
    control.advance(30 * SECOND);
    until(async || keys.counters().fetches.all_failures() == 1).await;
    provider.now_responds(publishes(&[2], 30));
    // The clock stands still, within the backoff of the schedule.
    assert_eq!(newer(keys.replacement_for(&used).await).kid(), Some("2"));
}

#[tokio::test]
async fn a_failed_fetch_after_a_refusal_keeps_the_set_and_does_not_block_the_next_one() {
    let provider = TestProvider::start([publishes(&[1], 300), ResponseTemplate::new(500), publishes(&[2], 300)]).await;
    let (keys, _control) = provider.keys();
    let used = keys.current().await.unwrap();
    assert_eq!(keys.replacement_for(&used).await, KeyStatus::Unknown);
    assert_eq!(last_error(&keys), Some(FetchErrorKind::Status(500)));
    assert_eq!(keys.current().await.unwrap(), used);
    assert_eq!(newer(keys.replacement_for(&used).await).kid(), Some("2"));
}

#[tokio::test]
async fn a_failed_fetch_is_shared_by_all_refused_callers_that_wait_for_it() {
    let provider = TestProvider::start([publishes(&[1], 300), ResponseTemplate::new(500).set_delay(SECOND / 10)]).await;
    let (keys, _control) = provider.keys();
    let used = keys.current().await.unwrap();
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        requests.spawn(refused(&keys, &used));
    }
    assert!(requests.join_all().await.iter().all(|status| *status == KeyStatus::Unknown));
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
    assert_eq!(newer(keys.replacement_for(&used).await).kid(), Some("2"));
    scheduled.await.unwrap().unwrap();
    assert_eq!(provider.fetches().await, 3);
}

#[tokio::test]
async fn a_scheduled_fetch_that_a_cache_may_have_answered_does_not_confirm_the_key() {
    let provider = TestProvider::start([publishes(&[1], 300), publishes(&[1], 300), publishes(&[2], 300)]).await;
    let (keys, _control) = provider.keys();
    let used = keys.current().await.unwrap();
    // Both calls join the same fetch. It is sent as a scheduled one, without `no-cache`.
    let (scheduled, status) = tokio::join!(keys.refresh(), keys.replacement_for(&used));
    assert_eq!((scheduled, newer(status).kid()), (Ok(()), Some("2")));
    let requests = provider.requests().await;
    let bypass_caches: Vec<_> = requests.iter().map(|request| request.headers.contains_key("cache-control")).collect();
    assert_eq!(bypass_caches, [false, false, true]);
}

#[tokio::test]
async fn a_refused_caller_waits_for_an_earlier_fetch_for_a_tenth_of_a_second_at_most() {
    let slow = publishes(&[1], 3600).set_delay(2 * SECOND);
    let provider = TestProvider::start([publishes(&[1], 3600), slow, publishes(&[2], 3600)]).await;
    let (keys, control) = provider.keys();
    let used = keys.current().await.unwrap();
    let request = || tokio::spawn(refused(&keys, &used));
    let first = request();
    until(async || provider.fetches().await == 2).await;
    let second = request();
    until(async || {
        control.advance(SECOND / 100);
        provider.fetches().await == 3
    })
    .await;
    // The second fetch answers both callers, although the first one is still under way.
    assert_eq!(newer(second.await.unwrap()).kid(), Some("2"));
    assert_eq!(newer(first.await.unwrap()).kid(), Some("2"));
    assert_eq!(keys.counters().fetches.ok(), 2);
}

#[tokio::test]
async fn a_doubt_causes_one_fetch_that_bypasses_caches_and_then_at_most_one_per_second() {
    let provider = TestProvider::start([publishes(&[1], 3600)]).await;
    let (keys, control) = provider.keys();
    tokio::spawn(keys.clone().run_refresh());
    until(async || keys.counters().fetches.ok() == 1).await;
    keys.check_in_background();
    until(async || keys.counters().fetches.ok() == 2).await;
    assert_eq!(provider.requests().await[1].headers["cache-control"], "no-cache");
    // Within the same second, doubts wait. They are not forgotten.
    for _ in 0..100 {
        keys.check_in_background();
        tokio::task::yield_now().await;
    }
    assert_eq!(provider.fetches().await, 2);
    control.advance(SECOND);
    until(async || keys.counters().fetches.ok() == 3).await;
    // No doubt is left, so the schedule applies again.
    control.advance(60 * SECOND);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(provider.fetches().await, 3);
}

#[tokio::test]
async fn a_doubt_during_a_fetch_causes_another_one_because_the_first_may_predate_the_refusal() {
    let slow = publishes(&[1], 3600).set_delay(SECOND / 5);
    let provider = TestProvider::start([slow, publishes(&[2], 3600)]).await;
    let (keys, _control) = provider.keys();
    tokio::spawn(keys.clone().run_refresh());
    until(async || provider.fetches().await == 1).await;
    keys.check_in_background();
    until(async || keys.counters().fetches.ok() == 2).await;
    assert_eq!(keys.current().await.unwrap().kid(), Some("2"));
}

#[tokio::test]
async fn a_refused_caller_that_leaves_does_not_end_the_fetch_of_the_others() {
    let provider = TestProvider::start([publishes(&[1], 300), publishes(&[2], 300).set_delay(SECOND / 5)]).await;
    let (keys, _control) = provider.keys();
    let used = keys.current().await.unwrap();
    let request = || tokio::spawn(refused(&keys, &used));
    let first = request();
    until(async || provider.fetches().await == 2).await;
    let second = request();
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(newer(second.await.unwrap()).kid(), Some("2"));
    assert_eq!(provider.fetches().await, 2);
}
