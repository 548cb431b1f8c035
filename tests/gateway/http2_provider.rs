//! A provider that speaks HTTP/2 frame by frame, so that a test decides what it refuses. Other servers hide `GOAWAY` and
//! `RST_STREAM` behind an orderly shutdown.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jwe_gateway::config::Config;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::certificates::{Authority, first};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;
/// `:status: 200` as HPACK writes it (RFC 7541 appendix A).
const STATUS_200: &[u8] = &[0x88];
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// The behaviour of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Script {
    /// Answers every request.
    Answer,
    /// Answers this many requests, and refuses the others of the connection by `GOAWAY`.
    GoAwayAfter(u32),
    /// The same, but the `GOAWAY` that refuses follows a first one that announces the end (RFC 9113 section 6.8).
    AnnounceGoAwayAfter(u32),
    /// Resets every stream with `REFUSED_STREAM`.
    RefuseStreams,
    /// Processes the first request, sends `GOAWAY` with its id, and closes without a response.
    ProcessAndLeave,
    /// Accepts requests, and neither answers them nor anything else.
    Silent,
}

/// The provider. The n-th connection follows the n-th script; the last script is for all others.
pub(crate) struct Provider {
    address: SocketAddr,
    state: Arc<State>,
    serving: JoinHandle<()>,
    authority: Authority,
}

struct State {
    scripts: Vec<Script>,
    latency: Duration,
    /// Completed TLS handshakes, and those of them that a client used.
    handshakes: AtomicUsize,
    connections: AtomicUsize,
    /// How often each body was processed.
    processed: Mutex<BTreeMap<Vec<u8>, u32>>,
}

impl Provider {
    pub(crate) async fn start(scripts: &[Script], latency: Duration) -> Self {
        let authority = Authority::new();
        let pair = authority.issue();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_no_client_auth().with_single_cert(vec![first(&pair.certificate)], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tls = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            scripts: scripts.to_vec(),
            latency,
            handshakes: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            processed: Mutex::default(),
        });
        let serving = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    tokio::spawn(connection(tls.clone(), stream, Arc::clone(&state)));
                }
            }
        });
        Self { address, state, serving, authority }
    }

    /// Makes this provider the API of the first upstream.
    pub(crate) fn serve(&self, config: &mut Config) {
        let upstream = &mut config.upstreams[0].upstream;
        upstream.url = format!("https://{}", self.address).parse().unwrap();
        upstream.ca_file = Some(self.authority.path("ca.pem"));
    }

    /// How often each body was processed.
    pub(crate) fn processed(&self) -> BTreeMap<Vec<u8>, u32> {
        self.state.processed.lock().unwrap().clone()
    }

    pub(crate) fn handshakes(&self) -> usize {
        self.state.handshakes.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn connection(tls: TlsAcceptor, stream: TcpStream, state: Arc<State>) {
    let Ok(stream) = tls.accept(stream).await else { return };
    state.handshakes.fetch_add(1, Ordering::SeqCst);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut preface = [0; 24];
    if reader.read_exact(&mut preface).await.is_err() {
        return;
    }
    // Connections of TLS alone, which lost the race for HTTP/2, do not count.
    let number = state.connections.fetch_add(1, Ordering::SeqCst);
    let script = *state.scripts.get(number).or_else(|| state.scripts.last()).unwrap();
    let (frames, mut outgoing) = mpsc::unbounded_channel::<Vec<u8>>();
    let writing = tokio::spawn(async move {
        while let Some(frame) = outgoing.recv().await {
            if writer.write_all(&frame).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    });
    // INITIAL_WINDOW_SIZE, and the window of the connection: no body waits for an update.
    send(&frames, SETTINGS, 0, 0, &[&[0, 4], &MAX_WINDOW.to_be_bytes()[..]].concat());
    send(&frames, WINDOW_UPDATE, 0, 0, &(MAX_WINDOW - 65_535).to_be_bytes());
    let mut streams = Streams { script, opened: 0, last: None, bodies: BTreeMap::new() };
    while let Some(frame) = Frame::read(&mut reader).await {
        if !streams.handle(frame, &frames, &state) {
            break;
        }
    }
    drop(frames);
    let _ = writing.await;
}

/// The streams of a connection.
struct Streams {
    script: Script,
    opened: u32,
    /// The last stream that is not refused.
    last: Option<u32>,
    bodies: BTreeMap<u32, Vec<u8>>,
}

impl Streams {
    /// Returns whether the connection goes on.
    fn handle(&mut self, frame: Frame, frames: &mpsc::UnboundedSender<Vec<u8>>, state: &Arc<State>) -> bool {
        let Frame { kind, flags, stream, payload } = frame;
        match kind {
            SETTINGS if flags & ACK == 0 => send(frames, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 && !matches!(self.script, Script::Silent) => send(frames, PING, ACK, 0, &payload),
            HEADERS if self.last.is_none_or(|last| stream <= last) => self.open(stream, frames),
            _ => {}
        }
        let body = match self.bodies.get_mut(&stream) {
            Some(body) if kind == DATA => {
                body.extend_from_slice(&payload);
                body
            }
            Some(body) if kind == HEADERS => body,
            _ => return true,
        };
        if flags & END_STREAM == 0 {
            return true;
        }
        let body = std::mem::take(body);
        self.bodies.remove(&stream);
        if matches!(self.script, Script::Silent) {
            return true;
        }
        *state.processed.lock().unwrap().entry(body).or_default() += 1;
        if matches!(self.script, Script::ProcessAndLeave) {
            go_away(frames, stream);
            return false;
        }
        let (frames, latency) = (frames.clone(), state.latency);
        tokio::spawn(async move {
            tokio::time::sleep(latency).await;
            send(&frames, HEADERS, END_HEADERS | END_STREAM, stream, STATUS_200);
        });
        true
    }

    fn open(&mut self, stream: u32, frames: &mpsc::UnboundedSender<Vec<u8>>) {
        if matches!(self.script, Script::RefuseStreams) {
            return send(frames, RST_STREAM, 0, stream, &REFUSED_STREAM.to_be_bytes());
        }
        if let Script::GoAwayAfter(0) = self.script {
            self.last = Some(0);
            return go_away(frames, 0);
        }
        self.opened += 1;
        self.bodies.insert(stream, Vec::new());
        match self.script {
            Script::GoAwayAfter(limit) if self.opened == limit => {
                self.last = Some(stream);
                go_away(frames, stream);
            }
            Script::AnnounceGoAwayAfter(limit) if self.opened == limit => go_away(frames, MAX_WINDOW),
            // A few requests were on their way.
            Script::AnnounceGoAwayAfter(limit) if self.opened == limit + 2 => {
                self.last = Some(stream);
                go_away(frames, stream);
            }
            _ => {}
        }
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    async fn read(reader: &mut (impl AsyncReadExt + Unpin)) -> Option<Self> {
        let mut head = [0; 9];
        reader.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        reader.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Self { kind: head[3], flags: head[4], stream, payload })
    }
}

fn go_away(frames: &mpsc::UnboundedSender<Vec<u8>>, last: u32) {
    const NO_ERROR: [u8; 4] = [0; 4];
    send(frames, GOAWAY, 0, 0, &[last.to_be_bytes(), NO_ERROR].concat());
}

fn send(frames: &mpsc::UnboundedSender<Vec<u8>>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    // The client may have left.
    let _ = frames.send(frame);
}
