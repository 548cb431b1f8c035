//! The requests that change something: `POST /reload` and `POST /shutdown`.
//!
//! Promise: only an operator can send them. At a TCP address they need the token of `token_file`, and without such a file
//! they are refused. At a unix socket the permissions of its file decide, and the token too if there is one.
//!
//! A web page cannot send them: see [`access`](super::access). It also cannot send `Authorization` without a preflight
//! request, which gets 405.
//!
//! The file is read at each such request, so a new token needs no reload. Rejected: a token in a setting or a variable,
//! because `check` would print it and child processes would inherit it.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::server::Work;
use super::{plain, response};
use crate::secret::{SecretSource, UnreadableSecret};

/// The fewest characters of a token. 16 random ones cannot be guessed.
pub(crate) const MIN_TOKEN: usize = 16;

/// What the requests do.
pub(crate) trait Actions: Send + Sync {
    /// Reloads the configuration.
    fn reload(&self) -> Pin<Box<dyn Future<Output = Reloaded> + Send>>;

    /// Begins an orderly shutdown.
    fn shut_down(&self);
}

/// The result of a reload.
pub(crate) enum Reloaded {
    /// What has changed.
    Done(Value),
    /// A shutdown has begun.
    Stopping,
    /// All faults of the configuration. The former one stays in use.
    Faulty(Vec<String>),
}

/// A path that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Reload,
    Shutdown,
}

impl Verb {
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/reload" => Some(Self::Reload),
            "/shutdown" => Some(Self::Shutdown),
            _ => None,
        }
    }

    /// Does it, if `authority` permits it for a request with `headers`.
    pub(super) async fn run(
        self,
        headers: HeaderMap,
        authority: Authority,
        actions: Arc<dyn Actions>,
        work: Work,
    ) -> Response<Full<Bytes>> {
        if let Err(refusal) = authority.check(&headers).await {
            return refusal.respond();
        }
        if !work.begin() {
            let text = "too many reloads and shutdowns are in progress: try again when one of them has ended\n";
            return plain(StatusCode::TOO_MANY_REQUESTS, text);
        }
        match self {
            Self::Reload => {
                tracing::info!("a reload was requested at the admin listener");
                let (status, body) = match actions.reload().await {
                    Reloaded::Done(report) => (StatusCode::OK, report),
                    Reloaded::Stopping => {
                        (StatusCode::CONFLICT, json!({ "reloaded": false, "faults": ["the gateway is stopping"] }))
                    }
                    Reloaded::Faulty(faults) => {
                        (StatusCode::UNPROCESSABLE_ENTITY, json!({ "reloaded": false, "faults": faults }))
                    }
                };
                response(status, "application/json", format!("{body}\n"))
            }
            Self::Shutdown => {
                tracing::info!("a shutdown was requested at the admin listener");
                // The process may end at once, so the answer is sent first.
                work.afterwards(move || actions.shut_down());
                plain(StatusCode::ACCEPTED, "stopping\n")
            }
        }
    }
}

/// Who may change something.
pub(super) struct Authority {
    pub(super) token_file: Option<PathBuf>,
    /// Whether the permissions of a socket file keep others away.
    pub(super) is_unix: bool,
}

const UNUSABLE_FILE: &str = "token_file cannot be used; the log has the reason\n";

enum Refused {
    NoTokenFile,
    TokenFile(UnreadableSecret),
    /// The token of the file has fewer than [`MIN_TOKEN`] characters.
    TooShort,
    WrongToken,
}

impl Authority {
    async fn check(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let token = match &self.token_file {
            Some(file) => SecretSource::File(file.clone()).read_line_async().await.map_err(Refused::TokenFile)?,
            None if self.is_unix => return Ok(()),
            None => return Err(Refused::NoTokenFile),
        };
        let token = token.expose().as_bytes();
        if token.len() < MIN_TOKEN {
            return Err(Refused::TooShort);
        }
        let presented = presented(headers).ok_or(Refused::WrongToken)?;
        // The digests have one length, so the time reveals nothing, not even the length of the token.
        let [of_presented, of_token] = [presented, token].map(|text| digest(&SHA256, text));
        let is_equal = verify_slices_are_equal(of_presented.as_ref(), of_token.as_ref()).is_ok();
        if is_equal { Ok(()) } else { Err(Refused::WrongToken) }
    }
}

/// The credential of the only `Authorization: Bearer`.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, token) = field.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

impl Refused {
    fn respond(self) -> Response<Full<Bytes>> {
        match self {
            Self::NoTokenFile => plain(
                StatusCode::FORBIDDEN,
                "this request needs a token, and no token_file is set under [admin]: set it, or use a unix socket as address\n",
            ),
            Self::TokenFile(error) => {
                tracing::error!(%error, "a request at the admin listener was refused: token_file cannot be used");
                plain(StatusCode::SERVICE_UNAVAILABLE, UNUSABLE_FILE)
            }
            Self::TooShort => {
                tracing::error!(
                    "a request at the admin listener was refused: the token in token_file has fewer than {MIN_TOKEN} \
                     characters; write a longer one, such as the output of openssl rand -hex 32"
                );
                plain(StatusCode::SERVICE_UNAVAILABLE, UNUSABLE_FILE)
            }
            Self::WrongToken => {
                let text = "the token is missing or wrong: send Authorization: Bearer and the content of token_file\n";
                let mut response = plain(StatusCode::UNAUTHORIZED, text);
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                response
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect()
    }

    async fn status(authority: &Authority, values: &[&str]) -> u16 {
        authority.check(&headers(values)).await.map_or_else(|refused| refused.respond().status().as_u16(), |()| 200)
    }

    #[tokio::test]
    async fn only_the_token_of_the_file_permits_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        for is_unix in [false, true] {
            let authority = Authority { token_file: Some(file.clone()), is_unix };
            assert_eq!(status(&authority, &["Bearer 0123456789abcdef"]).await, 200);
            assert_eq!(status(&authority, &["bearer 0123456789abcdef"]).await, 200);
            for wrong in [
                &[][..],
                &["Bearer 0123456789abcdeg"],
                &["Bearer "],
                &["Bearer"],
                &["0123456789abcdef"],
                &["Basic 0123456789abcdef"],
                &["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"],
            ] {
                assert_eq!(status(&authority, wrong).await, 401, "{wrong:?}");
            }
        }
    }

    #[tokio::test]
    async fn without_a_usable_file_no_token_is_right() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let authority = |token_file, is_unix| Authority { token_file, is_unix };
        assert_eq!(status(&authority(Some(file.clone()), false), &["Bearer "]).await, 503, "no such file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(status(&authority(Some(file.clone()), true), &["Bearer "]).await, 503, "an empty file");
        std::fs::write(&file, "short").unwrap();
        for token in [&["Bearer short"][..], &[]] {
            assert_eq!(status(&authority(Some(file.clone()), false), token).await, 503, "too short to be safe");
        }
        assert_eq!(status(&authority(None, false), &["Bearer x"]).await, 403);
        assert_eq!(status(&authority(None, true), &[]).await, 200, "the permissions of the socket decide");
    }
}
