//! What a reload reports, when it overlaps a shutdown, and what ends the report of a failure.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jwe_gateway::app::{Dependencies, LifecycleEvent, ReloadError, Shutdown, Trigger};
use jwe_gateway::sandbox::{Fault, KeySetFault, Options, Sandbox};

use crate::harness::{Served, TestGateway, config, eventually};
use crate::reload_config::FromFile;
use crate::upstreams::upstream;

/// The events of a gateway, in their order.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<&'static str>>>);

impl Events {
    fn seen(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }

    fn dependencies(&self) -> Dependencies {
        let events = self.clone();
        let observer = move |event: LifecycleEvent<'_>| {
            events.0.lock().unwrap().push(match event {
                LifecycleEvent::Reloading => "reloading",
                LifecycleEvent::Reloaded(Ok(_)) => "reloaded",
                LifecycleEvent::Reloaded(Err(_)) => "refused",
                LifecycleEvent::Stopping => "stopping",
            });
        };
        Dependencies { lifecycle: Some(Arc::new(observer)), ..Dependencies::default() }
    }
}

#[tokio::test]
async fn a_shutdown_that_begins_during_a_reload_stops_it_and_no_event_follows() {
    let other = Sandbox::start(Options::default()).await.unwrap();
    let gateway = TestGateway::spawn().await;
    let events = Events::default();
    let mut next = config(&gateway.sandbox);
    next.gateway.deadlines.drain_delay = Duration::from_secs(60);
    let mut served = Served::start_in(next.clone(), events.dependencies()).await;
    other.arm(Fault::KeySet(KeySetFault::SlowDrip { pause_ms: 3_600_000 }));
    next.upstreams.push(upstream(&other, "other", "/other"));
    let reload = tokio::spawn({
        let reloader = served.reloader.clone();
        async move { reloader.apply(next).await }
    });
    eventually("the reload fetches the key set", async || other.jwks_fetches() > 0).await;
    served.stop(Shutdown::AfterDelay);
    eventually("the gateway is stopping", async || events.seen().contains(&"stopping")).await;
    // The first fetch of the new upstream has five seconds.
    assert_eq!(reload.await.unwrap(), Err(ReloadError::Stopping));
    assert_eq!(events.seen(), ["reloading", "stopping"]);
    assert!(!served.admin("/metrics").await.1.contains("config_reloads_total{result=\"ok\"} 1"));
    let received = served.json("POST", "/other/v0/bank/credentials/list", "{}").send().await.unwrap();
    assert_ne!(received.status(), 503, "the former configuration has no such upstream");
    assert_eq!(other.received_total(), 0);
}

#[tokio::test]
async fn a_check_of_the_file_is_reported_only_if_it_has_a_new_result() {
    let events = Events::default();
    let test = FromFile::start_in(events.dependencies()).await;
    let last = || test.gateway.reloader.last();
    test.passes(30).await;
    assert_eq!(events.seen(), [""; 0], "the file has not changed");
    test.write("max_body = \"1 parsec\"");
    test.passes_until("refused", || last().outcome.is_err()).await;
    test.passes(60).await;
    assert_eq!(events.seen(), ["reloading", "refused"]);
    test.write("");
    test.passes_until("the fault is over", || last().outcome.is_ok()).await;
    test.passes(30).await;
    assert_eq!(events.seen(), ["reloading", "refused", "reloading", "reloaded"]);
}

#[tokio::test]
async fn a_failure_that_only_a_signal_met_is_over_when_the_file_is_restored() {
    let test = FromFile::start().await;
    let last = || test.gateway.reloader.last();
    // The content is known after this.
    test.write("max_body = \"60B\"");
    test.passes_until("reloaded", || last().trigger == Trigger::File).await;
    test.write("unknown = 1");
    assert!(test.gateway.reloader.reload().await.is_err());
    test.write("max_body = \"60B\"");
    test.passes_until("the fault is over", || last().outcome.is_ok()).await;
    assert_eq!(last().trigger, Trigger::File);
}

#[tokio::test]
async fn a_failure_is_not_over_while_a_file_that_the_configuration_names_is_missing() {
    let test = FromFile::start().await;
    let secret = test.directory.path().join("secret");
    let content = std::fs::read(&secret).unwrap();
    std::fs::remove_file(&secret).unwrap();
    assert!(test.gateway.reloader.reload().await.is_err());
    let failed = test.gateway.reloader.last().at;
    test.passes(60).await;
    assert_eq!(test.gateway.reloader.last().at, failed, "reported once");
    std::fs::write(&secret, content).unwrap();
    test.passes_until("the fault is over", || test.gateway.reloader.last().outcome.is_ok()).await;
}
