use super::super::Source;
use super::super::fixtures::{jwk, key};
use super::*;
use crate::clock::Clock;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn state(now: Instant) -> KeysState {
    let config = Config::new(Source::File("keys.json".into()));
    KeysState::new(Arc::new(config), now, Jitter::seeded(1))
}

fn failed(kind: FetchErrorKind) -> FetchError {
    FetchError::new(&Source::File("keys.json".into()), kind)
}

fn abandoned() -> FetchError {
    failed(FetchErrorKind::Abandoned)
}

fn set(seeds: &[u64]) -> FetchResponse {
    let jwks = seeds.iter().map(|seed| jwk(&seed.to_string(), *seed)).collect();
    FetchResponse::Set { set: KeySet::from_jwks(jwks).unwrap(), lifetime: Some(100 * SECOND), etag: None }
}

fn kid(state: &KeysState, now: Instant) -> Option<String> {
    state.key(now).ok().and_then(|key| key.kid().map(str::to_owned))
}

#[test]
fn a_late_response_never_replaces_a_newer_one() {
    let now = Clock::manual().0.now();
    let mut state = state(now);
    state.send(1, Reason::Schedule, now).unwrap();
    state.send(2, Reason::Schedule, now).unwrap();
    assert!(matches!(state.finish(2, false, Ok(set(&[2])), now), FetchOutcome::Good(_)));
    assert!(matches!(state.finish(1, false, Ok(set(&[1])), now), FetchOutcome::Late));
    assert!(matches!(state.finish(1, false, Err(abandoned()), now), FetchOutcome::Late));
    assert_eq!(kid(&state, now).unwrap(), "2");
    assert_eq!(state.last_error(), None);
    assert_eq!(state.send(1, Reason::Schedule, now), Err(Ok(())));
}

#[test]
fn a_request_without_a_key_brings_the_next_fetch_forward_once() {
    let mut now = Clock::manual().0.now();
    let mut state = state(now);
    for number in 1..=8 {
        now = state.next_fetch().due;
        let _ = state.finish(number, false, Err(abandoned()), now);
    }
    assert!(state.next_fetch().due > now + 10 * SECOND, "the backoff is long");
    assert!(state.bring_forward(now));
    assert_eq!(state.next_fetch().due, now + SECOND);
    assert!(!state.bring_forward(now + SECOND / 2), "the fetch is due in time");
    let later = now + 5 * SECOND;
    let _ = state.finish(9, false, Err(abandoned()), later);
    assert!(state.bring_forward(later + 3 * SECOND));
    assert_eq!(state.next_fetch().due, later + 3 * SECOND);
}

#[test]
fn a_wait_that_the_server_asks_for_is_kept_by_the_schedule_and_not_by_fetches_after_refusals() {
    let now = Clock::manual().0.now();
    let mut state = state(now);
    let busy = |seconds| Err(failed(FetchErrorKind::Busy { status: 503, retry_after: Some(seconds * SECOND) }));
    let _ = state.finish(1, false, busy(20), now);
    let due = state.next_fetch().due;
    assert!((20 * SECOND..=22 * SECOND).contains(&(due - now)), "{:?}", due - now);
    assert!(!state.bring_forward(now + 2 * SECOND) && !state.check_in_background(now + 2 * SECOND));
    // A fetch after a refusal may be sent. If it fails without a stated wait, the earlier wait stays.
    state.send(2, Reason::Refusal, now + 3 * SECOND).unwrap();
    let _ = state.finish(2, true, Err(abandoned()), now + 4 * SECOND);
    assert_eq!(state.next_fetch().due, due);
    // A stated wait may delay the next fetch.
    let _ = state.finish(3, true, busy(60), now + 5 * SECOND);
    assert!(state.next_fetch().due >= now + 65 * SECOND);
    // A good set ends the wait.
    let _ = state.finish(4, true, Ok(set(&[1])), now + 6 * SECOND);
    assert!(state.check_in_background(now + 7 * SECOND));
    assert_eq!(state.next_fetch().due, now + 7 * SECOND);
}

#[test]
fn without_a_stated_wait_a_busy_server_is_asked_again_after_the_backoff() {
    let now = Clock::manual().0.now();
    let mut state = state(now);
    let busy = |retry_after| Err(failed(FetchErrorKind::Busy { status: 429, retry_after }));
    let _ = state.finish(1, false, busy(None), now);
    assert!(state.next_fetch().due <= now + SECOND);
    let _ = state.finish(2, false, busy(Some(Duration::ZERO)), now + SECOND);
    assert!(state.next_fetch().due >= now + 2 * SECOND, "a wait of zero causes no loop");
}

