//! Instructions per request, counted by valgrind: unlike times, they are the same in every run.
//!
//! The gateway runs twice for different numbers of requests. The difference of the counts, divided by the difference
//! of the numbers, does not contain start and shutdown. Instructions of the kernel are not counted.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::cost::{LOG, NO_ACCESS_LOG, without_log};
use crate::load::Load;
use crate::proxies::Proxy;
use crate::upstream::Upstream;
use crate::{Bench, Gateway};

pub(crate) async fn count(bench: &mut Bench, requests: usize) -> io::Result<()> {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("Instructions were not counted: valgrind is not installed.");
        return Ok(());
    }
    bench.upstream.verify_every(1000);
    println!("{:<12} {:<18} {:>24}", "load", "proxy", "instructions per request");
    const KIB: usize = 1 << 10;
    for (name, octets, requests) in [("1 KiB x 1", KIB, requests), ("64 KiB x 1", 64 * KIB, requests / 4)] {
        for gateway in &bench.gateways {
            for (proxy, log) in [(gateway.name.to_owned(), LOG), (without_log(gateway.name), NO_ACCESS_LOG)] {
                let few = run(&bench.upstream, gateway, log, bench.proxy_core, (octets, requests / 10)).await?;
                let many = run(&bench.upstream, gateway, log, bench.proxy_core, (octets, requests)).await?;
                let each = (many - few) / (requests - requests / 10) as u64;
                println!("{name:<12} {proxy:<18} {each:>24}");
            }
        }
    }
    bench.report.check_bodies(&bench.upstream);
    Ok(())
}

/// The instructions of a gateway from its start to its end, with so many requests on one connection.
async fn run(upstream: &Upstream, gateway: &Gateway, log: &str, core: usize, load: (usize, usize)) -> io::Result<u64> {
    let (octets, requests) = load;
    let directory = TempDir::new()?;
    let counts = directory.path().join("counts");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", &format!("--callgrind-out-file={}", counts.display())]);
    valgrind.arg(&gateway.binary);
    let proxy = Proxy::gateway(valgrind, upstream.address, log, core).await?;
    let mut load = Load::connect(proxy.address, 1, octets).await?;
    for _ in 0..requests {
        // A period without length is one request for each connection.
        let outcome = load.drive(Duration::ZERO).await;
        if outcome.served() != 1 {
            return Err(io::Error::other(format!("a request failed: {:?}", outcome.fault)));
        }
    }
    proxy.interrupt()?;
    total(&counts)
}

fn total(counts: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(counts)?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals:"));
    let total = line.and_then(|total| total.trim().parse().ok());
    total.ok_or_else(|| io::Error::other("valgrind wrote no total"))
}
