//! Starts the sandbox of a demo, and in front of it one gateway, or a sidecar and an egress.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Topology;
use crate::app::{App, Dependencies};
use crate::cli::failure::Failure;
use crate::config::{Config, StaticCredential};
use crate::credentials;
use crate::gateway::access_log::Record;
use crate::gateway::callers::{self, KeyDigest, KeySource};
use crate::gateway::request::request_id::{RequestId, X_REQUEST_ID};
use crate::gateway::route::Encryption;
use crate::keys::Source;
use crate::sandbox::{Options, Received, Sandbox};
use crate::secret::{Secret, SecretSource};

/// How long the demo waits for the egress's record of an attempt.
const RECORD_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct DemoSetup {
    pub(super) sandbox: Sandbox,
    /// The address for requests.
    pub(super) address: SocketAddr,
    /// The records of finished requests at this address.
    pub(super) records: mpsc::UnboundedReceiver<Record>,
    pub(super) egress: Option<Egress>,
}

pub(super) struct Egress {
    pub(super) address: SocketAddr,
    /// The sidecar's key.
    pub(super) key: Secret,
    records: mpsc::UnboundedReceiver<Record>,
    /// Records that arrived before they were asked for, by request id.
    early: HashMap<String, Vec<Record>>,
}

pub(super) struct Gateways {
    front: App,
    egress: Option<App>,
}

/// Starts the sandbox and builds the gateways, which the caller must run.
pub(super) async fn start(topology: Topology, listen: SocketAddr) -> Result<(DemoSetup, Gateways), Failure> {
    let sandbox =
        Sandbox::start(Options { require_sealed: true, ..Options::default() }).await.map_err(Failure::unavailable)?;
    let secret = SecretSource::Value(Secret::new(sandbox.client_secret().to_owned()));
    let mut config = Config::for_one("sandbox", sandbox.url().parse()?, sandbox.client_id().to_owned(), secret);
    let mut egress = None;
    if topology == Topology::Chain {
        let key = Secret::new(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()));
        let keys = Some(KeySource::Digests(vec![KeyDigest::of(key.expose())]));
        config.gateway.callers = vec![callers::Config { keys, ..callers::Config::new("sidecar") }];
        config.upstreams[0].encryption = Encryption::RequireSealed;
        let (app, records) = build(config.clone()).await?;
        let address = tcp(&app)?;
        config = sidecar_of(address, &key, config)?;
        egress = Some((app, Egress { address, key, records, early: HashMap::new() }));
    }
    config.gateway.listen.address = listen.into();
    let (front, records) = build(config).await?;
    let address = tcp(&front)?;
    let (app, egress) = egress.unzip();
    Ok((DemoSetup { sandbox, address, records, egress }, Gateways { front, egress: app }))
}

/// The configuration of the sidecar. Its only credential is its key for the egress.
fn sidecar_of(egress: SocketAddr, key: &Secret, mut config: Config) -> Result<Config, Failure> {
    config.gateway.callers.clear();
    let upstream = &mut config.upstreams[0];
    upstream.name = "egress".to_owned();
    upstream.encryption = Encryption::Seal;
    upstream.upstream.url = format!("http://{egress}").parse()?;
    upstream.keys.source = Source::Url(upstream.upstream.url.join("/.well-known/jwks.json")?);
    let (header, prefix, secret) = (AUTHORIZATION, "Bearer ".to_owned(), SecretSource::Value(key.clone()));
    let credential = StaticCredential { header, prefix, secret };
    upstream.keys.credential = Some(credential.clone());
    upstream.credentials = credentials::Config::Static(credential);
    Ok(config)
}

async fn build(config: Config) -> Result<(App, mpsc::UnboundedReceiver<Record>), Failure> {
    let (sender, records) = mpsc::unbounded_channel();
    // If the receiver is gone, the demo has ended.
    let observer = Arc::new(move |record: &Record| drop(sender.send(record.clone())));
    let dependencies = Dependencies { observers: vec![observer], ..Dependencies::default() };
    Ok((App::build(config, dependencies).await.map_err(Failure::unavailable)?, records))
}

fn tcp(app: &App) -> Result<SocketAddr, Failure> {
    app.address()?.tcp().ok_or_else(|| Failure::new("the demo's gateways listen on TCP"))
}

impl Gateways {
    /// Serves until one of the gateways fails.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let egress = async {
            match self.egress {
                Some(egress) => egress.run(std::future::pending()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = self.front.run(std::future::pending()) => Ok(result?),
            result = egress => Ok(result?),
        }
    }
}

impl DemoSetup {
    /// The last attempt of a request that the provider received.
    pub(super) fn received(&self, record: &Record) -> Option<Received> {
        let id = record.request_id.header();
        self.sandbox.received().into_iter().rev().find(|received| received.headers.get(X_REQUEST_ID) == Some(&id))
    }
}

impl Egress {
    /// The egress's records of a request that the sidecar sent `attempts` times. An attempt ends at the egress
    /// at about the same time as at the sidecar, so this function waits for its record, but not for long: an
    /// attempt without a connection has none.
    pub(super) async fn records_of(&mut self, id: &RequestId, attempts: u32) -> Vec<Record> {
        let mut found = self.early.remove(id.as_str()).unwrap_or_default();
        while found.len() < attempts as usize {
            let Ok(Some(record)) = tokio::time::timeout(RECORD_TIMEOUT, self.records.recv()).await else { break };
            if record.request_id.as_str() == id.as_str() {
                found.push(record);
            } else {
                self.early.entry(record.request_id.as_str().to_owned()).or_default().push(record);
            }
        }
        found
    }
}
