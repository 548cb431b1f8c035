//! How to test a Rust client that seals its own requests, against the sandbox. This module has no items.
//!
//! # The dependency
//!
//! A test needs the feature `sandbox` alone. Without the default features there is no gateway, no command line and no
//! HTTP client in the build:
//!
//! ```toml
//! [dev-dependencies]
//! jwe-gateway = { version = "0.1", default-features = false, features = ["sandbox"] }
//! ```
//!
//! `sandbox` links the OpenSSL of the system (`libssl-dev` and `pkg-config` on Debian). Add the feature `vendored-openssl`
//! to build OpenSSL from source; that needs `perl` and `make`. A client that seals with [`jose`](crate::jose) in
//! production needs no feature: `jwe-gateway = { version = "0.1", default-features = false }`.
//!
//! # A client on reqwest
//!
//! [`jose::seal`](crate::jose::seal()) does no I/O: the client fetches the key set itself and decides when to fetch it again.
//! This one fetches it again after a 400, because the provider answers so to a message that it cannot open.
//!
//! ```
//! use jwe_gateway::jose::{self, EncryptionKey, Plaintext};
//! use jwe_gateway::sandbox::{Options, Rotation, Sandbox};
//! use reqwest::StatusCode;
//! use serde_json::{Value, json};
//!
//! type Error = Box<dyn std::error::Error + Send + Sync>;
//!
//! struct Client {
//!     http: reqwest::Client,
//!     base: String,
//!     token: String,
//!     key: EncryptionKey,
//! }
//!
//! impl Client {
//!     async fn new(base: String, client_id: &str, client_secret: &str) -> Result<Self, Error> {
//!         let http = reqwest::Client::new();
//!         let body = json!({ "client_id": client_id, "client_secret": client_secret, "grant_type": "client_credentials" });
//!         let request = http.post(format!("{base}/v0/token")).header("content-type", "application/json");
//!         let reply = request.body(body.to_string()).send().await?.error_for_status()?.bytes().await?;
//!         let reply: Value = serde_json::from_slice(&reply)?;
//!         let token = reply["access_token"].as_str().ok_or("no token")?.to_owned();
//!         let key = newest_key(&http, &base).await?;
//!         Ok(Self { http, base, token, key })
//!     }
//!
//!     async fn post(&mut self, path: &str, body: &Value) -> Result<StatusCode, Error> {
//!         let body = Plaintext::json(body.to_string().into())?;
//!         let status = self.send(path, &body).await?;
//!         if status != StatusCode::BAD_REQUEST {
//!             return Ok(status);
//!         }
//!         let key = newest_key(&self.http, &self.base).await?;
//!         if key == self.key {
//!             return Ok(status);
//!         }
//!         self.key = key;
//!         self.send(path, &body).await
//!     }
//!
//!     async fn send(&self, path: &str, body: &Plaintext) -> Result<StatusCode, Error> {
//!         let message = jose::seal(body, &self.key)?.into_bytes()?;
//!         let request = self.http.post(format!("{}{path}", self.base)).bearer_auth(&self.token);
//!         Ok(request.header("content-type", "application/jose").body(message).send().await?.status())
//!     }
//! }
//!
//! /// The first usable key of the provider's set.
//! async fn newest_key(http: &reqwest::Client, base: &str) -> Result<EncryptionKey, Error> {
//!     let set = http.get(format!("{base}/.well-known/jwks.json")).send().await?.error_for_status()?.bytes().await?;
//!     let set: Value = serde_json::from_slice(&set)?;
//!     let keys = set["keys"].as_array().ok_or("no `keys`")?;
//!     Ok(keys.iter().find_map(|jwk| EncryptionKey::from_jwk(jwk).ok()).ok_or("no usable key")?)
//! }
//!
//! # fn main() -> Result<(), Error> {
//! # // The default features of reqwest bring a provider of their own.
//! # let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
//! # tokio::runtime::Runtime::new()?.block_on(the_client_survives_a_rotation())
//! # }
//! // #[tokio::test]
//! async fn the_client_survives_a_rotation() -> Result<(), Error> {
//!     let provider = Sandbox::start(Options { require_sealed: true, ..Options::default() }).await?;
//!     let mut client = Client::new(provider.url(), provider.client_id(), provider.client_secret()).await?;
//!     let body = json!({ "credentials_token": "sandbox-credentials-1" });
//!     assert_eq!(client.post("/v0/bank/credentials/status", &body).await?, 200);
//!
//!     let kid = provider.rotate(Rotation::HardCut).await?;
//!     assert_eq!(client.post("/v0/bank/credentials/status", &body).await?, 200);
//!
//!     let calls = provider.received();
//!     assert_eq!(calls.len(), 3, "the second message was for the key that is gone");
//!     assert!(calls[1].unopened.is_some());
//!     assert_eq!(calls[2].kid(), Some(kid.as_str()));
//!     assert_eq!(calls[2].plaintext, body.to_string());
//!     Ok(())
//! }
//! ```
//!
//! # A tower layer
//!
//! A client that is a stack of layers seals in one more layer, below those that log or measure plaintext. Sealing needs no
//! I/O, so `tower::filter` is enough: it passes on what a function made of the request, or its error. The layer holds the
//! receiving end of a channel, so that a task of the program can replace the key while requests go on.
//!
//! ```
//! use jwe_gateway::jose::{self, EncryptionKey, Plaintext};
//! use jwe_gateway::sandbox::{Options, Rotation, Sandbox};
//! use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
//! use tokio::sync::watch;
//! use tower::filter::FilterLayer;
//! use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
//!
//! fn seal(mut request: reqwest::Request, key: &EncryptionKey) -> Result<reqwest::Request, BoxError> {
//!     let Some(body) = request.body() else { return Ok(request) };
//!     // Passing it on would send it in clear.
//!     let body = body.as_bytes().ok_or("a body that is a stream cannot be sealed")?;
//!     let plaintext = Plaintext::json(body.to_vec().into())?;
//!     let message = jose::seal(&plaintext, key)?.into_bytes()?;
//!     request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jose"));
//!     *request.body_mut() = Some(message.into());
//!     Ok(request)
//! }
//!
//! # fn main() -> Result<(), BoxError> {
//! # let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
//! # tokio::runtime::Runtime::new()?.block_on(the_layer_seals_with_the_newest_key())
//! # }
//! # async fn newest_key(provider: &Sandbox) -> Result<EncryptionKey, BoxError> {
//! #     let reply = reqwest::get(provider.url() + "/.well-known/jwks.json").await?.bytes().await?;
//! #     Ok(EncryptionKey::from_jwk(&serde_json::from_slice::<serde_json::Value>(&reply)?["keys"][0])?)
//! # }
//! # async fn token(provider: &Sandbox) -> Result<HeaderValue, BoxError> {
//! #     let body = serde_json::json!({ "client_id": provider.client_id(), "client_secret": provider.client_secret(),
//! #         "grant_type": "client_credentials" });
//! #     let request = reqwest::Client::new().post(provider.url() + "/v0/token").header(CONTENT_TYPE, "application/json");
//! #     let reply: serde_json::Value = serde_json::from_slice(&request.body(body.to_string()).send().await?.bytes().await?)?;
//! #     Ok(format!("Bearer {}", reply["access_token"].as_str().ok_or("no token")?).parse()?)
//! # }
//! // #[tokio::test]
//! async fn the_layer_seals_with_the_newest_key() -> Result<(), BoxError> {
//!     let provider = Sandbox::start(Options { require_sealed: true, ..Options::default() }).await?;
//!     let (sender, keys) = watch::channel(newest_key(&provider).await?);
//!     let layer = FilterLayer::new(move |request: reqwest::Request| seal(request, &keys.borrow()));
//!     let mut client = ServiceBuilder::new().layer(layer).service(reqwest::Client::new());
//!
//!     for _ in 0..2 {
//!         let url = provider.url() + "/v0/bank/credentials/status";
//!         let mut request = reqwest::Request::new(reqwest::Method::POST, url.parse()?);
//!         request.headers_mut().insert(AUTHORIZATION, token(&provider).await?);
//!         *request.body_mut() = Some(r#"{"credentials_token":"sandbox-credentials-1"}"#.into());
//!         assert_eq!(client.ready().await?.call(request).await?.status(), 200);
//!
//!         provider.rotate(Rotation::HardCut).await?;
//!         sender.send(newest_key(&provider).await?)?;
//!     }
//!     let calls = provider.received();
//!     assert!(calls.iter().all(|call| call.opened.is_some()));
//!     assert_ne!(calls[0].kid(), calls[1].kid());
//!     Ok(())
//! }
//! ```
