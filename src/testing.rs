//! Test helpers for all modules: a mock server and a client on loopback, and a file whose reads hang.

use std::fs;
use std::io::{self, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use wiremock::MockServer;

/// A wiremock server that is dropped in a thread of its own.
///
/// Its `drop` blocks on a tokio lock. In a task that has used up its cooperative budget the lock is never
/// ready, and `drop` spins forever. This happened in a test with a thousand callers.
pub(crate) struct Server(Option<MockServer>);

impl Server {
    pub(crate) async fn start() -> Self {
        Self(Some(MockServer::start().await))
    }
}

impl Deref for Server {
    type Target = MockServer;

    fn deref(&self) -> &MockServer {
        self.0.as_ref().expect("the server exists until drop")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let server = self.0.take();
        let dropped = std::thread::spawn(move || drop(server)).join();
        assert!(dropped.is_ok() || std::thread::panicking(), "an expectation of the mock server failed");
    }
}

/// A client with the settings of the gateway's upstream client, for loopback.
#[expect(clippy::disallowed_methods, reason = "tests need a client for loopback; production code is given one")]
pub(crate) fn client() -> reqwest::Client {
    // Fails if another test has installed the provider before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let roots = rustls::RootCertStore::empty();
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_backend_preconfigured(tls)
        .build()
        .unwrap()
}

/// A file whose reads hang, as on a network file system that does not respond: a FIFO without a writer.
pub(crate) struct HungFile {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl HungFile {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = Self { _directory: directory, path };
        file.hang();
        file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on, reads hang. Reads that hang already end.
    pub(crate) fn hang(&self) {
        self.release();
        let fifo = self.path.with_extension("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        fs::hard_link(&fifo, self.path.with_extension("new")).unwrap();
        fs::rename(self.path.with_extension("new"), &self.path).unwrap();
    }

    /// From now on, reads get `content`. Reads that hang still hang.
    pub(crate) fn replace(&self, content: &str) {
        let new = self.path.with_extension("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, &self.path).unwrap();
    }

    /// Ends the reads that hang: they get no byte.
    pub(crate) fn release(&self) {
        let fifo = self.path.with_extension("fifo");
        if fs::exists(&fifo).unwrap() {
            drop(fs::File::options().read(true).write(true).open(&fifo).unwrap());
            fs::remove_file(&fifo).unwrap();
        }
    }
}

impl Drop for HungFile {
    fn drop(&mut self) {
        // A runtime waits for its blocking threads when a test ends.
        self.release();
    }
}

/// The log lines that `work` writes at `level` or above, as they are in a JSON log.
pub(crate) fn log_lines(level: tracing::Level, work: impl FnOnce()) -> Vec<serde_json::Value> {
    let buffer = LogBuffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(level);
    tracing::subscriber::with_default(subscriber.with_writer(move || writer.clone()).finish(), work);
    let text = buffer.0.lock().unwrap().clone();
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

#[derive(Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
