//! A fake Flanks for tests, demonstrations and drills. It needs no account, no real data and no network.
//!
//! The sandbox publishes keys and rotates them, issues tokens that expire, opens the messages it receives,
//! records each call, and responds as the Flanks documentation says, from state in memory. It makes new keys
//! in each run and stores nothing: a message sealed for one run cannot be opened in another. The provider's
//! API and the management interface each have their own listener, on loopback by default.
//!
//! It shares only [`jose`](crate::jose) with the gateway: not the key cache, not the token cache, not the
//! HTTP client. A fake built from its client's code would hide the client's mistakes. From `jose` it uses the
//! opening of messages, which the gateway itself never does. Messages made by other implementations test that
//! code against the standard.
//!
//! Rejected: TLS by default, because each client under test would have to trust the sandbox's certificate. Also
//! rejected: delays and failures by default (as in Pebble, the ACME test server), because a test suite
//! decides itself where faults occur.
//!
//! In another project's tests ([`guide`] has two whole clients):
//!
//! ```
//! use jwe_gateway::sandbox::{Fault, Options, Outcome, Rotation, Sandbox, TokenFault};
//!
//! # fn main() -> std::io::Result<()> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let provider = Sandbox::start(Options::default()).await?;
//! assert!(provider.url().starts_with("http://127.0.0.1:"));
//!
//! // Point the client under test at `provider.url()`, with `provider.client_id()` and
//! // `provider.client_secret()`, and let it send. Then examine what arrived:
//! for call in provider.received() {
//!     assert!(call.opened.is_some(), "{} arrived as plaintext", call.target);
//! }
//! // Or let the sandbox judge the client, check by check:
//! let verdict = provider.verdict(0);
//! assert_ne!(verdict.verdict, Outcome::Failed, "{:#?}", verdict.checks);
//!
//! // Withdraw the key that the client knows, and let its next token request fail.
//! // Its next call must still succeed.
//! provider.rotate(Rotation::HardCut).await?;
//! provider.arm_times(Fault::Token(TokenFault::ServerError), 1);
//! provider.revoke_tokens();
//! assert_eq!(provider.armed().len(), 1);
//! # Ok(())
//! # })
//! # }
//! ```

mod api;
mod api_response;
mod bank_credentials;
mod body;
mod faults;
mod flinks;
pub mod guide;
mod host_check;
mod key_set;
mod letters;
mod life_cycles;
mod links;
mod management;
mod operations;
mod options;
mod products;
mod query;
mod received;
mod routes;
mod scripted_body;
mod server;
mod state;
mod tls;
mod token;
mod verdict;
mod world;

#[cfg(test)]
mod testing;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use self::bank_credentials::BankCredential;
use self::management::Addresses;
use self::state::{SandboxState, lock};
use self::tls::Tls;

pub use self::bank_credentials::ForcedFlow;
pub use self::faults::{ApiFault, Armed, Fault, KeySetFault, MalformedKeys, TokenFault};
pub use self::flinks::FlinksKeys;
pub use self::key_set::Rotation;
pub use self::letters::LetterStatus;
pub use self::options::Options;
pub use self::received::{OpenedBody, Received};
pub use self::verdict::{Check, Outcome, Verdict};

/// A running sandbox. Dropping it stops both listeners and closes their connections.
pub struct Sandbox {
    state: Arc<SandboxState>,
    addresses: Arc<Addresses>,
    ca_pem: Option<String>,
    listeners: [AbortHandle; 2],
    running: watch::Receiver<()>,
}

