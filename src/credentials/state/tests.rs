use super::*;
use crate::clock::Clock;
use http::header::AUTHORIZATION;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn grant(lifetime: Duration) -> Result<NewCredential, RenewalError> {
    Ok(NewCredential {
        header: AUTHORIZATION,
        value: HeaderValue::from_static("t"),
        lifetime: Some(lifetime),
        scope: None,
    })
}

fn serial(state: &CredentialsState, now: Instant) -> Option<u64> {
    state.credential(now).and_then(|credential| credential.serial())
}

#[test]
fn a_late_renewal_never_replaces_a_newer_one() {
    let now = Clock::manual().0.now();
    let mut state = CredentialsState::new(true, now, Jitter::seeded(1), Arc::default());
    assert_eq!(state.finish(2, grant(60 * SECOND), now), RenewalOutcome::Good);
    assert_eq!(state.finish(1, grant(60 * SECOND), now), RenewalOutcome::Late);
    assert_eq!(state.finish(1, Err(RenewalErrorKind::Abandoned.into()), now), RenewalOutcome::Late);
    assert_eq!(serial(&state, now), Some(2));
    assert_eq!(state.start(1), Err(Ok(())));
    assert_eq!(state.start(3), Ok(()));
}

#[test]
fn a_request_without_a_credential_brings_the_next_renewal_forward() {
    let now = Clock::manual().0.now();
    let failing = |error: RenewalErrorKind| {
        let mut state = CredentialsState::new(true, now, Jitter::seeded(1), Arc::default());
        for number in 1..=8 {
            let _ = state.finish(number, Err(error.clone().into()), now);
        }
        assert!(state.next_renewal().1 > now + 10 * SECOND, "the backoff is long");
        state
    };
    let mut down = failing(RenewalErrorKind::Abandoned);
    assert!(down.bring_forward(now));
    assert_eq!(down.next_renewal().1, now + SECOND);
    assert!(!down.bring_forward(now + SECOND / 2), "the renewal is due in time");
    let mut refused = failing(RenewalErrorKind::Refused { status: 401 });
    assert!(refused.bring_forward(now));
    assert_eq!(refused.next_renewal().1, now + 5 * SECOND);
    let mut busy = failing(RenewalErrorKind::Busy { status: 429, retry_after: Some(30 * SECOND) });
    assert!(!busy.bring_forward(now), "the token endpoint asked for a longer wait");
}

#[test]
fn the_refusal_of_a_former_credential_does_not_drop_the_new_one() {
    let now = Clock::manual().0.now();
    let mut state = CredentialsState::new(true, now, Jitter::seeded(1), Arc::default());
    let _ = state.finish(1, grant(60 * SECOND), now);
    let _ = state.finish(2, grant(60 * SECOND), now);
    assert!(matches!(state.refused(1, now), AfterRefusal::Use(_)));
    assert_eq!(serial(&state, now), Some(2));
    assert!(matches!(state.refused(2, now), AfterRefusal::Renew(3)));
    assert_eq!(serial(&state, now), None);
    assert!(matches!(state.refused(2, now), AfterRefusal::Renew(3)));
    assert_eq!(state.counters.refusals(), 2 - 1);
}

#[test]
fn a_replacement_that_was_accepted_is_replaced_when_it_is_revoked() {
    let now = Clock::manual().0.now();
    let mut state = CredentialsState::new(true, now, Jitter::seeded(1), Arc::default());
    let _ = state.finish(1, grant(600 * SECOND), now);
    assert!(matches!(state.refused(1, now), AfterRefusal::Renew(2)));
    let _ = state.finish(2, grant(600 * SECOND), now);
    assert!(
        matches!(state.refused(2, now + SECOND), AfterRefusal::Keep),
        "it was never accepted, so another renewal would not help"
    );
    state.credential(now).unwrap().note_accepted();
    assert!(
        matches!(state.refused(2, now + SECOND), AfterRefusal::Renew(3)),
        "it was accepted before, so it was revoked"
    );
}

#[test]
fn a_renewal_that_was_under_way_at_the_refusal_is_not_the_replacement() {
    let now = Clock::manual().0.now();
    let mut state = CredentialsState::new(true, now, Jitter::seeded(1), Arc::default());
    let _ = state.finish(1, grant(600 * SECOND), now);
    state.start(2).unwrap();
    assert!(
        matches!(state.refused(1, now), AfterRefusal::Renew(3)),
        "renewal 2 may have been granted before the revocation"
    );
    assert!(matches!(state.refused(1, now), AfterRefusal::Renew(3)), "one replacement for all refused requests");
    let _ = state.finish(2, grant(600 * SECOND), now);
    assert_eq!(state.next_renewal(), (3, now), "the replacement must still follow, at once");
    assert!(
        matches!(state.refused(2, now), AfterRefusal::Renew(3)),
        "the token of renewal 2 is refused too, which causes no pause"
    );
    let _ = state.finish(3, grant(600 * SECOND), now);
    assert_eq!((serial(&state, now), state.next_renewal().0), (Some(3), 4));
    assert!(matches!(state.refused(3, now), AfterRefusal::Keep), "the replacement is refused and was never accepted");
}