#[test]
fn added_and_removed_keys_are_reported() {
    let now = Clock::manual().0.now();
    let mut state = state(now);
    let name = |seed: u64| KeyName::of(&key(&seed.to_string(), seed));
    let mut changes = |number, seeds: &[u64]| match state.finish(number, false, Ok(set(seeds)), now) {
        FetchOutcome::Good(changes) => changes,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        changes(1, &[1, 2]),
        Changes { added: vec![name(1), name(2)], chosen: Some(name(1)), ..Changes::default() }
    );
    assert_eq!(changes(2, &[2, 1]), Changes { chosen: Some(name(2)), replaced: Some(name(1)), ..Changes::default() });
    assert_eq!(
        changes(3, &[3, 2]),
        Changes {
            added: vec![name(3)],
            removed: vec![name(1)],
            chosen: Some(name(3)),
            replaced: Some(name(2)),
            ..Changes::default()
        }
    );
    assert_eq!(changes(4, &[3, 2]), Changes::default());
}

#[test]
fn pins_that_match_no_key_are_reported_again_when_the_keys_change() {
    let now = Clock::manual().0.now();
    let config = Config { pin: vec!["9".into()], ..Config::new(Source::File("keys".into())) };
    let mut state = KeysState::new(Arc::new(config), now, Jitter::seeded(1));
    let mut none_pinned = |number, seeds: &[u64]| match state.finish(number, false, Ok(set(seeds)), now) {
        FetchOutcome::Good(changes) => changes.none_pinned,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        [&[1][..], &[1], &[2], &[2, 9], &[9], &[2]].map({
            let mut number = 0;
            move |seeds| {
                number += 1;
                none_pinned(number, seeds)
            }
        }),
        [true, false, true, false, false, true]
    );
}

#[test]
fn a_failed_fetch_after_a_refusal_never_delays_the_schedule() {
    let start = Clock::manual().0.now();
    let mut state = state(start);
    let _ = state.finish(1, false, Ok(set(&[1])), start);
    for number in 2..100 {
        let due = state.next_fetch().due;
        let _ = state.finish(number, false, Err(abandoned()), start);
        let sooner = state.next_fetch().due;
        assert!(start < sooner && sooner <= due && sooner <= start + SECOND);
    }
}

#[test]
fn a_set_from_disk_does_not_replace_a_fetched_one() {
    let now = Clock::manual().0.now();
    let wall = SystemTime::now();
    let last_good = |seed: u64| LastGood {
        set: KeySet::from_jwks(vec![jwk("disk", seed)]).unwrap(),
        fetched: wall,
        lifetime: SECOND,
    };
    let mut state = state(now);
    assert!(state.restore(last_good(1), now, wall));
    assert!(!state.restore(last_good(2), now, wall));
    let _ = state.finish(1, false, Ok(set(&[3])), now);
    assert!(!state.restore(last_good(4), now, wall));
    assert_eq!(kid(&state, now).unwrap(), "3");
}

proptest! {
    #[test]
    fn in_any_history_the_key_is_from_the_last_good_set_until_it_expires(
        history in prop::collection::vec((0u32..50_000, prop::option::of(1u64..5), 0u64..3), 1..60),
    ) {
        let mut now = Clock::manual().0.now();
        let mut state = state(now);
        let (mut newest, mut good) = (0, None);
        for (seconds, seed, delay) in history {
            now += seconds * SECOND;
            // Some responses arrive after a later one.
            let number = (newest + 2u64).saturating_sub(delay);
            let _ = state.finish(number, false, seed.map(|seed| set(&[seed])).ok_or_else(abandoned), now);
            if number > newest {
                newest = number;
                good = seed.map(|seed| (seed, now)).or(good);
                prop_assert!(state.next_fetch().due > now);
                prop_assert!(state.next_fetch().due <= now + 85 * SECOND);
            }
            now += seconds * SECOND;
            let expected = good.filter(|(_, at)| now - *at < 100 * SECOND + crate::keys::config::MAX_STALE);
            prop_assert_eq!(kid(&state, now), expected.map(|(seed, _)| seed.to_string()));
        }
    }
}
