//! One authorization letter and its status.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The status of a letter, by its documented name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sandbox) enum LetterStatus {
    NewRequest,
    UsersDetail,
    Generated,
    SentToUser,
    Signed,
    SentToCustodian,
    AcceptedByCustodian,
    ConnectionSetup,
    WaitingForData,
    Connected,
    Cancelled,
    Discontinued,
    Revoked,
}

impl LetterStatus {
    /// The status after the letter is discontinued, or `None` if it has ended already.
    pub(super) fn discontinued(self) -> Option<Self> {
        match self {
            Self::Connected => Some(Self::Discontinued),
            Self::Cancelled | Self::Discontinued | Self::Revoked => None,
            Self::NewRequest
            | Self::UsersDetail
            | Self::Generated
            | Self::SentToUser
            | Self::Signed
            | Self::SentToCustodian
            | Self::AcceptedByCustodian
            | Self::ConnectionSetup
            | Self::WaitingForData => Some(Self::Cancelled),
        }
    }
}

/// A letter without its PDF document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct Letter {
    pub(in crate::sandbox) id: Uuid,
    pub(in crate::sandbox) connector_id: String,
    pub(in crate::sandbox) status: LetterStatus,
    pub(in crate::sandbox) labels: Map<String, Value>,
    pub(in crate::sandbox) connection_id: Option<String>,
    pub(in crate::sandbox) created_at: Timestamp,
    pub(in crate::sandbox) updated_at: Timestamp,
}

impl Letter {
    pub(super) fn document(&self) -> Value {
        json!({
            "id": self.id.to_string(),
            "connector_id": self.connector_id,
            "status": self.status,
            "labels": self.labels,
            "connection_id": self.connection_id,
            "observations": null,
            "created_at": self.created_at.to_string(),
            "updated_at": self.updated_at.to_string(),
        })
    }
}