#[test]
fn a_token_that_was_accepted_before_is_kept_while_no_other_can_be_obtained() {
    let now = Clock::manual().0.now();
    let busy = RenewalErrorKind::Busy { status: 429, retry_after: Some(30 * SECOND) };
    let mut state = CredentialsState::new(true, now, Jitter::seeded(1), Arc::default());
    let _ = state.finish(1, grant(600 * SECOND), now);
    let _ = state.finish(2, Err(busy.into()), now);
    state.credential(now).unwrap().note_accepted();
    assert!(matches!(state.refused(1, now), AfterRefusal::Unavailable));
    assert_eq!(serial(&state, now), Some(1));
}

#[test]
fn a_call_that_is_always_refused_does_not_flood_the_token_endpoint() {
    let mut now = Clock::manual().0.now();
    let mut state = CredentialsState::new(true, now, Jitter::seeded(1), Arc::default());
    let mut renewals = 0;
    for _ in 0..600 {
        let _ = state.finish(state.next_renewal().0, grant(3600 * SECOND), now);
        let credential = state.credential(now).unwrap();
        credential.note_accepted();
        renewals += u32::from(matches!(state.refused(credential.serial().unwrap(), now), AfterRefusal::Renew(_)));
        now += SECOND / 10;
    }
    assert_eq!(renewals, REPLACEMENTS + 60 / 4 - 1, "in a minute of ten refusals a second");
}

#[test]
fn a_refusal_does_not_override_a_wait_that_the_token_endpoint_asked_for() {
    let now = Clock::manual().0.now();
    let busy = RenewalErrorKind::Busy { status: 429, retry_after: Some(30 * SECOND) };
    let mut state = CredentialsState::new(true, now, Jitter::seeded(1), Arc::default());
    let _ = state.finish(1, grant(600 * SECOND), now);
    let _ = state.finish(2, Err(busy.into()), now);
    let due = state.next_renewal().1;
    assert!(due >= now + 15 * SECOND);
    let _ = state.refused(1, now);
    assert_eq!(state.next_renewal().1, due);
}

#[test]
fn a_refusal_brings_the_next_attempt_with_refused_credentials_to_five_seconds_and_not_sooner() {
    let now = Clock::manual().0.now();
    for accepted in [false, true] {
        let mut state = CredentialsState::new(true, now, Jitter::seeded(1), Arc::default());
        let _ = state.finish(1, grant(600 * SECOND), now);
        let _ = state.finish(2, Err(RenewalErrorKind::Refused { status: 401 }.into()), now);
        assert!(state.next_renewal().1 >= now + 15 * SECOND);
        if accepted {
            state.credential(now).unwrap().note_accepted();
        }
        let _ = state.refused(1, now);
        assert_eq!(state.next_renewal().1, now + 5 * SECOND);
    }
}

#[test]
fn a_token_of_one_second_is_renewed_after_one_second_and_not_sooner() {
    let now = Clock::manual().0.now();
    let mut state = CredentialsState::new(true, now, Jitter::seeded(1), Arc::default());
    let _ = state.finish(1, grant(SECOND), now);
    assert_eq!(state.next_renewal().1, now + SECOND);
}

#[derive(Clone, Debug)]
enum RenewalEvent {
    Granted(u32),
    Failed(RenewalErrorKind),
    Refused,
}

fn event() -> impl Strategy<Value = RenewalEvent> {
    prop_oneof![
        (1u32..100_000).prop_map(RenewalEvent::Granted),
        Just(RenewalEvent::Failed(RenewalErrorKind::Status(500))),
        Just(RenewalEvent::Failed(RenewalErrorKind::Refused { status: 401 })),
        (0u64..60).prop_map(|seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            RenewalEvent::Failed(RenewalErrorKind::Busy { status: 503, retry_after })
        }),
        Just(RenewalEvent::Refused),
    ]
}

proptest! {
    #[test]
    fn in_any_history_no_expired_token_is_used_and_each_wait_is_within_its_limits(
        history in prop::collection::vec((0u32..5_000, event()), 1..80),
    ) {
        let mut now = Clock::manual().0.now();
        let mut state = CredentialsState::new(true, now, Jitter::seeded(1), Arc::default());
        let mut cached: Option<(u64, Instant)> = None;
        for (seconds, event) in history {
            now += seconds * SECOND;
            let (number, _) = state.next_renewal();
            match event {
                RenewalEvent::Granted(lifetime) => {
                    let _ = state.finish(number, grant(lifetime * SECOND), now);
                    cached = Some((number, now + lifetime * SECOND));
                    let wait = state.next_renewal().1 - now;
                    prop_assert!(wait >= SECOND && (wait == SECOND || wait <= lifetime * SECOND * 3 / 4));
                }
                RenewalEvent::Failed(error) => {
                    let _ = state.finish(number, Err(error.into()), now);
                    let wait = state.next_renewal().1 - now;
                    prop_assert!(wait >= SECOND / 2 && wait <= SLOW_BACKOFF.1);
                }
                RenewalEvent::Refused => {
                    let usable = serial(&state, now);
                    if let Some(refused) = usable {
                        match state.refused(refused, now) {
                            AfterRefusal::Renew(next) => {
                                prop_assert_eq!(next, number);
                                cached = None;
                            }
                            AfterRefusal::Keep | AfterRefusal::Unavailable => {}
                            AfterRefusal::Use(_) => prop_assert!(false, "it was cached"),
                        }
                    }
                }
            }
            let usable = cached.filter(|(_, expires)| now < *expires).map(|(number, _)| number);
            prop_assert_eq!(serial(&state, now), usable);
        }
    }
}
