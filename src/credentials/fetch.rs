//! One request to the token endpoint, bounded in time and in bytes.

use std::time::SystemTime;

use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use zeroize::Zeroizing;

use super::request::TokenRequest;
use super::response::{self, Granted};
use super::{ClientCredentials, RenewalError, RenewalErrorKind, retry_after};
use crate::clock::Clock;
use crate::secret::Secret;
use crate::transport_error;

/// The most bytes of an answer that are read: the longest token that is accepted, and as much
/// again three times for an id_token and what else providers add.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// Asks for a token, within the configured time.
pub(super) async fn fetch(
    config: &ClientCredentials,
    secret: &Secret,
    http: &reqwest::Client,
    clock: &Clock,
) -> Result<Granted, RenewalError> {
    let granted = tokio::select! {
        granted = post(config, secret, http) => granted,
        () = clock.sleep(config.fetch_timeout) => Err(RenewalErrorKind::Timeout(config.fetch_timeout)),
    };
    granted.map_err(|kind| RenewalError::at(&config.url, kind))
}

async fn post(
    config: &ClientCredentials,
    secret: &Secret,
    http: &reqwest::Client,
) -> Result<Granted, RenewalErrorKind> {
    let written = TokenRequest::new(config, secret)?;
    let mut request =
        http.post(config.url.clone()).header(ACCEPT, "application/json").header(CONTENT_TYPE, written.content_type);
    if let Some(value) = written.authorization {
        request = request.header(AUTHORIZATION, value);
    }
    let response = request.body(written.body).send().await.map_err(transport)?;
    match response.status() {
        StatusCode::OK => {}
        status @ (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            return Err(RenewalErrorKind::Refused { status: status.as_u16() });
        }
        status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
            let asked = response.headers().get(RETRY_AFTER);
            let retry_after = asked.and_then(|value| retry_after::parse(value, SystemTime::now()));
            return Err(RenewalErrorKind::Busy { status: status.as_u16(), retry_after });
        }
        status if status.is_redirection() => return Err(RenewalErrorKind::Redirect(status.as_u16())),
        status => return Err(RenewalErrorKind::Status(status.as_u16())),
    }
    Ok(response::parse(&body(response).await?)?)
}

/// The answer holds the token: one buffer of the greatest size, wiped when it is dropped.
async fn body(mut response: reqwest::Response) -> Result<Zeroizing<Vec<u8>>, RenewalErrorKind> {
    let mut body = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(RenewalErrorKind::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn transport(error: reqwest::Error) -> RenewalErrorKind {
    RenewalErrorKind::Transport(transport_error::describe(error))
}
