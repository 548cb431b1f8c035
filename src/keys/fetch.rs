//! One fetch of the JWK Set, limited in time and size.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, CACHE_CONTROL, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use url::Url;

use super::config::FILE_POLL;
use super::freshness::stated_lifetime;
use super::set::{KeySet, MAX_BYTES};
use super::{Config, FetchError, FetchErrorKind, Source};
use crate::clock::Clock;
use crate::{file_read, retry_after, transport_error};

/// The media type of RFC 7517 section 8.5, and the one that most providers use. The `Content-Type` of the response is
/// not checked, only its content.
const ACCEPTED: &str = "application/jwk-set+json, application/json;q=0.9";

/// The result of a successful fetch.
#[derive(Debug)]
pub(super) enum FetchResponse {
    Set {
        set: KeySet,
        /// `None` if the response states none.
        lifetime: Option<Duration>,
        etag: Option<HeaderValue>,
    },
    /// The cached set is still current.
    NotModified { lifetime: Option<Duration> },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct FetchRequest {
    /// The validator of the cached set.
    pub(super) etag: Option<HeaderValue>,
    /// Whether caches on the way must ask the provider (RFC 9111 section 5.2.1.4).
    pub(super) bypass_caches: bool,
}

/// Fetches the set within the configured time.
pub(super) async fn fetch(
    config: &Config,
    http: &reqwest::Client,
    clock: &Clock,
    request: FetchRequest,
) -> Result<FetchResponse, FetchError> {
    let response = async {
        match &config.source {
            Source::Url(url) => get(url, http, config, request).await,
            Source::File(path) => read(path).await,
        }
    };
    let response = tokio::select! {
        response = response => response,
        () = clock.sleep(config.fetch_timeout) => Err(FetchErrorKind::Timeout(config.fetch_timeout)),
    };
    response.map_err(|kind| FetchError::new(&config.source, kind))
}

async fn get(
    url: &Url,
    http: &reqwest::Client,
    config: &Config,
    options: FetchRequest,
) -> Result<FetchResponse, FetchErrorKind> {
    let mut request = http.get(url.clone()).header(ACCEPT, ACCEPTED);
    let is_conditional = options.etag.is_some();
    if let Some(etag) = options.etag {
        request = request.header(IF_NONE_MATCH, etag);
    }
    if let Some(credential) = &config.credential {
        request = request.header(credential.header.clone(), credential.header_value().await?);
    }
    if options.bypass_caches {
        request = request.header(CACHE_CONTROL, "no-cache");
    }
    let response = request.send().await.map_err(transport)?;
    let lifetime = stated_lifetime(response.headers(), config);
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if is_conditional => return Ok(FetchResponse::NotModified { lifetime }),
        StatusCode::NOT_MODIFIED => return Err(FetchErrorKind::NotModifiedUnasked),
        status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
            let header = response.headers().get(RETRY_AFTER);
            let retry_after = header.and_then(|value| retry_after::parse(value, SystemTime::now()));
            return Err(FetchErrorKind::Busy { status: status.as_u16(), retry_after });
        }
        status if status.is_redirection() => return Err(FetchErrorKind::Redirect(status.as_u16())),
        status => return Err(FetchErrorKind::Status(status.as_u16())),
    }
    let etag = response.headers().get(ETAG).cloned();
    let set = KeySet::parse(&body(response).await?)?;
    Ok(FetchResponse::Set { set, lifetime, etag })
}

/// The body of a response, if it is not longer than a JWK Set may be.
pub(crate) async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, FetchErrorKind> {
    if response.content_length().is_some_and(|length| length > MAX_BYTES as u64) {
        return Err(FetchErrorKind::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(FetchErrorKind::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn transport(error: reqwest::Error) -> FetchErrorKind {
    FetchErrorKind::Transport(transport_error::describe(error))
}

async fn read(path: &Path) -> Result<FetchResponse, FetchErrorKind> {
    let unreadable = |error: io::Error| FetchErrorKind::File(error.kind());
    // One byte more than the limit shows that a file is too long.
    let document = file_read::read(path, MAX_BYTES as u64 + 1).await.map_err(unreadable)?;
    Ok(FetchResponse::Set { set: KeySet::parse(&document)?, lifetime: Some(FILE_POLL), etag: None })
}
