//! The provider's side: a key set, a token, and 200 to everything else.
//!
//! It reads every body to its end. A sealed body is opened and compared with the letter of its length, as often as
//! [`Upstream::verify_every`] says: always while a scenario warms up, rarely while it is measured, because opening
//! costs more than all the rest of this process.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::common::key::KeyPair;
use crate::common::letter;
use crate::http::{Connection, Head};

/// The upstream's response to every request of a caller.
pub(crate) const REPLY: &str = r#"{"ok":true,"items":[]}"#;

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    keys: KeyPair,
    key_set: String,
    received: AtomicU64,
    verify_every: AtomicU64,
    /// The first body that was wrong.
    fault: Mutex<Option<String>>,
}

impl Upstream {
    pub(crate) async fn start(keys: KeyPair) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let key_set = json!({ "keys": [keys.public] }).to_string();
        let shared = Arc::new(Shared {
            keys,
            key_set,
            received: AtomicU64::new(0),
            verify_every: AtomicU64::new(1),
            fault: Mutex::new(None),
        });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = serving.clone();
                // A broken connection fails a request, which the caller counts.
                tokio::spawn(async move { shared.serve(stream).await });
            }
        });
        Ok(Self { address, shared })
    }

    pub(crate) fn keys(&self) -> &KeyPair {
        &self.shared.keys
    }

    /// Opens one of so many bodies from now on.
    pub(crate) fn verify_every(&self, bodies: u64) {
        self.shared.verify_every.store(bodies, Ordering::Relaxed);
    }

    /// The first wrong body, if there was one.
    pub(crate) fn take_fault(&self) -> Option<String> {
        self.shared.fault.lock().expect("no holder panics").take()
    }
}

impl Shared {
    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut connection = Connection::new(stream)?;
        while let Some(head) = connection.read_head().await? {
            let reply = match head.target() {
                "/.well-known/jwks.json" => &self.key_set,
                "/v0/token" => r#"{"access_token":"bench-token","token_type":"Bearer","expires_in":3600}"#,
                _ => REPLY,
            };
            if reply != REPLY || head.body_length() == 0 {
                connection.skip(head.body_length()).await?;
            } else if self.is_next_verified() {
                let body = connection.read_body(head.body_length()).await?;
                if let Err(fault) = self.verify(&head, &body) {
                    self.fault.lock().expect("no holder panics").get_or_insert(fault);
                }
            } else {
                connection.skip(head.body_length()).await?;
            }
            let response = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{reply}",
                reply.len()
            );
            connection.send(response.as_bytes()).await?;
        }
        Ok(())
    }

    fn is_next_verified(&self) -> bool {
        let received = self.received.fetch_add(1, Ordering::Relaxed);
        received.is_multiple_of(self.verify_every.load(Ordering::Relaxed))
    }

    fn verify(&self, head: &Head, body: &[u8]) -> Result<(), String> {
        let opened = match head.field("content-type") {
            Some("application/jose") => self.keys.open(body)?,
            // From a plain proxy.
            Some("application/json") => body.to_vec(),
            other => return Err(format!("content-type {other:?}")),
        };
        if opened != letter(opened.len()) {
            return Err(format!("a body of {} octets is not what the caller sent", opened.len()));
        }
        Ok(())
    }
}
