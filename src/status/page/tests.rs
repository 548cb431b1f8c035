use jiff::Timestamp;

use super::super::model::{
    ConnectionsStatus, CredentialStatus, FetchStatus, GatewayStatus, KeySetState, KeySetStatus, KeyStatus, LogStatus,
    ReloadStatus, TrafficStatus, TrafficSummary, UpstreamStatus, VERSION,
};
use super::super::traffic::SLOTS;
use super::super::verdict::{Kind, Problem, verdict};
use super::*;

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(1_796_000_000 + second).unwrap())
}

fn traffic(requests: u64) -> TrafficStatus {
    let summary =
        TrafficSummary { requests, upstream_errors: 0, gateway_errors: 0, p50_ms: Some(2.1), p99_ms: Some(18.0) };
    TrafficStatus {
        interval_s: 15,
        requests_per_s: vec![1.5; SLOTS],
        errors_per_s: vec![0.25; SLOTS],
        p50_ms: vec![Some(2.1); SLOTS],
        p99_ms: (0..SLOTS).map(|slot| (slot % 7 != 0).then_some(18.0)).collect(),
        last_30_s: summary.clone(),
        last_5_min: summary.clone(),
        last_15_min: summary,
    }
}

fn fetch(second: i64, error: Option<&str>) -> FetchStatus {
    let error = error.map(str::to_owned);
    FetchStatus { first: at(second), last: at(second), count: 1, duration_ms: 4.2, error }
}

/// A status in which `text` stands wherever another program chooses a text.
fn status(text: &str, keys: usize, refusals: usize) -> Status {
    let name = || text.to_owned();
    let key = |index: usize| KeyStatus {
        kid: Some(format!("{index}{text}")),
        thumbprint: Some(name()),
        bits: Some(4096),
        published: !index.is_multiple_of(3),
        state: name(),
        seals: index == 1,
        first_seen: Some(at(-3600)),
        last_seen: Some(at(-60)),
    };
    let key_set = KeySetStatus {
        state: KeySetState::Stale,
        problem: Some(name()),
        confirmed: Some(at(-900)),
        expires: Some(at(-600)),
        next_fetch: at(20),
        failing_since: Some(at(-650)),
        last_error: Some(name()),
        keys: (0..keys).map(key).collect(),
        fetches: (0..100).map(|index| fetch(-36 * index, (index % 2 == 0).then_some(text))).rev().collect(),
    };
    let credential = CredentialStatus {
        kind: "token",
        usable: true,
        credentials_refused: false,
        obtained: Some(at(-1800)),
        expires: Some(at(1800)),
        next_renewal: Some(at(300)),
        failing_since: Some(at(-5)),
        refused_since: None,
        problem: Some(name()),
        renewals: vec![fetch(-1800, None), fetch(-5, Some(text))],
    };
    let usage = |what, used| Usage { what, used, limit: 1024 };
    let upstream = UpstreamStatus {
        name: name(),
        ready: true,
        encryption: "seal",
        key_set: Some(key_set),
        credential,
        connections: ConnectionsStatus { opened: 7, failed: 2, reused: 900 },
        limits: vec![usage("requests in flight", 1000), usage("buffered bytes", 12)],
        traffic: traffic(90),
    };
    let refusal = |index: i64| RefusalStatus {
        at: at(-index),
        code: "no_usable_key",
        status: Some(503),
        request_id: name(),
        caller: Some(name()),
        upstream: Some(name()),
        method: name(),
        path: name(),
        duration_ms: 3.0,
    };
    let problem = |kind| Problem::new(kind, Some(text), format!("Sentence about {text}.")).cause(Some(name()));
    let problems = vec![problem(Kind::KeySetStale), problem(Kind::RenewalsFailing)];
    Status {
        version: VERSION,
        at: at(0),
        gateway: GatewayStatus { version: "0.1.0", started: at(-3600), ready: true },
        verdict: verdict(problems, vec![at(-650), at(-5)]),
        upstreams: vec![upstream],
        traffic: traffic(90),
        refusals: (0..refusals as i64).map(refusal).collect(),
        limits: vec![usage("requests in flight", 12)],
        configuration: ConfigurationStatus {
            file: Some(name()),
            flags: vec![name()],
            variables: vec![name()],
            last_reload: Some(ReloadStatus { at: at(-30), error: Some(name()) }),
        },
        log: LogStatus { lines_dropped: 3 },
        certificate_expires: Some(at(86_400)),
    }
}

#[test]
fn the_first_sentence_is_the_heading_and_the_title_has_the_state() {
    let page = page(&status("a", 2, 1));
    assert!(page.contains("<title>Attention: jwe-gateway</title>"));
    assert!(page.contains("<p class=\"word\">Attention</p>\n<h1>Sentence about a.</h1>"), "{page}");
    for part in [
        "<dt>Since</dt><dd>",
        "(10 min)",
        "<dt>Look at</dt><dd>Whether this machine reaches the provider&#39;s key set.",
        "docs/operations.md, section \u{201c}Symptom, cause, remedy\u{201d}",
        "<p class=\"also\">Also:</p>",
        "<b>seals now</b>",
        "The key set is <b class=\"warn\">stale</b>. The provider confirmed it 15 min ago. Its lifetime ended 10 min ago. \
         Next fetch in 20 s.",
        "Obtained 30 min ago. Expires in 30 min. Next renewal in 5 min.",
        "50 of 100 fetches failed",
        "<p>7 opened since the start, <span class=\"bad\">2 attempts failed</span>. 900 responses",
        "<td>1000</td><td>1024</td>",
        "<b class=\"bad\">failed</b>: a",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
}

#[test]
fn no_text_of_others_becomes_markup() {
    let hostile = "</td></h1><script>alert('x')</script><img src=x onerror=\"x\">&\n\x1b[31m\u{202e}";
    let page = page(&status(hostile, 3, 2));
    for markup in ["<script", "<img", "onerror=\"", "\x1b", "\u{202e}", "alert('"] {
        assert!(!page.contains(markup), "{markup:?} is in {page}");
    }
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"));
    // Each element is closed, so no text has ended one of ours.
    for element in ["table", "tr", "td", "section", "svg", "h1", "dl", "p", "li"] {
        let count = |text: String| page.matches(&text).count();
        let opened = count(format!("<{element}>")) + count(format!("<{element} "));
        assert_eq!(opened, count(format!("</{element}>")), "{element}");
    }
}

#[test]
fn the_page_has_no_script_and_no_external_resource() {
    let page = page(&status("a", 2, 1));
    for word in ["<script", "<link", "http://", "https://", "url(", "@import", " style=", "javascript:"] {
        assert!(!page.contains(word), "{word} is in the page");
    }
    assert!(
        policy().starts_with("default-src 'none'; style-src 'sha256-") && policy().ends_with("frame-ancestors 'none'")
    );
}

#[test]
fn the_page_stays_below_30_kb_in_general_and_below_300_kb_in_the_worst_case() {
    let typical = page(&status("a-name-of-usual-length", 3, 10));
    assert!(typical.len() < 30 * 1024, "{}", typical.len());
    let long = "<\u{e9}".repeat(5_000);
    // The limits of the history and of `assemble`.
    let mut worst = status(&long.chars().take(120).collect::<String>(), 100, 50);
    worst.verdict.sentence = long.chars().take(600).collect();
    let worst = page(&worst);
    assert!(worst.len() < 300 * 1024, "{}", worst.len());
}
