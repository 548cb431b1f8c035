//! CPU time and latency per request of each proxy under the same load.

use std::hint::black_box;
use std::io;
use std::thread;
use std::time::Duration;

use crate::Bench;
use crate::common::floor::Floor;
use crate::common::{Spread, letter, pin, thread_cpu};
use crate::load::Load;
use crate::peers::{self, GO, NGINX};
use crate::proxies::Proxy;

pub(crate) struct Scenario {
    name: &'static str,
    octets: usize,
    connections: usize,
    /// The goal beside the floor and nginx.
    goal: f64,
    /// The goal beside the peer in Go.
    go_goal: Option<f64>,
    /// The goal for the peak of memory in MiB.
    peak_goal: Option<f64>,
    /// Whether a gateway without access log is measured too.
    access_log: bool,
}

pub(crate) const SMALL: Scenario = Scenario {
    name: "1 KiB x 64",
    octets: 1 << 10,
    connections: 64,
    goal: 1.35,
    go_goal: Some(0.45),
    peak_goal: None,
    access_log: true,
};
pub(crate) const SINGLE: Scenario =
    Scenario { name: "1 KiB x 1", connections: 1, go_goal: None, access_log: false, ..SMALL };
pub(crate) const MEDIUM: Scenario = Scenario {
    name: "64 KiB x 64",
    octets: 64 << 10,
    connections: 64,
    goal: 1.25,
    go_goal: Some(0.50),
    peak_goal: None,
    access_log: false,
};
pub(crate) const LARGE: Scenario = Scenario {
    name: "10 MiB x 4",
    octets: 10 << 20,
    connections: 4,
    goal: 1.20,
    go_goal: None,
    peak_goal: Some(64.0),
    access_log: false,
};

const ACCESS_LOG_GOAL: f64 = 1.05;
/// The gateway's `RUST_LOG`.
pub(crate) const LOG: &str = "info";
pub(crate) const NO_ACCESS_LOG: &str = "info,jwe_gateway::access=off";

/// A proxy and its measurements, one of each kind per round.
struct Contender {
    name: String,
    proxy: Proxy,
    load: Load,
    cpu_us: Vec<f64>,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    served: usize,
}

pub(crate) fn print_header(bench: &Bench) {
    println!("Medians of {} rounds. Proxies run on core {}.\n", bench.rounds, bench.proxy_core);
    println!(
        "{:<12} {:<18} {:>11} {:>9} {:>9} {:>9} {:>9}",
        "load", "proxy", "CPU us/req", "p50 ms", "p99 ms", "peak MiB", "requests"
    );
}

pub(crate) async fn measure(bench: &mut Bench, scenario: &Scenario) -> io::Result<()> {
    let mut contenders = start(bench, scenario).await?;
    let mut floor_us = Vec::new();
    for round in 0..bench.rounds {
        floor_us.push(floor(bench, scenario.octets));
        // No proxy is always the first one after the pause, which a busy machine's scheduler rewards.
        let proxies = contenders.len();
        for turn in 0..proxies {
            contenders[(round + turn) % proxies].round(bench).await?;
        }
    }

    println!("{:<12} {:<18} {:>11.1}", scenario.name, "floor (arithmetic)", median(&floor_us));
    for contender in &contenders {
        println!(
            "{:<12} {:<18} {:>11.1} {:>9.2} {:>9.2} {:>9.1} {:>9}",
            scenario.name,
            contender.name,
            median(&contender.cpu_us),
            median(&contender.p50_ms),
            median(&contender.p99_ms),
            contender.proxy.peak()?,
            contender.served,
        );
    }
    add_goals(bench, scenario, &contenders, &floor_us)
}

