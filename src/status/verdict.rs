//! The first sentence of the status page: all is well, or what is wrong, since when, and what to look at.
//!
//! [`Kind`] lists what can be wrong, the worst first. A kind has a severity, advice, and a row of the table of symptoms
//! in `docs/operations.md`. A test compares the two.
//!
//! Where keys or credentials know when a failure began, their time counts. Else it is the time when a check found the
//! cause first: see [`History::onsets`](super::history::History::onsets).

use std::cmp::Reverse;

use serde::Serialize;

use super::model::{Finding, State, Time, Verdict};

/// The table of symptoms, in the repository.
pub(super) const DOCUMENT: &str = "docs/operations.md";
pub(super) const SECTION: &str = "Symptom, cause, remedy";

/// A file and anchor of the repository on the web. `None` as long as `Cargo.toml` names no repository; the page then
/// names file, section and row.
pub(super) fn on_the_web(documentation: &str) -> Option<String> {
    let repository = env!("CARGO_PKG_REPOSITORY");
    (!repository.is_empty()).then(|| format!("{repository}/blob/main/{documentation}"))
}

/// What is wrong. Among problems of the same severity, this is the order of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Stopping,
    NoUsableKey,
    CredentialsRefused,
    NoToken,
    KeySetStale,
    RenewalsFailing,
    FetchesFailing,
    CertificateExpires,
    Saturated,
    GatewayErrors,
    UpstreamErrors,
    LogLinesDropped,
    ReloadFailed,
}

/// A kind's row in the table of symptoms, and what to do about it.
struct Row {
    state: State,
    /// The first cell of the row.
    symptom: &'static str,
    /// The anchor in its second cell.
    anchor: &'static str,
    look_at: &'static str,
}

impl Kind {
    #[cfg(test)]
    pub(super) const ALL: [Self; 13] = [
        Self::Stopping,
        Self::NoUsableKey,
        Self::CredentialsRefused,
        Self::NoToken,
        Self::KeySetStale,
        Self::RenewalsFailing,
        Self::FetchesFailing,
        Self::CertificateExpires,
        Self::Saturated,
        Self::GatewayErrors,
        Self::UpstreamErrors,
        Self::LogLinesDropped,
        Self::ReloadFailed,
    ];

    fn row(self) -> Row {
        let row = |state, symptom, anchor, look_at| Row { state, symptom, anchor, look_at };
        match self {
            Self::Stopping => row(
                State::Stopping,
                "`/readyz` stays 503",
                "symptom-not-ready",
                "Nothing, if this is a restart. Otherwise the log says which signal or request stopped the gateway.",
            ),
            Self::NoUsableKey => row(
                State::Failing,
                "503 `no_usable_key`",
                "symptom-no-usable-key",
                "The cause of the last fetch, and the table of keys below. Then: jwe-gateway keys --keys URL.",
            ),
            Self::CredentialsRefused => row(
                State::Failing,
                "502 `credentials_refused`",
                "symptom-credentials-refused",
                "The client id and the secret file. A corrected secret file is tried within 2 s.",
            ),
            Self::NoToken => row(
                State::Failing,
                "503 `token_unavailable`",
                "symptom-token-unavailable",
                "The cause of the last renewal. The gateway tries again every second while there are requests.",
            ),
            Self::KeySetStale => row(
                State::Attention,
                "The key set is stale (`jwe_gateway_jwks_serving_stale`)",
                "symptom-key-set-stale",
                "Whether this machine reaches the provider's key set. Requests fail once max_stale has passed, or \
                 when the provider withdraws the key.",
            ),
            Self::RenewalsFailing => row(
                State::Attention,
                "503 `token_unavailable`",
                "symptom-token-unavailable",
                "The cause of the last renewal. Requests fail when the present token expires.",
            ),
            Self::FetchesFailing => row(
                State::Attention,
                "The key set is stale (`jwe_gateway_jwks_serving_stale`)",
                "symptom-key-set-stale",
                "Whether this machine reaches the provider's key set. The cached set is still fresh.",
            ),
            Self::CertificateExpires => row(
                State::Attention,
                "Callers see an old or expired certificate",
                "symptom-certificate",
                "The certificate file of listen.tls. A renewed file is used within 10 s.",
            ),
            Self::Saturated => row(
                State::Attention,
                "503 `overloaded`",
                "symptom-overloaded",
                "Whether the provider responds: requests that hang are not in the latency yet. If it does, raise the limit, or \
                 add replicas.",
            ),
            Self::GatewayErrors => row(
                State::Failing,
                "Many 5xx that the gateway made itself",
                "symptom-gateway-errors",
                "The refusals below, by code. The log line with the request id has the cause.",
            ),
            Self::UpstreamErrors => row(
                State::Attention,
                "Many 5xx of the provider",
                "symptom-upstream-errors",
                "The provider. The gateway relays its responses unchanged; the access log has their request ids.",
            ),
            Self::LogLinesDropped => row(
                State::Attention,
                "Log lines are missing (`jwe_gateway_log_lines_dropped_total`)",
                "symptom-log-incomplete",
                "Whether the reader of the log, or its disk, keeps up.",
            ),
            Self::ReloadFailed => row(
                State::Attention,
                "A reload failed, or a file cannot be read",
                "symptom-reload-failed",
                "The cause. The former configuration stays in use. Check the file: jwe-gateway check --config FILE.",
            ),
        }
    }
}

