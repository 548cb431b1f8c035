use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use rustls::ProtocolVersion;
use serde_json::Value;

use super::*;
use crate::clock::Clock;
use crate::gateway::request::request_id::RequestId;
use crate::gateway::request::trace_context::{Sampler, TraceContext};
use crate::gateway::response::refusal::Code;
use crate::gateway::server::peer::Peer;
use crate::telemetry::{self, Schema};
use crate::upstream::ProviderPeer;

fn response(text: &'static str) -> Response<Full<Bytes>> {
    Response::new(Full::from(text))
}

fn observed_by(clock: Clock, use_guard: impl FnOnce(RecordGuard)) -> Record {
    let seen: Arc<Mutex<Vec<Record>>> = Arc::default();
    let observer: Observer = {
        let seen = Arc::clone(&seen);
        Arc::new(move |record| seen.lock().unwrap().push(record.clone()))
    };
    let mut request = Request::new(());
    *request.uri_mut() = "/v0/x?token=canary&b=2&canary".parse().unwrap();
    let observers = Observers::new(Config::default(), vec![observer], Counters::default());
    use_guard(RecordGuard::begin(
        &request,
        &RequestId::assign(request.headers()),
        &Peer::default(),
        None,
        clock,
        observers,
    ));
    let mut seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1, "one record for each request");
    seen.pop().unwrap()
}

fn observed(use_guard: impl FnOnce(RecordGuard)) -> Record {
    observed_by(Clock::system(), use_guard)
}

#[test]
fn a_caller_that_disconnects_before_the_response_is_recorded() {
    let record = observed(drop);
    assert_eq!((record.outcome, record.status), (Outcome::CallerLeft, None));
}

#[test]
fn a_caller_that_disconnects_within_the_response_has_left() {
    let record = observed(|guard| drop(guard.follow(response("text"))));
    assert_eq!((record.outcome, record.status), (Outcome::CallerLeft, Some(StatusCode::OK)));
}

#[test]
fn a_response_whose_reply_broke_is_aborted() {
    let record = observed(|guard| {
        guard.handle().aborted();
        drop(guard.follow(response("text")));
    });
    assert_eq!(record.outcome, Outcome::Aborted);
}

#[test]
fn a_response_handed_over_to_its_end_is_complete() {
    let record = observed(|guard| {
        let body = guard.follow(response("answer")).into_body();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(body.collect()).unwrap();
    });
    assert_eq!((record.outcome, record.bytes_out), (Outcome::Complete, 6));
    let record = observed(|guard| drop(guard.follow(response(""))));
    assert_eq!((record.outcome, record.bytes_out), (Outcome::Complete, 0));
}

#[test]
fn refusals_tokens_and_key_sets_are_responses_of_the_gateway() {
    let is_own = |note: fn(&RecordHandle)| {
        observed(|guard| {
            note(guard.handle());
            drop(guard.follow(response("")));
        })
        .is_own()
    };
    assert!(is_own(|handle| handle.refused(Code::NoUpstream)));
    assert!(is_own(RecordHandle::answered_here));
    assert!(!is_own(|_| {}));
}

#[test]
fn of_a_query_only_the_names_are_recorded() {
    let record = observed(drop);
    assert_eq!(
        (record.path.as_str(), record.query_keys.as_slice()),
        ("/v0/x", ["token", "b"].map(String::from).as_slice())
    );
    assert!(!format!("{record:?}").contains("canary"));
}

#[test]
fn the_wait_for_the_provider_is_the_sum_of_all_attempts_and_of_one_that_was_cut_off() {
    let (clock, control) = Clock::manual();
    let second = Duration::from_secs(1);
    let record = observed_by(clock, |guard| {
        let handle = guard.handle();
        control.advance(second);
        handle.sending();
        control.advance(second);
        handle.answered(None, None);
        control.advance(second);
        handle.sending();
        control.advance(second);
        drop(guard);
    });
    assert_eq!((record.attempts, record.upstream_time, record.duration), (2, Some(2 * second), 4 * second));
    assert_eq!(observed(drop).upstream_time, None, "nothing was sent");
}

