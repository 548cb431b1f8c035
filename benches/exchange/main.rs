//! The cost of a request in the gateway, beside the floor (the arithmetic and nginx) and beside other proxies.
//!
//!     cargo bench --bench exchange -- --help
//!
//! This process is the upstream and all callers, and runs on one core. The proxies run on another core and take turns:
//! each round measures each of them once, and ratios are formed within a round. So other work on the machine changes
//! the times of a round more than its ratios. Nothing is installed; a missing peer is left out.
//!
//! A wrong reply or a wrongly sealed body fails the run. A missed goal does not, because times are not repeatable.
//! Counts of instructions are: see `--instructions`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints tables")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that fails panics")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

#[path = "../common/mod.rs"]
mod common;
mod cost;
mod http;
mod instructions;
mod load;
mod memory;
mod peers;
mod proxies;
mod report;
mod upstream;

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use common::key::KeyPair;
use peers::GoPeer;
use report::Report;
use upstream::Upstream;

/// Measures a request's CPU time, latency and memory in the gateway, beside its peers.
#[derive(Parser)]
struct Arguments {
    /// The gateway to measure.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_jwe-gateway"))]
    gateway: PathBuf,
    /// A second gateway to measure in the same run, such as an earlier build.
    #[arg(long)]
    against: Option<PathBuf>,
    /// Measures for a few seconds in all, only to show that it works.
    #[arg(long)]
    quick: bool,
    /// Measures only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Counts instructions per request with valgrind instead.
    #[arg(long)]
    instructions: bool,
    /// Cargo passes it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// CPU per request: 1 KiB on 64 connections, with and without the access log.
    Small,
    /// CPU per request: 1 KiB on one connection.
    Single,
    /// CPU per request: 64 KiB on 64 connections.
    Medium,
    /// CPU per request: 10 MiB on 4 connections, and peak memory.
    Large,
    /// Time to start, and memory without traffic.
    Start,
    /// Latency of small requests while large ones are sealed.
    Fairness,
    /// Memory of five bursts of 64 letters of 10 MiB.
    Bursts,
}

/// Shared by all parts.
struct Bench {
    upstream: Upstream,
    gateways: Vec<Gateway>,
    /// The peer in Go, where it can be built.
    go: Option<GoPeer>,
    proxy_core: usize,
    rounds: usize,
    /// How long each proxy is driven in a round.
    period: Duration,
    report: Report,
}

/// A binary to measure.
struct Gateway {
    name: &'static str,
    binary: PathBuf,
}

impl Gateway {
    fn command(&self) -> Command {
        Command::new(&self.binary)
    }
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(report) => report.print(),
        Err(error) => {
            eprintln!("the benchmark could not go on: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> io::Result<Report> {
    let cores = common::cores()?;
    let proxy_core = cores[0];
    let load_core = cores.last().copied().unwrap_or(proxy_core);
    if proxy_core == load_core {
        println!("Only one core: proxies and load share it, so latencies mean nothing.");
    }
    common::pin(load_core)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let against = arguments.against.iter().map(|binary| Gateway { name: "against", binary: binary.clone() });
        let mut bench = Bench {
            upstream: Upstream::start(KeyPair::generate()).await?,
            gateways: [Gateway { name: "gateway", binary: arguments.gateway.clone() }]
                .into_iter()
                .chain(against)
                .collect(),
            go: GoPeer::build()?,
            proxy_core,
            // Many short rounds: a disturbance of a few of them does not move the median.
            rounds: if arguments.quick { 1 } else { 15 },
            period: Duration::from_millis(if arguments.quick { 100 } else { 500 }),
            report: Report::default(),
        };
        if arguments.instructions {
            instructions::count(&mut bench, if arguments.quick { 50 } else { 1000 }).await?;
            return Ok(bench.report);
        }
        cost::print_header(&bench);
        for part in Part::value_variants() {
            if !arguments.only.is_empty() && !arguments.only.contains(part) {
                continue;
            }
            match part {
                Part::Small => cost::measure(&mut bench, &cost::SMALL).await?,
                Part::Single => cost::measure(&mut bench, &cost::SINGLE).await?,
                Part::Medium => cost::measure(&mut bench, &cost::MEDIUM).await?,
                Part::Large => cost::measure(&mut bench, &cost::LARGE).await?,
                Part::Start => memory::start(&mut bench).await?,
                Part::Fairness => memory::fairness(&mut bench).await?,
                Part::Bursts => memory::bursts(&mut bench).await?,
            }
            bench.report.check_bodies(&bench.upstream);
        }
        Ok(bench.report)
    })
}
