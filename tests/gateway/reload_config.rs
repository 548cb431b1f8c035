//! A reload changes the whole configuration, and no request notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jwe_gateway::app::{Dependencies, ReloadError, Shutdown, Trigger};
use jwe_gateway::clock::{Clock, ClockControl};
use jwe_gateway::config::{CallerConfig, Config, ConfigSource, Environment, Overrides};
use jwe_gateway::sandbox::{Fault, KeySetFault, Options, Sandbox};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::callers::caller;
use crate::harness::{PATIENCE, RawAnswer, Served, TestGateway, config, eventually};
use crate::lifecycle::in_flight;
use crate::upstreams::upstream;

const LIST: &str = "/v0/bank/credentials/list";

/// Callers that send one request after another, each on one connection.
struct Load {
    callers: JoinSet<Vec<u16>>,
    stopped: Arc<AtomicBool>,
}

impl Load {
    fn start(gateway: &Served) -> Self {
        let (mut callers, stopped) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for _ in 0..4 {
            let (address, stopped) = (gateway.address, Arc::clone(&stopped));
            callers.spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let mut statuses = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    let request = format!(
                        "POST {LIST} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer key-of-load\r\n\
                         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
                    );
                    stream.write_all(request.as_bytes()).await.unwrap();
                    let answer = RawAnswer::read(&mut stream).await;
                    assert!(!answer.closed, "a connection was closed: {answer:?}");
                    statuses.push(answer.status);
                }
                statuses
            });
        }
        Self { callers, stopped }
    }

    /// Asserts that no request failed.
    async fn end(mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        while let Some(statuses) = tokio::time::timeout(PATIENCE, self.callers.join_next()).await.unwrap() {
            let statuses = statuses.unwrap();
            assert!(statuses.len() > 10 && statuses.iter().all(|status| *status == 200), "{statuses:?}");
        }
    }
}

async fn post(gateway: &Served, path: &str, caller: &str, body: String) -> u16 {
    let request = gateway.json("POST", path, body).bearer_auth(format!("key-of-{caller}"));
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_changed_setting_takes_effect_under_load_and_no_request_fails() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let other = Sandbox::start(Options { client_id: Some("other".into()), ..Options::default() }).await.unwrap();
    let mut next = config(&sandbox);
    next.gateway.callers = vec![caller("load"), caller("a")];
    let gateway = Served::start(next.clone()).await;
    gateway.ready().await;
    let load = Load::start(&gateway);
    let apply = async |next: &Config| gateway.reloader.apply(next.clone()).await.unwrap();
    let small = || "{}".to_owned();
    assert_eq!(post(&gateway, LIST, "a", small()).await, 200);

    next.gateway.callers[1] = CallerConfig { allow: Some(vec!["GET /v0/**".parse().unwrap()]), ..caller("a") };
    assert_eq!(apply(&next).await.changed, ["caller a"]);
    assert_eq!(post(&gateway, LIST, "a", small()).await, 403);

    assert_eq!(post(&gateway, LIST, "b", small()).await, 401);
    next.gateway.callers.push(caller("b"));
    assert_eq!(apply(&next).await.changed, ["caller b (new)"]);
    assert_eq!(post(&gateway, LIST, "b", small()).await, 200);

    let large = || format!("{{\"a\": \"{}\"}}", "x".repeat(100));
    assert_eq!(post(&gateway, LIST, "b", large()).await, 200);
    next.gateway.limits.max_body = 50;
    assert_eq!(apply(&next).await.changed, ["limits.max_body"]);
    assert_eq!(post(&gateway, LIST, "b", large()).await, 413);

    let mut second = upstream(&other, "second", "/second");
    second.strip_prefix = true;
    next.upstreams.push(second);
    assert_eq!(apply(&next).await.changed, ["upstream second (new)"]);
    assert_eq!((other.jwks_fetches(), other.token_requests()), (1, 1), "before the first request");
    let (below, received) = (format!("/second{LIST}"), other.received_total());
    assert_eq!(post(&gateway, &below, "b", small()).await, 200);
    assert_eq!(other.received_total(), received + 1);
    assert_eq!(sandbox.token_requests(), 1, "the first upstream keeps its token");

    // Another provider, with other credentials and other keys.
    next.upstreams.truncate(1);
    next.upstreams[0] = upstream(&other, "sandbox", "/");
    assert_eq!(apply(&next).await.changed, ["upstream sandbox", "upstream second (removed)"]);
    let received = sandbox.received_total();
    eventually("requests in flight end", async || {
        sandbox.received_total() == received || sandbox.received().is_empty()
    })
    .await;
    assert_eq!(post(&gateway, LIST, "b", small()).await, 200);
    assert!(other.received().last().unwrap().opened.is_some(), "sealed with the key of the other provider");
    load.end().await;
}

