//! The metrics of the process and of its build, as Prometheus names them for every program.
//!
//! They come from `/proc`. Where a file of it is missing or has another shape, its metrics are missing too.
//!
//! Rejected: the crate `procfs`. It reads much more than these seven numbers, and brings six crates.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::families::{counter, gauge};
use crate::build_info::BUILD;

/// The metrics of this process.
#[derive(Debug)]
pub(crate) struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let build = [
            ("version", BUILD.version),
            ("revision", BUILD.revision),
            ("aws_lc", BUILD.aws_lc),
            ("rustls", BUILD.rustls),
            ("features", BUILD.features),
        ];
        let build = build.map(|(label, value)| (label, value.into())).into();
        gauge(encoder, "jwe_gateway_build_info", "What the binary was built from", [(build, 1.0)])?;

        let sample = |value: Option<f64>| value.map(|value| (Vec::new(), value));
        let stat = Stat::read();
        let cpu = stat.as_ref().map(|stat| stat.cpu_seconds);
        counter(encoder, "process_cpu_seconds", "CPU time of the process, in user and system mode", sample(cpu))?;
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Memory of the process that is in RAM",
                stat.as_ref().map(|stat| stat.resident),
            ),
            (
                "process_virtual_memory_bytes",
                "Addresses that the process has reserved",
                stat.as_ref().map(|stat| stat.virtual_memory),
            ),
            ("process_open_fds", "Open file descriptors", open_descriptors()),
            ("process_max_fds", "Limit of open file descriptors", max_descriptors()),
            ("process_start_time_seconds", "Start of the process", stat.as_ref().and_then(Stat::start_time)),
            ("process_threads", "Threads of the process", stat.as_ref().map(|stat| stat.threads)),
        ] {
            gauge(encoder, name, help, sample(value))?;
        }
        Ok(())
    }
}

/// What `/proc/self/stat` says (proc_pid_stat(5)).
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    /// In seconds after the start of the system.
    started: f64,
    virtual_memory: f64,
    resident: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is the name of the program, in parentheses. It may have spaces and parentheses itself.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        // The manual counts from 1, and the first of these fields is the third one.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            threads: field(20)?,
            started: field(22)? / ticks,
            virtual_memory: field(23)?,
            resident: field(24)? * rustix::param::page_size() as f64,
        })
    }

    fn start_time(&self) -> Option<f64> {
        let system = fs::read_to_string("/proc/stat").ok()?;
        let booted: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(booted + self.started)
    }
}

fn open_descriptors() -> Option<f64> {
    // One of them is open for this count only.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn max_descriptors() -> Option<f64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map(|limit| limit as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_may_have_spaces_and_parentheses() {
        let stat =
            "7 (a) S (b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 12 0 4000 1048576 3 18446744073709551615 0";
        let stat = Stat::parse(stat).unwrap();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!((stat.cpu_seconds, stat.started), (300.0 / ticks, 4000.0 / ticks));
        assert_eq!((stat.threads, stat.virtual_memory), (12.0, 1_048_576.0));
        assert_eq!(stat.resident, 3.0 * rustix::param::page_size() as f64);
        assert!(Stat::parse("7 (a) S 1").is_none() && Stat::parse("").is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_facts_of_this_process_are_plausible() {
        let stat = Stat::read().unwrap();
        assert!(stat.threads >= 1.0 && stat.resident > 1e5 && stat.virtual_memory > stat.resident);
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let age = now - stat.start_time().unwrap();
        assert!((-2.0..3600.0).contains(&age), "{age}");
        assert!(open_descriptors().unwrap() >= 3.0 && max_descriptors().unwrap() >= open_descriptors().unwrap());
    }
}
