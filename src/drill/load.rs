//! Sends requests at a steady rate, independent of the replies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;
use url::Url;

use super::observations::{ClientReply, Digest, ReplyOutcome};
use super::request_kind::RequestKind;
use super::scenario::Scenario;
use crate::clock::Clock;

/// The limit on concurrent requests. At the default rate it is reached when a gateway has not replied for
/// three seconds. Then the load waits too, which the latencies show, because they count from the time when a
/// request was due.
const MAX_IN_FLIGHT: usize = 512;

/// The time limit for a reply. After it the request is lost, even if a reply follows.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Load {
    client: reqwest::Client,
    gateway: Url,
    scenario: Scenario,
    run_id: Arc<str>,
    clock: Clock,
    counters: Arc<LoadCounters>,
}

#[derive(Debug, Default)]
pub(super) struct LoadCounters {
    sent: AtomicU64,
    failed: AtomicU64,
}

impl LoadCounters {
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Replies with another status than the expected one, and requests without a reply.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Load {
    pub(super) fn new(
        client: reqwest::Client,
        gateway: Url,
        scenario: Scenario,
        run_id: Arc<str>,
        clock: Clock,
    ) -> Self {
        Self { client, gateway, scenario, run_id, clock, counters: Arc::default() }
    }

    pub(super) fn counters(&self) -> Arc<LoadCounters> {
        Arc::clone(&self.counters)
    }

    /// Sends `rate` requests per second for `duration`, each when it is due, and returns when the last one
    /// has ended. Each result goes to `sender`.
    pub(super) async fn run(
        self,
        rate: u32,
        duration: Duration,
        started: Instant,
        sender: mpsc::UnboundedSender<ClientReply>,
    ) {
        let load = Arc::new(self);
        let permits = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
        let callers = TaskTracker::new();
        for number in 0.. {
            let due = due(number, rate);
            if due >= duration {
                break;
            }
            load.clock.sleep_until(started + due).await;
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
            let (load, sender) = (Arc::clone(&load), sender.clone());
            callers.spawn(async move {
                let kind = RequestKind::of(load.scenario, number);
                let (outcome, body) = load.send(number, kind).await;
                let ended = load.clock.now() - started;
                // A closed channel means that the drill was cancelled.
                let _ = sender.send(ClientReply { number, kind, due, ended, outcome, body });
                drop(permit);
            });
        }
        callers.close();
        callers.wait().await;
    }

    /// Returns the outcome, and the digest of the reply's body if the reply is complete.
    async fn send(&self, number: u64, kind: RequestKind) -> (ReplyOutcome, Option<Digest>) {
        self.counters.sent.fetch_add(1, Ordering::Relaxed);
        let request = self.client.post(endpoint_url(&self.gateway, kind)).header(CONTENT_TYPE, "application/json");
        let request = request.header("x-request-id", request_id(&self.run_id, number)).timeout(REQUEST_TIMEOUT);
        let request = request.body(kind.body(&self.run_id, number));
        let exchange = async {
            let reply = request.send().await?;
            let status = reply.status();
            Ok::<_, reqwest::Error>((status, Digest::of_body(reply).await?))
        };
        let (outcome, body) = match exchange.await {
            Ok((status, body)) => (ReplyOutcome::Status(status.as_u16()), Some(body)),
            Err(error) => (ReplyOutcome::NoReply(describe(error)), None),
        };
        if outcome != ReplyOutcome::Status(kind.expected_status()) {
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
        }
        (outcome, body)
    }
}

/// Returns when the request with this number is due.
fn due(number: u64, rate: u32) -> Duration {
    let rate = u64::from(rate);
    Duration::from_secs(number / rate) + Duration::from_nanos(number % rate * 1_000_000_000 / rate)
}

/// The URL of requests of this kind.
pub(super) fn endpoint_url(gateway: &Url, kind: RequestKind) -> Url {
    let mut url = gateway.clone();
    url.set_path(&format!("{}{}", gateway.path().trim_end_matches('/'), kind.path()));
    url
}

/// The request id of one request. If the gateway forwards it, it identifies also an attempt that the provider
/// could not open.
pub(super) fn request_id(run: &str, number: u64) -> String {
    format!("drill-{run}-{number}")
}

/// Returns the number in a request id.
pub(super) fn parse_request_id(run: &str, request_id: &str) -> Option<u64> {
    request_id.strip_prefix("drill-")?.strip_prefix(run)?.strip_prefix('-')?.parse().ok()
}

/// The error and its causes, without the URL.
pub(super) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_number_is_parsed_from_its_request_id() {
        assert_eq!(parse_request_id("ab12", &request_id("ab12", 7)), Some(7));
        for other in ["drill-ab12", "drill-ab1-7", "drill-ab12-x", "0198-ab12-7"] {
            assert_eq!(parse_request_id("ab12", other), None, "{other}");
        }
    }

    #[test]
    fn requests_are_due_at_the_rate_without_drift() {
        assert_eq!([0, 75, 150, 3000].map(|number| due(number, 150).as_millis()), [0, 500, 1000, 20_000]);
        assert_eq!(due(1, 3).as_nanos(), 333_333_333);
    }

    #[test]
    fn the_path_of_the_gateway_url_is_kept_as_a_prefix() {
        let at = |gateway: &str| endpoint_url(&gateway.parse().unwrap(), RequestKind::Valid).to_string();
        assert_eq!(at("http://h:1"), "http://h:1/v0/bank/credentials/status");
        assert_eq!(at("http://h:1/flanks/"), "http://h:1/flanks/v0/bank/credentials/status");
    }
}