#[test]
fn each_phase_has_a_span_from_its_beginning_to_its_end() {
    let (clock, control) = Clock::manual();
    let second = Duration::from_secs(1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let record = observed_by(clock.clone(), |guard| {
        let handle = guard.handle();
        control.advance(second);
        handle.reading_body();
        control.advance(second);
        handle.body(2);
        let wait = async |phase| {
            handle.wait(phase, std::future::ready(())).await;
            let mut is_ready = false;
            let waiting = std::future::poll_fn(|cx| {
                if std::mem::replace(&mut is_ready, true) {
                    control.advance(second);
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            });
            handle.wait(phase, waiting).await;
        };
        runtime.block_on(wait(Phase::KeyWait));
        runtime.block_on(wait(Phase::CredentialWait));
        let seal_time = handle.seal_time();
        seal_time.measure(&clock, || control.advance(second));
        handle.sending();
        seal_time.measure(&clock, || control.advance(second));
        control.advance(second);
        handle.answered(None, None);
        handle.checking_key();
        control.advance(second);
        handle.key_checked(KeyCheck::Unchanged);
        let body = guard.follow(response("answer"));
        control.advance(second);
        drop(body);
    });
    let spans: Vec<_> =
        record.phases.spans().iter().map(|span| (span.phase, span.start.as_secs(), span.duration.as_secs())).collect();
    let expected = [
        (Phase::Body, 0, 2),
        (Phase::KeyWait, 2, 1),
        (Phase::CredentialWait, 3, 1),
        (Phase::Provider, 5, 2),
        (Phase::KeyCheck, 7, 1),
        (Phase::Relay, 8, 1),
        (Phase::Seal, 4, 2),
    ];
    assert_eq!(spans, expected);
    assert_eq!(record.duration, 9 * second);
    assert_eq!(record.key_check_time, Some(second));
}

#[test]
fn a_phase_that_is_cut_off_ends_with_the_request_and_a_response_of_the_gateway_has_no_relay() {
    let (clock, control) = Clock::manual();
    let record = observed_by(clock, |guard| {
        guard.handle().reading_body();
        control.advance(Duration::from_secs(3));
        guard.handle().refused(Code::RequestTimeout);
        drop(guard.follow(response("")));
    });
    let body = PhaseSpan { phase: Phase::Body, start: Duration::ZERO, duration: Duration::from_secs(3) };
    assert_eq!(record.phases.spans(), [body]);
    assert_eq!(record.phases.total(Phase::Relay), None);
}

#[test]
fn the_seal_time_is_recorded_only_if_the_gateway_sealed() {
    let (clock, control) = Clock::manual();
    let record = observed_by(clock.clone(), |guard| {
        guard.handle().seal_time().measure(&clock, || control.advance(Duration::from_micros(7)));
    });
    assert_eq!(record.seal_time, Some(Duration::from_micros(7)));
    assert_eq!(observed(drop).seal_time, None);
}

#[test]
fn a_failed_request_has_a_line_unless_the_access_log_is_off() {
    let complete = |status| Record { status: Some(status), outcome: Outcome::Complete, ..empty() };
    let succeeded = || complete(StatusCode::MOVED_PERMANENTLY);
    let broken = || Record { outcome: Outcome::Aborted, ..succeeded() };
    // No request id is in a sample as small as this.
    let sample = SampleRatio::new(f64::MIN_POSITIVE).unwrap();
    let has_line = |access, record: &Record| Config { access, sample }.share_of(record).is_some();
    for failed in [empty(), complete(StatusCode::BAD_REQUEST), complete(StatusCode::BAD_GATEWAY), broken()] {
        assert!(has_line(Access::All, &failed) && has_line(Access::Errors, &failed), "{failed:?}");
        assert!(!has_line(Access::Off, &failed), "{failed:?}");
        let share = Config { access: Access::All, sample }.share_of(&failed);
        assert_eq!(share, Some(SampleRatio::ALL), "its line has no `sample`");
    }
    for access in [Access::All, Access::Errors, Access::Off] {
        assert!(!has_line(access, &succeeded()), "{access:?}");
    }
    assert!(Config::default().share_of(&succeeded()).is_some());
}

/// A record with a value for every field.
fn filled_in() -> Record {
    let mut sent = Attempts::default();
    sent.begin(None);
    let provider = ProviderPeer { address: ([10, 0, 0, 2], 443).into(), tls: Some(ProtocolVersion::TLSv1_2) };
    sent.end(Some(provider), None);
    Record {
        trace: TraceContext::of(&HeaderMap::new(), Some(Sampler::default())),
        method: Method::POST,
        user_agent: Some(HeaderValue::from_static("svc/1")),
        client_address: Some(([10, 0, 0, 1], 4711).into()),
        tls: Some(ProtocolVersion::TLSv1_3),
        caller: Some("portfolio".into()),
        upstream: Some("flanks".into()),
        status: Some(StatusCode::OK),
        refusal: Some(Code::UpstreamProtocol),
        upstream_time: Some(Duration::from_millis(20)),
        sent,
        provider_trace_id: Some("4bf92f35".to_owned()),
        seal_time: Some(Duration::from_micros(300)),
        attempts: 1,
        bytes_in: 600,
        bytes_out: 700,
        bytes_jwe: Some(900),
        kid: Some("kid-1".to_owned()),
        key_check: Some(KeyCheck::Resealed),
        key_check_time: Some(Duration::from_millis(3)),
        resealed: true,
        resent: true,
        findings: 3,
        ..observed(drop)
    }
}

/// A record of a request that was ended before anything happened.
fn empty() -> Record {
    Record { query_keys: Vec::new(), ..observed(drop) }
}

/// The line of `record` in a JSON log, without the fields that every line has.
fn line_of(record: &Record, share: SampleRatio, schema: Schema) -> BTreeMap<String, Value> {
    let line = telemetry::json_line(schema, line::TARGET, line::MESSAGE, |line| line::add_fields(line, record, share));
    let Value::Object(line) = line else { panic!("a line is an object") };
    let bare = telemetry::json_line(schema, line::TARGET, line::MESSAGE, |_| {});
    let (common, fields): (BTreeMap<_, _>, _) = line.into_iter().partition(|(name, _)| bare.get(name).is_some());
    assert_eq!(common.len(), bare.as_object().unwrap().len(), "{common:?}");
    fields
}

/// The fields of the log line of `record`, and their types.
fn logged(record: &Record, share: SampleRatio) -> BTreeMap<String, &'static str> {
    let typed = line_of(record, share, Schema::Own).into_iter().map(|(name, value)| {
        let kind = match value {
            Value::String(_) => "text",
            Value::Number(_) => "number",
            Value::Bool(true) => "`true`",
            other => panic!("{name} has the value {other}"),
        };
        (name, kind)
    });
    typed.collect()
}

/// The cells of the rows below the line `header` of the documentation, without backticks around a whole cell.
fn documented<const N: usize>(header: &str) -> Vec<[String; N]> {
    let rows: Vec<_> = include_str!("../../../docs/operations.md")
        .lines()
        .skip_while(|line| *line != header)
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.split('|').skip(1).map(|cell| {
                let cell = cell.trim();
                let name = cell.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
                name.filter(|name| *name != "true" && !name.contains('`')).unwrap_or(cell).to_owned()
            });
            std::array::from_fn(|_| cells.next().unwrap())
        })
        .collect();
    assert!(!rows.is_empty(), "docs/operations.md has a table with the header {header}");
    rows
}