impl Sandbox {
    /// Binds both listeners, generates the first key and starts to serve.
    ///
    /// # Errors
    /// If an address cannot be bound (the error names the address), or if the key cannot be generated. The
    /// kind is [`io::ErrorKind::InvalidInput`] if the management address is not loopback and
    /// [`Options::allow_remote_management`] is false.
    pub async fn start(options: Options) -> io::Result<Self> {
        management::check_address(options.management, options.allow_remote_management)?;
        let provider = bind(options.address).await?;
        let management = bind(options.management).await?;
        let addresses = Arc::new(Addresses {
            provider: provider.local_addr()?,
            management: management.local_addr()?,
            allowed_hosts: options.allowed_hosts.clone(),
            tls: options.tls,
        });
        let tls = options.tls.then(|| Tls::generate(addresses.provider.ip(), &options.allowed_hosts)).transpose()?;
        if let Some(warning) = management::remote_warning(addresses.management) {
            tracing::warn!("sandbox: {warning}");
        }
        let state = Arc::new(SandboxState::new(options));
        key_set::rotate(&state, Rotation::HardCut).await?;

        let (acceptor, ca_pem) = tls.map(|tls| (tls.acceptor, tls.ca_pem)).unzip();
        let (alive, running) = watch::channel(());
        let alive = Arc::new(alive);
        let api_state = Arc::clone(&state);
        let (management_state, management_addresses) = (Arc::clone(&state), Arc::clone(&addresses));
        let listeners = [
            server::spawn(provider, acceptor, Arc::clone(&alive), move |request| {
                api::respond(Arc::clone(&api_state), request)
            }),
            server::spawn(management, None, alive, move |request| {
                management::respond(Arc::clone(&management_state), Arc::clone(&management_addresses), request)
            }),
        ];
        Ok(Self { state, addresses, ca_pem, listeners, running })
    }

    /// The base URL of the provider's API: `http://127.0.0.1:PORT`, with [`Options::tls`] `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        self.addresses.provider_url()
    }

    /// With [`Options::tls`]: the certificate of the authority that clients must trust, as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The base URL of the management interface. It has no TLS.
    #[must_use]
    pub fn management_url(&self) -> String {
        self.addresses.management_url()
    }

    /// A warning for people if other hosts can reach the management interface.
    #[must_use]
    pub fn remote_management_warning(&self) -> Option<String> {
        management::remote_warning(self.addresses.management)
    }

    /// The URL for token requests.
    #[must_use]
    pub fn token_url(&self) -> String {
        self.url() + token::PATH
    }

    /// The URL of the key set.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        self.url() + key_set::PATH
    }

    /// The `kid` of each published key, newest first.
    #[must_use]
    pub fn kids(&self) -> Vec<String> {
        self.state.keys().iter().filter_map(|key| key.kid().map(str::to_owned)).collect()
    }

    /// The `credentials_token` of each of the customer's credentials.
    #[must_use]
    pub fn credentials_tokens(&self) -> Vec<String> {
        let token = |credential: &BankCredential| credential.credentials_token.clone();
        self.state.with_api(|api, _| api.credentials.all.iter().map(token).collect())
    }

    /// The unused link codes.
    #[must_use]
    pub fn link_codes(&self) -> Vec<String> {
        lock(&self.state.api).links.pending.iter().map(|pending| pending.code.clone()).collect()
    }

    /// [`Options::seed`].
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.state.seed
    }

    /// [`Options::require_sealed`].
    #[must_use]
    pub fn require_sealed(&self) -> bool {
        self.state.require_sealed
    }

    /// The `client_id` that token requests must use.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.state.client_id
    }

    /// The secret of that client, as text: it is valid in this sandbox only.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        self.state.client_secret.expose()
    }

    /// The credentials of the second provider, Flinks: see [`FlinksKeys`].
    #[must_use]
    pub fn flinks(&self) -> &FlinksKeys {
        &self.state.flinks.keys
    }

    /// A sentence for people: that the sandbox is not real, and which faults are armed.
    #[must_use]
    pub fn banner(&self) -> String {
        management::banner(&self.state)
    }

    /// Waits until both listeners have ended. They end when the runtime shuts down.
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
    let with_address = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
    TcpListener::bind(address).await.map_err(with_address)
}