/// Something that is wrong, without its time if only a check found it.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) kind: Kind,
    /// Instead of the state of the kind.
    state: Option<State>,
    pub(super) upstream: Option<String>,
    pub(super) since: Option<Time>,
    pub(super) sentence: String,
    pub(super) cause: Option<String>,
}

impl Problem {
    pub(super) fn new(kind: Kind, upstream: Option<&str>, sentence: String) -> Self {
        Self { kind, state: None, upstream: upstream.map(str::to_owned), since: None, sentence, cause: None }
    }

    pub(super) fn since(self, since: Option<Time>) -> Self {
        Self { since, ..self }
    }

    pub(super) fn state(self, state: State) -> Self {
        Self { state: Some(state), ..self }
    }

    pub(super) fn cause(self, cause: Option<String>) -> Self {
        Self { cause, ..self }
    }
}

/// The verdict about these problems. `found` are the times when a check found each of them first.
pub(super) fn verdict(problems: Vec<Problem>, found: Vec<Time>) -> Verdict {
    let mut findings: Vec<(State, Finding)> = problems.into_iter().zip(found).map(finding).collect();
    // What makes requests fail comes first. The sort is stable: the configured order decides among upstreams.
    findings.sort_by_key(|(state, finding)| (Reverse(*state), finding.kind));
    let state = findings.first().map_or(State::Well, |(state, _)| *state);
    let findings: Vec<Finding> = findings.into_iter().map(|(_, finding)| finding).collect();
    let sentence = match findings.first() {
        None => "All is well.".to_owned(),
        Some(worst) => {
            let Finding { sentence, since, look_at, .. } = worst;
            format!("{sentence} Since {}. Look at: {look_at}", since.0.strftime("%F %H:%M:%S UTC"))
        }
    };
    Verdict { state, sentence, findings }
}

fn finding((problem, found): (Problem, Time)) -> (State, Finding) {
    let Problem { kind, state, upstream, since, sentence, cause } = problem;
    let row = kind.row();
    let (since, symptom, look_at) = (since.unwrap_or(found), row.symptom, row.look_at);
    let documentation = format!("{DOCUMENT}#{}", row.anchor);
    (
        state.unwrap_or(row.state),
        Finding { kind, upstream, since, sentence, cause, look_at: look_at.to_owned(), symptom, documentation },
    )
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn the_worst_problem_makes_the_first_sentence() {
        let problem = |kind, upstream, sentence: &str| Problem::new(kind, Some(upstream), sentence.to_owned());
        let problems = vec![
            problem(Kind::Saturated, "a", "a is full."),
            problem(Kind::KeySetStale, "a", "a is stale.").since(Some(at(5))),
            problem(Kind::NoUsableKey, "b", "b has no key."),
            problem(Kind::NoUsableKey, "c", "c has no key."),
        ];
        let verdict = verdict(problems, vec![at(9); 4]);
        assert_eq!(
            (verdict.state, &*verdict.sentence),
            (
                State::Failing,
                "b has no key. Since 1970-01-01 00:00:09 UTC. Look at: The cause of the last fetch, and the table of keys below. \
             Then: jwe-gateway keys --keys URL."
            )
        );
        let name = |finding: &Finding| (finding.upstream.clone().unwrap_or_default(), finding.since);
        let order: Vec<_> = verdict.findings.iter().map(name).collect();
        assert_eq!(order, [("b", 9), ("c", 9), ("a", 5), ("a", 9)].map(|(name, second)| (name.to_owned(), at(second))));
    }

    #[test]
    fn without_a_problem_all_is_well() {
        let verdict = verdict(Vec::new(), Vec::new());
        assert_eq!((verdict.state, &*verdict.sentence), (State::Well, "All is well."));
    }

    #[test]
    fn kinds_are_in_the_order_of_their_severity_and_have_a_row_in_the_documentation() {
        assert!(Kind::ALL.is_sorted());
        let document = include_str!("../../docs/operations.md");
        let (_, table) = document.split_once(&format!("\n## {SECTION}\n")).unwrap();
        for kind in Kind::ALL {
            let Row { symptom, anchor, .. } = kind.row();
            assert!(table.contains(&format!("\n| {symptom} | <a id=\"{anchor}\"></a>")), "{kind:?} has no row");
        }
    }

    #[test]
    fn the_first_sentence_is_about_a_problem_that_makes_requests_fail() {
        let now = Time(Timestamp::UNIX_EPOCH);
        let stale = Problem::new(Kind::KeySetStale, None, "The key set is stale.".to_owned());
        let full = Problem::new(Kind::Saturated, None, "A limit is reached.".to_owned()).state(State::Failing);
        let verdict = verdict(vec![stale, full], vec![now; 2]);
        assert_eq!(verdict.state, State::Failing);
        assert!(verdict.sentence.starts_with("A limit is reached."), "{}", verdict.sentence);
        let kinds: Vec<_> = verdict.findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, [Kind::Saturated, Kind::KeySetStale]);
    }
}
