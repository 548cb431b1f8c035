//! A small Flanks that is not real: for tests, demonstrations and drills, without the provider,
//! its data, or a network.
//!
//! It publishes keys and rotates them, issues tokens that expire, opens what it is sent, keeps a
//! record of it, and answers as the documentation says from a state in memory. Keys are made
//! afresh in each run and nothing is kept: what was sealed for one run can be opened by no other.
//! Both doors, the provider's and the one for managing it, are on loopback unless told otherwise.
//!
//! It shares [`jose`](crate::jose) with the gateway and nothing else: not the key cache, not the
//! token holder, not the HTTP client. A fake built from its client's parts agrees with it where
//! both are wrong. What it takes from `jose` is opening, which the gateway never does, and which
//! messages made by other implementations hold to the standard.
//!
//! Rejected: TLS, since a sandbox certificate would have to be trusted by whoever is tested; and
//! delays or failures by default (pebble's way), since a test suite wants its faults where it put
//! them.
//!
//! In another project's tests:
//!
//! ```no_run
//! use jwe_gateway::sandbox::{Fault, Options, Rotation, Sandbox, TokenFault};
//!
//! # async fn test() -> std::io::Result<()> {
//! let provider = Sandbox::start(Options::default()).await?;
//!
//! // Point the client under test at `provider.url()`, with `provider.client_id()` and
//! // `provider.client_secret()`, and let it send. Then:
//! let sent = provider.received();
//! assert_eq!(sent[0].target, "/v0/bank/credentials/status");
//! assert_eq!(sent[0].plaintext, r#"{"credentials_token":"sandbox-credentials-1"}"#);
//! assert!(sent[0].opened.is_some(), "it must not travel in clear");
//!
//! // Withdraw the key it knows, and let its next token request fail: does its next call succeed?
//! provider.rotate(Rotation::HardCut).await?;
//! provider.arm_times(Fault::Token(TokenFault::ServerError), 1);
//! provider.revoke_tokens();
//! # Ok(())
//! # }
//! ```

mod api;
mod api_response;
mod bank_credentials;
mod body;
mod faults;
mod flinks;
mod host_check;
mod key_set;
mod letters;
mod links;
mod listing;
mod management;
mod options;
mod products;
mod received;
mod routes;
mod scripted_body;
mod server;
mod state;
mod token;

#[cfg(test)]
mod testing;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use uuid::Uuid;

use self::management::Addresses;
use self::state::{SandboxState, lock};
use crate::secret::Secret;

pub use self::faults::{ApiFault, Armed, Fault, KeySetFault, MalformedKeys, TokenFault};
pub use self::flinks::FlinksKeys;
pub use self::key_set::Rotation;
pub use self::options::Options;
pub use self::received::{OpenedBody, Received};

const CLIENT_ID: &str = "sandbox-client";

/// A running sandbox. Dropping it stops it and ends its connections.
pub struct Sandbox {
    state: Arc<SandboxState>,
    addresses: Addresses,
    listeners: [AbortHandle; 2],
    running: watch::Receiver<()>,
}

impl Sandbox {
    /// Binds both doors, makes the first key and begins to answer.
    ///
    /// # Errors
    /// When an address cannot be bound, which the error names, or no key can be made.
    pub async fn start(options: Options) -> io::Result<Self> {
        let provider = bind(options.address).await?;
        let management = bind(options.management).await?;
        let addresses = Addresses { provider: provider.local_addr()?, management: management.local_addr()? };
        let state = Arc::new(SandboxState::new(
            options.client_id.unwrap_or_else(|| CLIENT_ID.to_owned()),
            Secret::new(options.client_secret.unwrap_or_else(random_secret)),
            options.token_lifetime,
            options.max_age,
            options.clock,
        ));
        key_set::rotate(&state, Rotation::HardCut).await?;

        let (alive, running) = watch::channel(());
        let alive = Arc::new(alive);
        let api = Arc::clone(&state);
        let verbs = Arc::clone(&state);
        let listeners = [
            server::spawn(provider, Arc::clone(&alive), move |request| api::respond(Arc::clone(&api), request)),
            server::spawn(management, alive, move |request| {
                management::respond(Arc::clone(&verbs), addresses, request)
            }),
        ];
        Ok(Self { state, addresses, listeners, running })
    }