const FIELDS: &str = "| field | type | present when | meaning |";

#[test]
fn the_documentation_lists_exactly_the_fields_of_a_line_with_their_types() {
    let documented: BTreeMap<String, String> =
        documented(FIELDS).into_iter().map(|[field, kind, _, _]| (field, kind)).collect();
    let logged: BTreeMap<String, String> = logged(&filled_in(), SampleRatio::new(0.1).unwrap())
        .into_iter()
        .map(|(field, kind)| (field, kind.to_owned()))
        .collect();
    assert_eq!(logged, documented);
}

#[test]
fn the_documentation_has_the_names_of_each_schema() {
    let rows = documented::<3>("| `own` | `ecs` | `otel` |");
    let common = ["timestamp", "level", "message", "target"];
    for (column, schema) in [Schema::Own, Schema::Ecs, Schema::Otel].into_iter().enumerate() {
        let documented: BTreeSet<String> = rows
            .iter()
            .filter(|[own, ..]| !common.contains(&own.as_str()))
            .map(|row| row[column].clone())
            .filter(|name| name != "error" && name != "error.message")
            .collect();
        let line = line_of(&filled_in(), SampleRatio::new(0.1).unwrap(), schema);
        assert_eq!(line.into_keys().collect::<BTreeSet<_>>(), documented, "{schema:?}");
        let bare = telemetry::json_line(schema, line::TARGET, line::MESSAGE, |_| {});
        for row in rows.iter().filter(|[own, ..]| common.contains(&own.as_str())) {
            assert!(bare.get(&row[column]).is_some(), "{schema:?}: {row:?}");
        }
    }
}

