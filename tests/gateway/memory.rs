//! The memory of a running gateway: what it contains, and how much of it there is.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use jwe_gateway::app::Connector;
use jwe_gateway::sandbox::{Options, Sandbox};
use tempfile::TempDir;

use crate::process::{Running, command};

const REQUESTS: usize = 200;

/// Bytes of memory read at a time, and bytes read where such a piece is not readable as a whole.
const PIECE: usize = 1 << 20;
const PAGE: usize = 4096;

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_of_a_running_egress_contains_no_body_that_it_forwarded() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let secret = files.path().join("secret");
    std::fs::write(&secret, sandbox.client_secret()).unwrap();
    let id = sandbox.client_id();
    let egress = start(
        &files,
        "egress",
        &format!(
            "url = \"{}\"\nencryption = \"require-sealed\"\ncredentials.client_id = \"{id}\"\n\
             credentials.client_secret_file = {secret:?}\n",
            sandbox.url()
        ),
    );
    let sidecar =
        start(&files, "sidecar", &format!("url = \"http://{}\"\ncredentials.kind = \"none\"\n", egress.gateway));

    // The markers are in the bodies, which only the sidecar reads. `seen` is in the path, which the egress reads too.
    let markers: Vec<String> = (0..REQUESTS).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect();
    let seen = uuid::Uuid::new_v4().simple().to_string();
    let client = Connector::new(None).unwrap().control_client().unwrap();
    for marker in &markers {
        let request = client.post(format!("http://{}/v0/bank/credentials/list?{seen}", sidecar.gateway));
        let request = request.header("content-type", "application/json");
        let reply = request.body(format!(r#"{{"marker":"{marker}"}}"#)).send().await.unwrap();
        assert_eq!(reply.status(), 200);
    }

    let received: String =
        sandbox.received().iter().map(|call| String::from_utf8_lossy(&call.plaintext).into_owned()).collect();
    assert!(markers.iter().all(|marker| received.contains(marker)), "the provider received every body");
    let Some(mut memory) = Memory::of(egress.id()) else { return };
    let found = memory.search(&markers.iter().chain([&seen]).map(String::as_str).collect::<Vec<_>>());
    assert!(found.contains(&seen.as_str()), "the search finds the target of the requests");
    assert_eq!(found, [seen.as_str()]);
    let Memory { searched, writable, .. } = memory;
    assert!(searched > PIECE && searched >= writable / 10 * 9, "{searched} of {writable} bytes were searched");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_take_memory_once_and_give_it_back() {
    const BODIES: usize = 6;
    const BODY: usize = 10 << 20;
    /// The limit for all else that the gateway needs.
    const REST: usize = 32 << 20;

    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let gateway = start(&files, "sidecar", &format!("url = \"{}\"\ncredentials.kind = \"none\"\n", sandbox.url()));
    let client = Connector::new(None).unwrap().control_client().unwrap();
    let body = bytes::Bytes::from(format!("\"{}\"", "x".repeat(BODY - 2)));
    for _burst in 0..2 {
        let letters = (0..BODIES).map(|_| {
            let request = client.post(format!("http://{}/v0/bank/credentials/list", gateway.gateway));
            request.header("content-type", "application/json").body(body.clone()).send()
        });
        let replies = futures_util::future::join_all(letters).await;
        assert!(replies.iter().all(|reply| reply.as_ref().unwrap().status() != 503), "{replies:?}");
    }
    let peak = status(gateway.id(), "VmHWM:");
    assert!(peak <= BODIES * BODY + REST, "the gateway took {} MiB", peak >> 20);
    let give_back = async {
        while status(gateway.id(), "VmRSS:") > REST {
            tokio::task::yield_now().await;
        }
    };
    let given_back = tokio::time::timeout(Duration::from_secs(10), give_back).await;
    assert!(given_back.is_ok(), "the gateway keeps {} MiB", status(gateway.id(), "VmRSS:") >> 20);
}

/// A number of bytes in the status of a process.
fn status(process: u32, field: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

fn start(files: &TempDir, name: &str, upstream: &str) -> Running {
    let path = files.path().join(format!("{name}.toml"));
    let any_port = "address = \"127.0.0.1:0\"\n";
    std::fs::write(&path, format!("[listen]\n{any_port}[admin]\n{any_port}[[upstream]]\n{upstream}")).unwrap();
    Running::start(command(&["run", "--log-format", "json", "--config", path.to_str().unwrap()]))
}

/// The memory of a running process.
struct Memory {
    memory: File,
    maps: String,
    /// Bytes that the process can write, and how many of them could be searched.
    writable: usize,
    searched: usize,
}

impl Memory {
    /// None if the test does not run as root: the gateway lets no other process of its user read its memory.
    fn of(process: u32) -> Option<Self> {
        let process = Path::new("/proc").join(process.to_string());
        let memory = match File::open(process.join("mem")) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
            memory => memory.unwrap(),
        };
        let maps = std::fs::read_to_string(process.join("maps")).unwrap();
        Some(Self { memory, maps, writable: 0, searched: 0 })
    }

    /// The `texts` that the memory contains. All must have the same length.
    fn search<'t>(&mut self, texts: &[&'t str]) -> Vec<&'t str> {
        let length = texts[0].len();
        let wanted: std::collections::HashSet<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
        let mut found = std::collections::HashSet::new();
        for (from, to) in self.writable_ranges() {
            self.writable += (to - from) as usize;
            // The end of the last piece: a text may cross the border of two pieces.
            let mut tail = Vec::new();
            let mut at = from;
            while at < to {
                let size = PIECE.min((to - at) as usize);
                let mut piece = std::mem::take(&mut tail);
                let read = self.read(at, size).or_else(|| self.read(at, PAGE));
                at += read.as_ref().map_or(PAGE, Vec::len) as u64;
                // Pages of the kernel and pages that the process has freed cannot be read.
                let Some(read) = read else { continue };
                self.searched += read.len();
                piece.extend_from_slice(&read);
                found.extend(piece.windows(length).filter_map(|window| wanted.get(window).copied()));
                tail = piece.split_off(piece.len().saturating_sub(length - 1));
            }
        }
        texts.iter().copied().filter(|text| found.contains(text.as_bytes())).collect()
    }

    fn read(&mut self, at: u64, size: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; size];
        self.memory.seek(SeekFrom::Start(at)).unwrap();
        self.memory.read_exact(&mut bytes).ok().map(|()| bytes)
    }

    /// The address ranges that the process can write: heap, stacks and other mappings.
    fn writable_ranges(&self) -> Vec<(u64, u64)> {
        let range = |line: &str| {
            let mut fields = line.split(' ');
            let (range, rights) = (fields.next()?, fields.next()?);
            let (from, to) = range.split_once('-')?;
            let address = |text: &str| u64::from_str_radix(text, 16).ok();
            rights.starts_with("rw").then_some((address(from)?, address(to)?))
        };
        self.maps.lines().filter_map(range).collect()
    }
}
