//! The three error formats of Flinks.
//!
//! The documentation shows the formats, but for most causes no text. The texts are the sandbox's then.

use http::StatusCode;
use serde_json::json;

use crate::sandbox::api_response::ApiResponse;

/// The error format of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Dialect {
    /// Connect, Enrich and Pay: `{"HttpStatusCode": 400, "Message": "...", "FlinksCode": "..."}`. The format of Pay
    /// is not documented.
    Connect,
    /// Outbound: `{"message": "..."}`.
    Outbound,
    /// FDX: `{"code": 702, "message": "...", "debugMessage": "..."}`.
    Fdx,
}

impl Dialect {
    /// Returns the format for this path, or `None` if the path is not one of Flinks'.
    pub(in crate::sandbox) fn of(path: &str) -> Option<Self> {
        if path.starts_with("/api/fdx/") {
            Some(Self::Fdx)
        } else if path.starts_with("/api/") || path == super::TOKEN_PATH {
            Some(Self::Outbound)
        } else if path.starts_with("/v3/") || path.starts_with("/v2/") {
            Some(Self::Connect)
        } else {
            None
        }
    }

    pub(in crate::sandbox) fn unauthenticated(self) -> ApiResponse {
        self.error(StatusCode::UNAUTHORIZED, "Invalid Bearer Token")
    }

    pub(in crate::sandbox) fn not_found(self) -> ApiResponse {
        self.error(StatusCode::NOT_FOUND, "Not Found")
    }

    pub(in crate::sandbox) fn unsupported_media_type(self) -> ApiResponse {
        self.error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json")
    }

    /// An error whose code follows from its status.
    pub(in crate::sandbox) fn error(self, status: StatusCode, text: &str) -> ApiResponse {
        match self {
            Self::Connect => {
                let code = match status {
                    StatusCode::UNAUTHORIZED => "ACCESS_DENIED",
                    StatusCode::NOT_FOUND => "NOT_FOUND",
                    _ if status.is_server_error() => "SERVER_ERROR",
                    _ => "INVALID_REQUEST",
                };
                // A key, and not a token, is what these products ask for.
                let text = if status == StatusCode::UNAUTHORIZED { "Unauthorized" } else { text };
                connect_error(status, code, text)
            }
            Self::Outbound => ApiResponse { status, body: json!({ "message": text }) },
            Self::Fdx => {
                let error = match status {
                    StatusCode::UNAUTHORIZED => FdxError::NotAuthorized,
                    StatusCode::NOT_FOUND => FdxError::NoData,
                    _ if status.is_server_error() => FdxError::Internal,
                    _ => FdxError::InvalidInput,
                };
                ApiResponse { status, body: error.document(text) }
            }
        }
    }
}

/// An error in the format of Connect.
pub(super) fn connect_error(status: StatusCode, code: &str, text: &str) -> ApiResponse {
    let body = json!({ "HttpStatusCode": status.as_u16(), "Message": text, "FlinksCode": code });
    ApiResponse { status, body }
}

/// A 400 in the format of Connect.
pub(super) fn invalid_request(text: &str) -> ApiResponse {
    connect_error(StatusCode::BAD_REQUEST, "INVALID_REQUEST", text)
}

/// The errors of the FDX standard that Flinks documents, as far as the sandbox needs them.
#[derive(Clone, Copy, Debug)]
pub(super) enum FdxError {
    InvalidInput,
    Internal,
    NotAuthorized,
    NoCustomer,
    NoAccount,
    InvalidDate,
    InvalidDateRange,
    NoData,
}

impl FdxError {
    pub(super) fn response(self, debug: &str) -> ApiResponse {
        let status = match self {
            Self::InvalidInput | Self::InvalidDate | Self::InvalidDateRange => StatusCode::BAD_REQUEST,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotAuthorized => StatusCode::UNAUTHORIZED,
            Self::NoCustomer | Self::NoAccount | Self::NoData => StatusCode::NOT_FOUND,
        };
        ApiResponse { status, body: self.document(debug) }
    }

    fn document(self, debug: &str) -> serde_json::Value {
        let (code, message) = match self {
            Self::InvalidInput => (401, "Invalid Input"),
            Self::Internal => (500, "Internal server error"),
            Self::NoCustomer => (601, "Customer not found"),
            Self::NotAuthorized => (602, "Customer not authorized"),
            Self::NoAccount => (701, "Account not found"),
            Self::InvalidDate => (702, "Invalid start or end date"),
            Self::InvalidDateRange => (703, "Invalid date range"),
            Self::NoData => (1107, "Data not found for request parameters"),
        };
        json!({ "code": code, "message": message, "debugMessage": debug })
    }
}
