//! The measured processes: start, end, CPU time and memory.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::common::pin;
use crate::http::Connection;

/// Enough for valgrind on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// A started proxy. It ends when this is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// How long it took from the start to the first accepted connection.
    pub(crate) start: Duration,
    /// How much CPU time of it the process used. On a busy machine this says more.
    pub(crate) start_cpu: Duration,
    process: Child,
    /// Holds its configuration.
    _directory: TempDir,
}

impl Proxy {
    /// Starts a gateway before `upstream`, and waits until it is ready. `command` is its binary, alone or under a tool.
    pub(crate) async fn gateway(
        mut command: Command,
        upstream: SocketAddr,
        log: &str,
        core: usize,
    ) -> io::Result<Self> {
        let directory = TempDir::new()?;
        let [address, admin] = [free_address()?, free_address()?];
        let file = |name: &str| directory.path().join(name);
        fs::write(file("secret"), "bench-secret")?;
        fs::write(
            file("gateway.toml"),
            format!(
                "[listen]\naddress = \"{address}\"\n[admin]\naddress = \"{admin}\"\n[[upstream]]\n\
                 url = \"http://{upstream}\"\n[upstream.credentials]\nclient_id = \"bench\"\n\
                 client_secret_file = \"{}\"\n",
                file("secret").display()
            ),
        )?;
        command.arg("run").arg("--config").arg(file("gateway.toml")).env("RUST_LOG", log);
        let proxy = Self::start(command, address, directory, core)?;
        let deadline = Instant::now() + READY_WITHIN;
        while !is_ready(admin).await {
            if Instant::now() > deadline {
                return Err(io::Error::other("a gateway is not ready"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(proxy)
    }

    /// Starts `command`, which listens at `address`, and waits until it accepts a connection.
    pub(crate) fn start(
        mut command: Command,
        address: SocketAddr,
        directory: TempDir,
        core: usize,
    ) -> io::Result<Self> {
        let errors = directory.path().join("stderr");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors)?);
        let begin = Instant::now();
        // A process inherits the cores of the thread that starts it.
        let spawned = thread::spawn(move || pin(core).and_then(|()| command.spawn()));
        let mut process = spawned.join().expect("starting a process does not panic")?;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.try_wait()? {
                let told = fs::read_to_string(&errors).unwrap_or_default();
                return Err(io::Error::other(format!("{status}: {told}")));
            }
            thread::sleep(Duration::from_micros(200));
        }
        let start = begin.elapsed();
        let mut proxy = Self { address, start, start_cpu: Duration::ZERO, process, _directory: directory };
        proxy.start_cpu = proxy.cpu()?.since(&ThreadTimes::default());
        Ok(proxy)
    }

    /// The CPU time of each of its threads so far. It is exact for a thread that sleeps, as all do between two loads.
    /// For one that runs, the kernel may be a tick behind, which is 4 ms.
    pub(crate) fn cpu(&self) -> io::Result<ThreadTimes> {
        let mut times = HashMap::new();
        for thread in fs::read_dir(self.file("task"))? {
            let directory = thread?.path();
            // A thread may end between the two reads.
            let Ok(text) = fs::read_to_string(directory.join("schedstat")) else { continue };
            let nanos = text.split_whitespace().next().and_then(|field| field.parse().ok());
            let nanos = nanos.ok_or_else(|| io::Error::other(format!("no CPU time in {text:?}")))?;
            times.insert(directory, Duration::from_nanos(nanos));
        }
        Ok(ThreadTimes(times))
    }

    /// Ends it in good order, and waits for the end.
    pub(crate) fn interrupt(mut self) -> io::Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::INT)?;
        self.process.wait().map(drop)
    }

    /// Resident memory in MiB.
    pub(crate) fn resident(&self) -> io::Result<f64> {
        self.memory("VmRSS:")
    }

    /// The highest resident memory in MiB since the start.
    pub(crate) fn peak(&self) -> io::Result<f64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> io::Result<f64> {
        let status = fs::read_to_string(self.file("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|value| value.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0).ok_or_else(|| io::Error::other(format!("no {field} in the status of a process")))
    }

    fn file(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.process.id())
    }
}

/// The CPU time of each thread of a process.
#[derive(Default)]
pub(crate) struct ThreadTimes(HashMap<PathBuf, Duration>);

impl ThreadTimes {
    /// The CPU time that the threads used since `before`. A thread that ended meanwhile is left out.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, time)| *time - before.0.get(thread).copied().unwrap_or_default());
        used.sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It has ended already if this fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address that nothing listens at. Another process could take it before it is used; the benchmark then stops.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

async fn is_ready(admin: SocketAddr) -> bool {
    let ask = async {
        let mut connection = Connection::new(tokio::net::TcpStream::connect(admin).await?)?;
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {admin}\r\n\r\n");
        connection.send(request.as_bytes()).await?;
        let head = connection.read_head().await?;
        Ok::<_, io::Error>(head.is_some_and(|head| head.status() == 200))
    };
    ask.await.unwrap_or(false)
}
