//! The three example requests of the demo.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde_json::json;

use crate::secret::Secret;

/// The size of a scanned letter.
const PDF_BYTES: usize = 1024 * 1024;

pub(super) struct Example {
    method: Method,
    path: &'static str,
    pub(super) body: Bytes,
}

impl Example {
    /// A POST, a DELETE with a body, and a letter with a 1 MiB PDF.
    pub(super) fn three() -> [Self; 3] {
        let json = |value: serde_json::Value| Bytes::from(value.to_string());
        [
            Self {
                method: Method::POST,
                path: "/v0/bank/credentials/status",
                body: json(json!({ "credentials_token": "sandbox-credentials-1" })),
            },
            Self {
                method: Method::DELETE,
                path: "/v0/bank/credentials",
                body: json(json!({ "credentials_token": "sandbox-credentials-2" })),
            },
            Self {
                method: Method::POST,
                path: "/letters/v1/create-signed",
                body: json(json!({
                    "connector_id": "sandbox-custodian",
                    "labels": { "end_user_id": "USR_1" },
                    "data": STANDARD.encode(pdf()),
                })),
            },
        ]
    }

    /// Sends the request, with a caller's key if there is one, and reads the whole response.
    pub(super) async fn send(
        &self,
        client: &reqwest::Client,
        gateway: SocketAddr,
        key: Option<&Secret>,
    ) -> reqwest::Result<StatusCode> {
        let url = format!("http://{gateway}{}", self.path);
        let request = client.request(self.method.clone(), url).header(CONTENT_TYPE, "application/json");
        let request = match key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        };
        let response = request.body(self.body.clone()).send().await?;
        let status = response.status();
        response.bytes().await?;
        Ok(status)
    }
}

/// Random bytes after the first line of a PDF, because a scan does not compress further.
fn pdf() -> Vec<u8> {
    let mut noise = fastrand::Rng::with_seed(1);
    let mut pdf = b"%PDF-1.7\n".to_vec();
    pdf.resize_with(PDF_BYTES, || noise.u8(..));
    pdf
}