#[test]
fn a_schema_has_its_own_units_and_values_where_it_defines_them() {
    let record = Record { duration: Duration::from_micros(1_500), ..filled_in() };
    let line = |schema| line_of(&record, SampleRatio::ALL, schema);
    let (own, ecs, otel) = (line(Schema::Own), line(Schema::Ecs), line(Schema::Otel));
    assert_eq!((&own["duration_ms"], &own["protocol"]), (&1.5.into(), &"HTTP/1.1".into()));
    assert_eq!((&ecs["event.duration"], &ecs["http.version"]), (&1_500_000.into(), &"1.1".into()));
    assert_eq!((&otel["jwe_gateway.duration_ms"], &otel["network.protocol.version"]), (&1.5.into(), &"1.1".into()));
}

#[test]
fn a_field_that_is_not_always_present_is_left_out_if_nothing_happened() {
    let always: BTreeSet<_> =
        documented::<4>(FIELDS).into_iter().filter(|row| row[2] == "always").map(|[field, ..]| field).collect();
    assert_eq!(logged(&empty(), SampleRatio::default()).into_keys().collect::<BTreeSet<_>>(), always);
}

#[test]
fn no_value_of_a_request_breaks_its_line_or_makes_it_long_without_limit() {
    let hostile = "a\"b\\c\n\r\x1b[31m</script>\u{2028}\u{85}é".repeat(300);
    let record = Record {
        path: hostile.clone(),
        query_keys: vec![hostile.clone()],
        caller: Some(hostile.as_str().into()),
        kid: Some(hostile.clone()),
        user_agent: Some(
            HeaderValue::from_bytes(&[b"\"\\\xff\xc3\xa9{}".repeat(2_000), b"end".to_vec()].concat()).unwrap(),
        ),
        ..filled_in()
    };
    for schema in [Schema::Own, Schema::Ecs, Schema::Otel] {
        let line = line_of(&record, SampleRatio::ALL, schema);
        let value = |name: telemetry::schema::FieldName| line[name.of(schema)].as_str().unwrap().to_owned();
        for name in [telemetry::schema::PATH, telemetry::schema::CALLER, telemetry::schema::KID] {
            assert_eq!(value(name), hostile, "{name:?}");
        }
        let agent = value(telemetry::schema::USER_AGENT);
        assert!(agent.starts_with("\"\\\u{fffd}é{}") && !agent.contains("end") && agent.len() < 512, "{agent}");
    }
}