    /// The provider's base URL: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addresses.provider)
    }

    /// The management door's base URL.
    #[must_use]
    pub fn management_url(&self) -> String {
        format!("http://{}", self.addresses.management)
    }

    /// The client that gets tokens.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.state.client_id
    }

    /// Its secret, in clear: it is worth nothing elsewhere.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        self.state.client_secret.expose()
    }

    /// What opens the second provider's endpoints: see [`FlinksKeys`].
    #[must_use]
    pub fn flinks(&self) -> &FlinksKeys {
        &self.state.flinks.keys
    }

    /// The recorded calls of the API, oldest first: the latest 20,000 or 256 MiB, whichever is
    /// less. Requests for keys and tokens are not among them.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.state.received).calls()
    }

    /// Calls of the API since the start, recorded or not.
    #[must_use]
    pub fn received_total(&self) -> u64 {
        lock(&self.state.received).total()
    }

    /// Forgets the recorded calls.
    pub fn forget_received(&self) {
        lock(&self.state.received).clear();
    }

    /// Requests for the key set, those answered 304 included.
    #[must_use]
    pub fn jwks_fetches(&self) -> u64 {
        self.state.jwks_fetches()
    }

    /// Requests for a token, refused ones included.
    #[must_use]
    pub fn token_requests(&self) -> u64 {
        self.state.token_requests()
    }

    /// Publishes a new key, first in the set; returns its kid.
    ///
    /// # Errors
    /// When no key can be made; the set is then as it was.
    pub async fn rotate(&self, rotation: Rotation) -> io::Result<String> {
        key_set::rotate(&self.state, rotation).await
    }

    /// Takes one key out of the set, at once; false when no key has this kid. The set may become
    /// empty.
    pub fn retire(&self, kid: &str) -> bool {
        lock(&self.state.keys).retire(kid)
    }

    /// No token issued so far is good any more.
    pub fn revoke_tokens(&self) {
        self.state.revoke_tokens();
    }

    /// Arms a fault until it is disarmed.
    pub fn arm(&self, fault: Fault) {
        self.state.faults.arm(Armed { fault, times: None });
    }

    /// Arms a fault for so many requests of its door.
    pub fn arm_times(&self, fault: Fault, times: u32) {
        let times = Some(times);
        self.state.faults.arm(Armed { fault, times });
    }

    /// Disarms this fault, if it is armed.
    pub fn disarm(&self, fault: &Fault) {
        self.state.faults.disarm(fault);
    }

    /// Disarms every fault.
    pub fn disarm_all(&self) {
        self.state.faults.disarm_all();
    }

    /// The armed faults, in the order of arming.
    #[must_use]
    pub fn armed(&self) -> Vec<Armed> {
        self.state.faults.armed()
    }

    /// The JWK Set with its private halves (RFC 7517 section 5), for opening what was sealed for
    /// it.
    #[must_use]
    pub fn private_jwks(&self) -> Value {
        key_set::private_jwks(&self.state.keys())
    }

    /// What a person should read first: that it is not real, and which faults are armed.
    #[must_use]
    pub fn banner(&self) -> String {
        management::banner(&self.state)
    }

    /// Returns when both listeners have ended, which they do when the runtime shuts down.
    pub async fn run(&self) {
        let mut running = self.running.clone();
        while running.changed().await.is_ok() {}
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("url", &self.url())
            .field("management_url", &self.management_url())
            .finish_non_exhaustive()
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
    TcpListener::bind(address).await.map_err(named)
}

fn random_secret() -> String {
    format!("sandbox-secret-{}", Uuid::new_v4().simple())
}