#[tokio::test]
async fn a_request_in_flight_is_finished_by_the_configuration_that_it_began_with() {
    let other = Sandbox::start(Options::default()).await.unwrap();
    let gateway = TestGateway::spawn().await;
    gateway.ready().await;
    let mut caller = in_flight(&gateway).await;
    gateway.reloader.apply(config(&other)).await.unwrap();
    caller.write_all(b"{}").await.unwrap();
    assert_eq!(RawAnswer::read(&mut caller).await.status, 200);
    assert_eq!((gateway.sandbox.received_total(), other.received_total()), (1, 0));
    // The same connection.
    let request = "GET /v0/bank/available HTTP/1.1\r\nHost: g\r\n\r\n";
    caller.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(RawAnswer::read(&mut caller).await.status, 200);
    assert_eq!((gateway.sandbox.received_total(), other.received_total()), (1, 1));
}

#[tokio::test]
async fn requests_in_flight_count_towards_a_lower_limit_and_permits_are_neither_lost_nor_doubled() {
    let gateway = TestGateway::spawn().await;
    let mut next = config(&gateway.sandbox);
    let mut callers = vec![in_flight(&gateway).await, in_flight(&gateway).await];
    for in_flight in [2, 1, 2, 1] {
        next.gateway.limits.in_flight = in_flight;
        gateway.reloader.apply(next.clone()).await.unwrap();
        assert_eq!(gateway.json("POST", LIST, "{}").send().await.unwrap().status(), 503, "two are in flight");
    }
    for caller in &mut callers {
        caller.write_all(b"{}").await.unwrap();
        assert_eq!(RawAnswer::read(caller).await.status, 200);
    }
    let _only = in_flight(&gateway).await;
    assert_eq!(gateway.json("POST", LIST, "{}").send().await.unwrap().status(), 503);
    next.gateway.limits.in_flight = 2;
    gateway.reloader.apply(next).await.unwrap();
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn a_setting_that_needs_a_restart_is_named_and_keeps_its_value() {
    let gateway = TestGateway::spawn().await;
    let mut next = config(&gateway.sandbox);
    next.gateway.listen.address = jwe_gateway::config::Address::Tcp("127.0.0.1:9".parse().unwrap());
    next.gateway.limits.max_body = 1;
    for _ in 0..2 {
        let report = gateway.reloader.apply(next.clone()).await.unwrap();
        assert_eq!(report.needs_restart, ["listen.address"], "at each reload until the restart");
    }
    assert_eq!(gateway.json("POST", LIST, "{}").send().await.unwrap().status(), 413, "the rest is in use");
}

#[tokio::test]
async fn counters_survive_a_changed_upstream_and_caller() {
    let gateway = TestGateway::spawn_with(|config| {
        config.gateway.callers = vec![CallerConfig { requests_per_second: Some(1), ..caller("a") }];
    })
    .await;
    let value = async |metric: &str| {
        let text = gateway.admin("/metrics").await.1;
        let line =
            text.lines().find_map(|line| line.strip_prefix(metric)).unwrap_or_else(|| panic!("{metric}: {text}"));
        line.trim().parse::<f64>().unwrap()
    };
    const REFUSED: &str = "jwe_gateway_caller_refusals_total{caller=\"a\",reason=\"rate\",enforced=\"true\"}";
    while post(&gateway, LIST, "a", "{}".to_owned()).await != 429 {}
    let refused = value(REFUSED).await;
    let mut next = config(&gateway.sandbox);
    next.gateway.callers = vec![CallerConfig { requests_per_second: Some(1), concurrent: Some(9), ..caller("a") }];
    gateway.reloader.apply(next).await.unwrap();
    assert_eq!(value(REFUSED).await, refused);
    assert_eq!(value("jwe_gateway_config_reloads_total{result=\"ok\"}").await, 1.0);
    assert_eq!(value("jwe_gateway_config_last_reload_successful").await, 1.0);
}

/// The token of the admin listener.
pub(crate) const TOKEN: &str = "token-of-an-operator";

/// A gateway with a configuration file, and a clock that the test advances.
pub(crate) struct FromFile {
    pub(crate) directory: tempfile::TempDir,
    sandbox: Sandbox,
    pub(crate) gateway: Served,
    control: ClockControl,
}

impl FromFile {
    pub(crate) async fn start() -> Self {
        Self::start_in(Dependencies::default()).await
    }

    /// The same with the dependencies of the test, except for the clock and the source.
    pub(crate) async fn start_in(dependencies: Dependencies) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        std::fs::write(directory.path().join("secret"), sandbox.client_secret()).unwrap();
        std::fs::write(directory.path().join("token"), TOKEN).unwrap();
        std::fs::write(directory.path().join("gateway.toml"), Self::text(directory.path(), &sandbox, "")).unwrap();
        let mut overrides = Overrides::default();
        overrides.config = Some(directory.path().join("gateway.toml"));
        let source = Arc::new(ConfigSource::new(overrides, Environment::from([("JWE_GATEWAY_IN_FLIGHT", "9")])));
        let (clock, control) = Clock::manual();
        let config = source.read().unwrap().config;
        let dependencies = Dependencies { clock, source: Some(source), ..dependencies };
        let gateway = Served::start_in(config, dependencies).await;
        gateway.ready().await;
        Self { directory, sandbox, gateway, control }
    }

    fn text(directory: &std::path::Path, sandbox: &Sandbox, limits: &str) -> String {
        let (secret, token) = (directory.join("secret"), directory.join("token"));
        let (url, id) = (sandbox.url(), sandbox.client_id());
        format!(
            "[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\ntoken_file = {token:?}\n[limits]\n{limits}\n\
             [[upstream]]\nname = \"sandbox\"\nurl = {url:?}\n[upstream.credentials]\nclient_id = {id:?}\n\
             client_secret_file = {secret:?}\n"
        )
    }

    pub(crate) fn write(&self, limits: &str) {
        let text = Self::text(self.directory.path(), &self.sandbox, limits);
        // As an editor does: the file is whole at each moment.
        let (new, file) = (self.directory.path().join("new"), self.directory.path().join("gateway.toml"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// Lets time pass until `condition` holds.
    pub(crate) async fn passes_until(&self, what: &str, condition: impl Fn() -> bool) {
        eventually(what, async || {
            self.control.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
            condition()
        })
        .await;
    }

    /// Lets `seconds` pass.
    pub(crate) async fn passes(&self, seconds: usize) {
        for _ in 0..seconds {
            self.passes_until("a second passes", || true).await;
        }
    }

    async fn accepts(&self, bytes: usize) -> bool {
        let body = format!("\"{}\"", "x".repeat(bytes - 2));
        self.gateway.json("POST", LIST, body).send().await.unwrap().status() != 413
    }
}

#[tokio::test]
async fn a_changed_file_is_used_and_a_faulty_one_is_reported_once() {
    let test = FromFile::start().await;
    let last = || test.gateway.reloader.last();
    assert_eq!(last().trigger, Trigger::Start);
    test.write("max_body = \"60B\"");
    test.passes_until("reloaded", || last().trigger == Trigger::File).await;
    assert_eq!(last().outcome.as_ref().unwrap().changed, ["limits.max_body"]);
    assert!(test.accepts(60).await && !test.accepts(61).await);

    test.write("max_body = \"1 parsec\"\nunknown = 1");
    test.passes_until("refused", || last().outcome.is_err()).await;
    let Err(ReloadError::Faulty(faults)) = &last().outcome else { panic!("{:?}", last()) };
    assert!(faults.len() == 2 && faults[0].contains("gateway.toml:7:1: limits.max_body"), "all faults: {faults:?}");
    let reported = last().at;
    test.passes(30).await;
    assert_eq!(last().at, reported, "reported once");
    assert!(test.accepts(60).await && !test.accepts(61).await, "the former configuration is in use");
    let (_, metrics) = test.gateway.admin("/metrics").await;
    assert!(metrics.contains("jwe_gateway_config_last_reload_successful 0"), "{metrics}");
    assert!(metrics.contains("jwe_gateway_config_reloads_total{result=\"failed\"} 1"), "{metrics}");

    test.write("max_body = \"60B\"");
    test.passes_until("the fault is over", || last().outcome.is_ok()).await;
    assert_eq!(last().outcome.as_ref().unwrap().changed, [""; 0]);
    assert_eq!(test.sandbox.token_requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_files_under_load_change_nothing_and_fail_no_request() {
    let test = FromFile::start().await;
    let file = test.directory.path().join("gateway.toml");
    let good = std::fs::read(&file).unwrap();
    let load = Load::start(&test.gateway);
    let broken: [&[u8]; 7] = [
        b"",
        b"\xff\xfe\x00",
        b"[limits]\nmax_body = ",
        &good[..good.len() - 5],
        &[good.as_slice(), b"[[upstream]]\n"].concat(),
        &[good.as_slice(), b"ca_file = \"/nowhere\"\n"].concat(),
        &b"# \n".repeat(1_000_000),
    ];
    for content in broken {
        std::fs::write(&file, content).unwrap();
        let Err(ReloadError::Faulty(faults)) = test.gateway.reloader.reload().await else {
            panic!("{:?}", String::from_utf8_lossy(&content[..content.len().min(400)]));
        };
        assert!(!faults.is_empty());
    }
    std::fs::remove_file(&file).unwrap();
    assert!(test.gateway.reloader.reload().await.is_err(), "no file");
    std::fs::create_dir(&file).unwrap();
    assert!(test.gateway.reloader.reload().await.is_err(), "a directory");
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, good).unwrap();
    assert_eq!(test.gateway.reloader.reload().await.unwrap().changed, [""; 0]);
    load.end().await;
    assert_eq!(test.sandbox.token_requests(), 1);
}

#[tokio::test]
async fn a_shutdown_during_a_reload_does_not_wait_for_it() {
    let mut test = FromFile::start().await;
    test.sandbox.arm(Fault::KeySet(KeySetFault::SlowDrip { pause_ms: 3_600_000 }));
    let reload = tokio::spawn({
        let reloader = test.gateway.reloader.clone();
        async move { reloader.reload().await }
    });
    let fetches = test.sandbox.jwks_fetches();
    eventually("the reload fetches the key set", async || test.sandbox.jwks_fetches() > fetches).await;
    test.gateway.stop(Shutdown::Immediate);
    test.gateway.ended().await;
    assert!(!reload.is_finished(), "the reload still waits");
    reload.abort();
}

#[tokio::test]
async fn variables_keep_their_precedence_and_a_requested_reload_reads_at_once() {
    let test = FromFile::start().await;
    test.write("max_body = \"60B\"\nin_flight = 5");
    let report = test.gateway.reloader.reload().await.unwrap();
    assert_eq!(report.changed, ["limits.max_body"], "JWE_GATEWAY_IN_FLIGHT replaces in_flight of the file");
    std::fs::remove_file(test.directory.path().join("secret")).unwrap();
    test.write("max_body = \"70B\"");
    let Err(ReloadError::Faulty(faults)) = test.gateway.reloader.reload().await else { panic!("a secret is missing") };
    assert!(faults[0].contains("no such file"), "{faults:?}");
    assert!(!test.accepts(70).await, "all or nothing");
}

#[tokio::test]
async fn reloads_that_are_requested_together_share_one_result() {
    let test = FromFile::start().await;
    let fetches = test.sandbox.jwks_fetches();
    let mut reloads = JoinSet::new();
    for _ in 0..50 {
        let reloader = test.gateway.reloader.clone();
        reloads.spawn(async move { reloader.reload().await });
    }
    assert!(reloads.join_all().await.into_iter().all(|result| result.is_ok()));
    assert!((1..=2).contains(&(test.sandbox.jwks_fetches() - fetches)), "{}", test.sandbox.jwks_fetches());
}