/// Starts all proxies, and warms them up with verified bodies.
async fn start(bench: &mut Bench, scenario: &Scenario) -> io::Result<Vec<Contender>> {
    let (upstream, core) = (bench.upstream.address, bench.proxy_core);
    let mut proxies = Vec::new();
    for gateway in &bench.gateways {
        proxies.push((gateway.name.to_owned(), Proxy::gateway(gateway.command(), upstream, LOG, core).await?));
        if scenario.access_log {
            let proxy = Proxy::gateway(gateway.command(), upstream, NO_ACCESS_LOG, core).await?;
            proxies.push((without_log(gateway.name), proxy));
        }
    }
    proxies.extend(peers::nginx(upstream, core)?.map(|proxy| (NGINX.to_owned(), proxy)));
    if let (Some(_), Some(go)) = (scenario.go_goal, &bench.go) {
        proxies.push((GO.to_owned(), go.start(upstream, &bench.upstream.keys().public, core)?));
    }

    let mut contenders = Vec::new();
    bench.upstream.verify_every(1);
    for (name, proxy) in proxies {
        let mut load = Load::connect(proxy.address, scenario.connections, scenario.octets).await?;
        bench.report.check_all_served(&name, &load.drive(bench.period / 5).await);
        let (cpu_us, p50_ms, p99_ms) = Default::default();
        contenders.push(Contender { name, proxy, load, cpu_us, p50_ms, p99_ms, served: 0 });
    }
    bench.upstream.verify_every(1000);
    Ok(contenders)
}

impl Contender {
    async fn round(&mut self, bench: &mut Bench) -> io::Result<()> {
        // The first requests after a pause find closed connections and a cold cache.
        self.load.drive(bench.period / 10).await;
        let before = self.proxy.cpu()?;
        let mut outcome = self.load.drive(bench.period).await;
        let used = self.proxy.cpu()?.since(&before);
        bench.report.check_all_served(&self.name, &outcome);
        self.cpu_us.push(used.as_secs_f64() * 1e6 / outcome.served() as f64);
        self.p50_ms.push(outcome.percentile(50));
        self.p99_ms.push(outcome.percentile(99));
        self.served += outcome.served();
        Ok(())
    }
}

/// The CPU time of the arithmetic for one body in microseconds, on the core of the proxies.
fn floor(bench: &Bench, octets: usize) -> f64 {
    let (key, core) = (bench.upstream.keys().public.clone(), bench.proxy_core);
    let period = bench.period / 10;
    let measured = thread::spawn(move || {
        pin(core).expect("the core is one of ours");
        let body = letter(octets);
        let libraries = Floor::all(&key).map(|mut floor| {
            floor.seal(&body, |part| _ = black_box(part));
            let before = thread_cpu();
            let mut messages = 0_u32;
            let mut used = Duration::ZERO;
            while used < period {
                for _ in 0..(256 * 1024 / octets).max(1) {
                    floor.seal(&body, |part| _ = black_box(part));
                    messages += 1;
                }
                used = thread_cpu() - before;
            }
            used.as_secs_f64() * 1e6 / f64::from(messages)
        });
        libraries.into_iter().fold(f64::INFINITY, f64::min)
    });
    measured.join().expect("the floor does not panic")
}

fn add_goals(bench: &mut Bench, scenario: &Scenario, contenders: &[Contender], floor_us: &[f64]) -> io::Result<()> {
    let find = |name: &str| contenders.iter().find(|contender| contender.name == name);
    let over = |contender: &Contender, other: Option<&Contender>| {
        Spread::of(contender.cpu_us.iter().zip(&other?.cpu_us).map(|(ours, theirs)| ours / theirs))
    };
    let what = |beside: &str| format!("{}: CPU beside {beside}", scenario.name);
    for gateway in &bench.gateways {
        let name = gateway.name;
        let Some(contender) = find(name) else { continue };
        let report = &mut bench.report;

        let floor_and_nginx = find(NGINX).and_then(|nginx| {
            let floors = floor_us.iter().zip(&nginx.cpu_us).map(|(floor, nginx)| floor + nginx);
            Spread::of(contender.cpu_us.iter().zip(floors).map(|(ours, floor)| ours / floor))
        });
        report.add(&what("floor + nginx"), "", Some(scenario.goal), name, floor_and_nginx);
        report.add(&what(GO), "", scenario.go_goal, name, over(contender, find(GO)));
        report.add(&what("no access log"), "", Some(ACCESS_LOG_GOAL), name, over(contender, find(&without_log(name))));
        if name != "against" {
            report.add(&what("the other gateway"), "", None, name, over(contender, find("against")));
        }
        if scenario.peak_goal.is_some() {
            let peak = Spread::of([contender.proxy.peak()?]);
            report.add(&format!("{}: peak memory", scenario.name), " MiB", scenario.peak_goal, name, peak);
        }
    }
    Ok(())
}

pub(crate) fn without_log(gateway: &str) -> String {
    format!("{gateway}, no log")
}

fn median(values: &[f64]) -> f64 {
    Spread::of(values.iter().copied()).map_or(f64::NAN, |spread| spread.median)
}
