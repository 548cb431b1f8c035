//! The providers' JSON responses, in the two error formats of Flanks and the three of Flinks.
//!
//! Paths under `/letters/` report errors as `{"success": false, "error": {"code": ...}, "trace_id": ...}`,
//! the other paths of Flanks as `{"error": "..."}`. [`Dialect`] has the formats of Flinks. Codes and texts are the
//! documented ones where the documentation names them. It names none for unknown paths, 413, 415 and 429: there the
//! format is the documented one and the text is the sandbox's.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::flinks::Dialect;
use super::scripted_body::ScriptedBody;

#[derive(Debug)]
pub(super) struct ApiResponse {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl ApiResponse {
    pub(super) fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, body }
    }

    pub(super) fn into_response(self) -> Response<ScriptedBody> {
        json_response(self.status, Bytes::from(self.body.to_string()))
    }
}

/// A response with a JSON document and the headers that belong to its status.
pub(super) fn json_response(status: StatusCode, document: Bytes) -> Response<ScriptedBody> {
    let mut response = Response::new(ScriptedBody::whole(document));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110 section 15.5.2: a 401 names the required scheme.
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
        // The client is still sending the body, and the sandbox does not read the rest.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorFormat {
    V0,
    Letters,
    Flinks(Dialect),
}

impl ErrorFormat {
    pub(super) fn of(path: &str) -> Self {
        match Dialect::of(path) {
            Some(dialect) => Self::Flinks(dialect),
            None if path.starts_with("/letters/") => Self::Letters,
            None => Self::V0,
        }
    }

    /// Whether the path belongs to the second provider, which accepts no sealed bodies.
    pub(super) fn is_flinks(self) -> bool {
        matches!(self, Self::Flinks(_))
    }

    pub(super) fn unauthenticated(self) -> ApiResponse {
        if let Self::Flinks(dialect) = self {
            return dialect.unauthenticated();
        }
        let text = "The access token is missing, expired or invalid";
        self.error(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", text)
    }

    pub(super) fn not_found(self) -> ApiResponse {
        self.error(StatusCode::NOT_FOUND, "NOT_FOUND", "Not Found")
    }

    pub(super) fn too_large(self) -> ApiResponse {
        let text = "The request body is too large";
        self.error(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", text)
    }

    pub(super) fn too_slow(self) -> ApiResponse {
        let text = "The request body did not arrive in time";
        self.error(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", text)
    }

    pub(super) fn unsupported_media_type(self) -> ApiResponse {
        if let Self::Flinks(dialect) = self {
            return dialect.unsupported_media_type();
        }
        let text = "Content-Type must be application/json or application/jose";
        self.error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", text)
    }

    pub(super) fn undecryptable(self) -> ApiResponse {
        match self {
            Self::V0 => bad_request("The request body could not be decrypted"),
            Self::Flinks(dialect) => dialect.error(StatusCode::BAD_REQUEST, "The request body could not be decrypted"),
            Self::Letters => validation_error(&[("body", "Undecryptable")]),
        }
    }

    pub(super) fn not_json(self) -> ApiResponse {
        match self {
            Self::V0 => bad_request("The request body is not valid JSON"),
            Self::Flinks(dialect) => dialect.error(StatusCode::BAD_REQUEST, "The request body is not valid JSON"),
            Self::Letters => validation_error(&[("body", "InvalidJson")]),
        }
    }

    pub(super) fn incomplete(self) -> ApiResponse {
        match self {
            Self::V0 => bad_request("The request body is incomplete"),
            Self::Flinks(dialect) => dialect.error(StatusCode::BAD_REQUEST, "The request body is incomplete"),
            Self::Letters => validation_error(&[("body", "Incomplete")]),
        }
    }

    /// The refusal of plain JSON by a sandbox with [`Options::require_sealed`](super::Options::require_sealed).
    pub(super) fn must_be_sealed(self) -> ApiResponse {
        let text = "The request body is not sealed, and this sandbox accepts sealed bodies only: seal it as a JWE with \
                    a key of /.well-known/jwks.json and send it with Content-Type: application/jose, or start the \
                    sandbox with --require-sealed=false";
        match self {
            Self::V0 | Self::Flinks(_) => self.error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "", text),
            Self::Letters => ApiResponse {
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                body: letters_error(json!({ "code": "UNSUPPORTED_MEDIA_TYPE", "message": text })),
            },
        }
    }

    pub(super) fn forbidden(self) -> ApiResponse {
        let text = "You are not authorized to perform this action";
        self.error(StatusCode::FORBIDDEN, "UNAUTHORIZED", text)
    }

    pub(super) fn too_many_requests(self) -> ApiResponse {
        self.error(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", "Too Many Requests")
    }

    pub(super) fn internal(self) -> ApiResponse {
        self.error(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "Internal Error")
    }

    /// An error in this format. Only the letters format has the code.
    pub(super) fn error(self, status: StatusCode, code: &str, text: &str) -> ApiResponse {
        let body = match self {
            Self::V0 => json!({ "error": text }),
            Self::Letters => letters_error(json!({ "code": code })),
            Self::Flinks(dialect) => return dialect.error(status, text),
        };
        ApiResponse { status, body }
    }
}

/// The name of a field and the type of its error, as in the `details` of a letters error.
pub(super) type FieldError = (&'static str, &'static str);

/// A 400 in the format of `/v0/`.
pub(super) fn bad_request(text: &str) -> ApiResponse {
    ErrorFormat::V0.error(StatusCode::BAD_REQUEST, "", text)
}

/// A 400 in the format of `/letters/`, with the type of error for each field.
pub(super) fn validation_error(details: &[FieldError]) -> ApiResponse {
    let details: Vec<_> = details.iter().map(|(field, kind)| json!({ "field": field, "error_type": kind })).collect();
    ApiResponse {
        status: StatusCode::BAD_REQUEST,
        body: letters_error(json!({ "code": "VALIDATION_ERROR", "details": details })),
    }
}

/// The documented 404 for a letter that does not exist.
pub(super) fn letter_not_found() -> ApiResponse {
    ApiResponse {
        status: StatusCode::NOT_FOUND,
        body: letters_error(json!({ "code": "NOT_FOUND", "message": "LetterNotFound" })),
    }
}

fn letters_error(error: Value) -> Value {
    let trace_id = Uuid::new_v4().simple().to_string();
    json!({ "success": false, "error": error, "trace_id": trace_id })
}
