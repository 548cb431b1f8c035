//! What a demo is played on: one gateway before the sandbox, or a sidecar and an egress.

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
use crate::config::Config;
use crate::credentials::{self, StaticCredentials};
use crate::gateway::access_log::Record;
use crate::gateway::callers::{self, KeyDigest, KeySource};
use crate::gateway::request::request_id::{RequestId, X_REQUEST_ID};
use crate::gateway::route::Encryption;
use crate::keys::{Credential, Source};
use crate::sandbox::{Options, Received, Sandbox};
use crate::secret::{Secret, SecretSource};

/// How long the end of an attempt is waited for at its other side.
const PATIENCE: Duration = Duration::from_secs(1);

/// The sandbox and what stands before it.
pub(super) struct DemoSetup {
    pub(super) sandbox: Sandbox,
    /// Where services send.
    pub(super) door: SocketAddr,
    /// What the gateway at the door knows of each request that is over.
    pub(super) over: mpsc::UnboundedReceiver<Record>,
    pub(super) egress: Option<Egress>,
}

/// The gateway in the middle.
pub(super) struct Egress {
    pub(super) address: SocketAddr,
    /// What it knows the sidecar by.
    pub(super) key: Secret,
    over: mpsc::UnboundedReceiver<Record>,
    /// Records of requests whose turn has not come.
    early: HashMap<String, Vec<Record>>,
}

/// The gateways of a stage, to be run.
pub(super) struct Gateways {
    front: App,
    egress: Option<App>,
}

/// Sets the stage. Its gateways must be run for anything to happen.
pub(super) async fn set(topology: Topology, listen: SocketAddr) -> Result<(DemoSetup, Gateways), Failure> {
    let sandbox = Sandbox::start(Options::default()).await.map_err(Failure::unavailable)?;
    let secret = SecretSource::Value(Secret::new(sandbox.client_secret().to_owned()));
    let mut config = Config::for_one("sandbox", sandbox.url().parse()?, sandbox.client_id().to_owned(), secret);
    let mut egress = None;
    if topology == Topology::Chain {
        let key = Secret::new(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()));
        let keys = Some(KeySource::Digests(vec![KeyDigest::of(key.expose())]));
        config.gateway.callers = vec![callers::Config { keys, ..callers::Config::new("sidecar") }];
        config.upstreams[0].encryption = Encryption::RequireSealed;
        let (app, over) = build(config.clone()).await?;
        let address = tcp(&app)?;
        config = sidecar_of(address, &key, config)?;
        egress = Some((app, Egress { address, key, over, early: HashMap::new() }));
    }
    config.gateway.listen.address = listen.into();
    let (front, over) = build(config).await?;
    let door = tcp(&front)?;
    let (app, egress) = egress.unzip();
    Ok((DemoSetup { sandbox, door, over, egress }, Gateways { front, egress: app }))
}

/// The gateway that seals. It has no credentials but its key for the egress.
fn sidecar_of(egress: SocketAddr, key: &Secret, mut config: Config) -> Result<Config, Failure> {
    config.gateway.callers.clear();
    let upstream = &mut config.upstreams[0];
    upstream.name = "egress".to_owned();
    upstream.encryption = Encryption::Seal;
    upstream.upstream.url = format!("http://{egress}").parse()?;
    upstream.keys.source = Source::Url(upstream.upstream.url.join("/.well-known/jwks.json")?);
    let (header, prefix, secret) = (AUTHORIZATION, "Bearer ".to_owned(), SecretSource::Value(key.clone()));
    upstream.keys.credential =
        Some(Credential { header: header.clone(), prefix: prefix.clone(), secret: secret.clone() });
    upstream.credentials = credentials::Config::Static(StaticCredentials { header, prefix, secret });
    Ok(config)
}

async fn build(config: Config) -> Result<(App, mpsc::UnboundedReceiver<Record>), Failure> {
    let (tell, over) = mpsc::unbounded_channel();
    // The demo that no longer listens has ended.
    let observer = Arc::new(move |record: &Record| drop(tell.send(record.clone())));
    let dependencies = Dependencies { observers: vec![observer], ..Dependencies::default() };
    Ok((App::build(config, dependencies).await.map_err(Failure::unavailable)?, over))
}

fn tcp(app: &App) -> Result<SocketAddr, Failure> {
    app.address()?.tcp().ok_or_else(|| Failure::new("the demo's gateways listen on TCP"))
}

impl Gateways {
    /// Serves until one of them fails.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let egress = async {
            match self.egress {
                Some(egress) => egress.run(std::future::pending()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = self.front.run(std::future::pending()) => Ok(ended?),
            ended = egress => Ok(ended?),
        }
    }
}

impl DemoSetup {
    /// What the provider received of a request last.
    pub(super) fn received(&self, record: &Record) -> Option<Received> {
        let id = record.request_id.header();
        self.sandbox.received().into_iter().rev().find(|received| received.headers.get(X_REQUEST_ID) == Some(&id))
    }
}

impl Egress {
    /// What the egress knows of a request that the sidecar sent `attempts` times. An attempt ends
    /// here at about the moment it ends there, so it is waited for, but not for long: one that
    /// found no connection has no record.
    pub(super) async fn records_of(&mut self, id: &RequestId, attempts: u32) -> Vec<Record> {
        let mut records = self.early.remove(id.as_str()).unwrap_or_default();
        while records.len() < attempts as usize {
            let Ok(Some(record)) = tokio::time::timeout(PATIENCE, self.over.recv()).await else { break };
            if record.request_id.as_str() == id.as_str() {
                records.push(record);
            } else {
                self.early.entry(record.request_id.as_str().to_owned()).or_default().push(record);
            }
        }
        records
    }
}
