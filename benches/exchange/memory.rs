//! Memory without and under load, start, and fairness.

use std::io;
use std::time::Duration;

use crate::Bench;
use crate::common::Spread;
use crate::cost::LOG;
use crate::load::{Load, Outcome};
use crate::peers::{self, NGINX};
use crate::proxies::Proxy;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The default of `[limits] buffered` in MiB.
const BUDGET_MIB: f64 = 256.0;

/// The time from the start of the process to its first connection, and its memory when it is ready.
pub(crate) async fn start(bench: &mut Bench) -> io::Result<()> {
    for gateway in &bench.gateways {
        let (mut starts, mut cpu, mut idle) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.rounds {
            let proxy = Proxy::gateway(gateway.command(), bench.upstream.address, LOG, bench.proxy_core).await?;
            starts.push(proxy.start.as_secs_f64() * 1e3);
            cpu.push(proxy.start_cpu.as_secs_f64() * 1e3);
            tokio::time::sleep(bench.period).await;
            idle.push(proxy.resident()?);
        }
        bench.report.add("start to listening", " ms", Some(50.0), gateway.name, Spread::of(starts));
        bench.report.add("start to listening: CPU", " ms", None, gateway.name, Spread::of(cpu));
        bench.report.add("memory when idle", " MiB", Some(15.0), gateway.name, Spread::of(idle));
    }
    Ok(())
}

/// The latency of 1 KiB on 8 connections, alone and beside 10 MiB on 4 connections. nginx shows how much of the
/// difference comes from the load itself, which shares a core with the upstream.
pub(crate) async fn fairness(bench: &mut Bench) -> io::Result<()> {
    let mut proxies = Vec::new();
    for gateway in &bench.gateways {
        let proxy = Proxy::gateway(gateway.command(), bench.upstream.address, LOG, bench.proxy_core).await?;
        proxies.push((gateway.name, proxy));
    }
    proxies.extend(peers::nginx(bench.upstream.address, bench.proxy_core)?.map(|proxy| (NGINX, proxy)));

    bench.upstream.verify_every(1000);
    for (name, proxy) in &proxies {
        let mut small = Load::connect(proxy.address, 8, KIB).await?;
        let mut large = Load::connect(proxy.address, 4, 10 * MIB).await?;
        let mut rises = Vec::new();
        for _ in 0..bench.rounds {
            small.drive(bench.period / 10).await;
            let mut alone = small.drive(bench.period).await;
            let (mut beside, letters) = tokio::join!(small.drive(bench.period), large.drive(bench.period));
            rises.push(beside.percentile(99) - alone.percentile(99));
            for outcome in [alone, beside, letters] {
                bench.report.check_all_served(name, &outcome);
            }
        }
        let rise = Spread::of(rises);
        bench.report.add("p99 of 1 KiB x 8: rise beside 10 MiB x 4", " ms", Some(5.0), name, rise);
    }
    Ok(())
}

/// Five bursts of 64 letters of 10 MiB, then ten seconds of rest. A burst exceeds the budget, so some are refused.
pub(crate) async fn bursts(bench: &mut Bench) -> io::Result<()> {
    bench.upstream.verify_every(1000);
    for gateway in &bench.gateways {
        let proxy = Proxy::gateway(gateway.command(), bench.upstream.address, LOG, bench.proxy_core).await?;
        let mut all = Outcome::default();
        for _ in 0..bench.rounds.min(5) {
            all.add(Load::connect(proxy.address, 64, 10 * MIB).await?.drive(Duration::ZERO).await);
        }
        bench.report.check(gateway.name, &all);
        let peak = proxy.peak()?;
        tokio::time::sleep(bench.period * 20).await;
        let rest = proxy.resident()?;
        println!(
            "{:<12} {:<18} {} served, {} refused with 503",
            "64 x 10 MiB",
            gateway.name,
            all.served(),
            all.refused
        );
        let goal = Some(BUDGET_MIB + 64.0);
        bench.report.add("bursts of 64 x 10 MiB: peak memory", " MiB", goal, gateway.name, Spread::of([peak]));
        let after = "bursts of 64 x 10 MiB: memory 10 s later";
        bench.report.add(after, " MiB", Some(40.0), gateway.name, Spread::of([rest]));
    }
    Ok(())
}
