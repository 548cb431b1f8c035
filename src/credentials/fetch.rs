//! One request to the token endpoint, limited in time and size.

use std::time::SystemTime;

use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use zeroize::Zeroizing;

use super::request::TokenRequest;
use super::response::{self, TokenResponse};
use super::{ClientCredentials, RenewalError, RenewalErrorKind};
use crate::clock::Clock;
use crate::secret::Secret;
use crate::{retry_after, transport_error};

/// Limit for the size of a response: four times the longest accepted token. Providers add an `id_token` and other
/// members.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// Requests a token within the configured time.
pub(super) async fn fetch(
    config: &ClientCredentials,
    secret: &Secret,
    http: &reqwest::Client,
    clock: &Clock,
) -> Result<TokenResponse, RenewalError> {
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
) -> Result<TokenResponse, RenewalErrorKind> {
    let token_request = TokenRequest::new(config, secret)?;
    let mut request = http
        .post(config.url.clone())
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, token_request.content_type);
    if let Some(value) = token_request.authorization {
        request = request.header(AUTHORIZATION, value);
    }
    let response = request.body(token_request.body).send().await.map_err(transport)?;
    match response.status() {
        StatusCode::OK => {}
        status @ (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            return Err(RenewalErrorKind::Refused { status: status.as_u16() });
        }
        status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
            let header = response.headers().get(RETRY_AFTER);
            let retry_after = header.and_then(|value| retry_after::parse(value, SystemTime::now()));
            return Err(RenewalErrorKind::Busy { status: status.as_u16(), retry_after });
        }
        status if status.is_redirection() => return Err(RenewalErrorKind::Redirect(status.as_u16())),
        status => return Err(RenewalErrorKind::Status(status.as_u16())),
    }
    Ok(response::parse(&body(response).await?)?)
}

/// The body contains the token. It is read into one buffer of full size, which is wiped when it is dropped.
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
