//! One authorization letter: its status, and the steps from one status to the next.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The time that a letter stays in a status before it takes its next step by itself. Real letters wait for people and
/// need days or weeks. A day is long enough that no test in real time sees a step that it did not ask for.
pub(super) const STEP: SignedDuration = SignedDuration::from_hours(24);

/// The status of a letter, by its documented name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LetterStatus {
    /// The request for a letter exists, and nothing else.
    NewRequest,
    /// The details of the end client are being collected.
    UsersDetail,
    /// The document exists in the custodian's format.
    Generated,
    /// The end client has the document and has not signed it yet.
    SentToUser,
    /// The end client has signed. Letters created by `create-signed` start here.
    Signed,
    /// The custodian has the letter and has not decided yet.
    SentToCustodian,
    /// The custodian has accepted the letter.
    AcceptedByCustodian,
    /// The connection is being set up.
    ConnectionSetup,
    /// The connection exists, and no data has arrived yet.
    WaitingForData,
    /// Data arrives. Only in this status a letter has a connection.
    Connected,
    /// Ended before it was connected. Final.
    Cancelled,
    /// Ended after it was connected, and its data is removed.
    Discontinued,
    /// Discontinued, and the custodian knows. Final.
    Revoked,
}

impl LetterStatus {
    /// Every status, in the documented order.
    pub const ALL: [Self; 13] = [
        Self::NewRequest,
        Self::UsersDetail,
        Self::Generated,
        Self::SentToUser,
        Self::Signed,
        Self::SentToCustodian,
        Self::AcceptedByCustodian,
        Self::ConnectionSetup,
        Self::WaitingForData,
        Self::Connected,
        Self::Cancelled,
        Self::Discontinued,
        Self::Revoked,
    ];

    /// The status after the next step, or `None` if the letter stays where it is.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        match self {
            Self::NewRequest => Some(Self::UsersDetail),
            Self::UsersDetail => Some(Self::Generated),
            Self::Generated => Some(Self::SentToUser),
            Self::SentToUser => Some(Self::Signed),
            Self::Signed => Some(Self::SentToCustodian),
            Self::SentToCustodian => Some(Self::AcceptedByCustodian),
            Self::AcceptedByCustodian => Some(Self::ConnectionSetup),
            Self::ConnectionSetup => Some(Self::WaitingForData),
            Self::WaitingForData => Some(Self::Connected),
            Self::Discontinued => Some(Self::Revoked),
            Self::Connected | Self::Cancelled | Self::Revoked => None,
        }
    }

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
    #[serde(default)]
    pub(in crate::sandbox) labels: Map<String, Value>,
    /// The `credentials_token` of the connection.
    #[serde(default)]
    pub(in crate::sandbox) connection_id: Option<String>,
    #[serde(default)]
    pub(in crate::sandbox) observations: Option<String>,
    pub(in crate::sandbox) created_at: Timestamp,
    pub(in crate::sandbox) updated_at: Timestamp,
    /// When the letter takes its next step by itself. `None` means never.
    #[serde(default)]
    pub(in crate::sandbox) next_step_at: Option<Timestamp>,
}

/// A change of the bank credentials that follows from a new status of a letter.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sandbox) enum ConnectionChange {
    /// Credentials with this token must exist.
    Opened { connection_id: String, connector_id: String, labels: Map<String, Value>, at: Timestamp },
    /// Credentials with this token must not exist.
    Closed { connection_id: String },
}

impl Letter {
    pub(super) fn new(connector_id: String, labels: Map<String, Value>, status: LetterStatus, now: Timestamp) -> Self {
        let now = whole_seconds(now);
        Self {
            id: Uuid::new_v4(),
            connector_id,
            status,
            labels,
            connection_id: None,
            observations: None,
            created_at: now,
            updated_at: now,
            next_step_at: status.next().and_then(|_| now.checked_add(STEP).ok()),
        }
    }

    /// Puts the letter into `status`. A connection exists afterwards only if `status` is [`LetterStatus::Connected`].
    pub(super) fn enter(&mut self, status: LetterStatus, at: Timestamp) -> Option<ConnectionChange> {
        self.status = status;
        self.updated_at = whole_seconds(at);
        self.next_step_at = status.next().and_then(|_| self.updated_at.checked_add(STEP).ok());
        let connection = self.connection_id.take();
        if status != LetterStatus::Connected {
            return connection.map(|connection_id| ConnectionChange::Closed { connection_id });
        }
        let is_new = connection.is_none();
        let connection_id = connection.unwrap_or_else(|| format!("sandbox-connection-{}", self.id));
        self.connection_id = Some(connection_id.clone());
        is_new.then(|| ConnectionChange::Opened {
            connection_id,
            connector_id: self.connector_id.clone(),
            labels: self.labels.clone(),
            at: self.updated_at,
        })
    }

    /// The letter as the documentation shows it.
    pub(super) fn document(&self) -> Value {
        json!({
            "id": self.id.to_string(),
            "connector_id": self.connector_id,
            "status": self.status,
            "labels": self.labels,
            "connection_id": self.connection_id,
            "observations": self.observations,
            "created_at": self.created_at.to_string(),
            "updated_at": self.updated_at.to_string(),
        })
    }
}

/// Documents show whole seconds, and a filter with such a date must match the letter.
pub(super) fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_lead_from_a_new_request_to_connected_and_from_discontinued_to_revoked() {
        let path = |from: LetterStatus| {
            let mut path = vec![from];
            while let Some(next) = path.last().unwrap().next() {
                path.push(next);
            }
            path
        };
        assert_eq!(path(LetterStatus::NewRequest), LetterStatus::ALL[..10]);
        assert_eq!(path(LetterStatus::Discontinued), [LetterStatus::Discontinued, LetterStatus::Revoked]);
    }

    #[test]
    fn a_letter_has_a_connection_only_while_it_is_connected() {
        let now = Timestamp::UNIX_EPOCH;
        let mut letter = Letter::new("connector".to_owned(), Map::new(), LetterStatus::WaitingForData, now);
        let Some(ConnectionChange::Opened { connection_id, .. }) = letter.enter(LetterStatus::Connected, now) else {
            panic!("{letter:?}");
        };
        assert_eq!(letter.connection_id.as_ref(), Some(&connection_id));
        assert_eq!(letter.enter(LetterStatus::Connected, now), None);
        let closed = ConnectionChange::Closed { connection_id };
        assert_eq!(letter.enter(LetterStatus::Discontinued, now), Some(closed));
        assert_eq!(letter.connection_id, None);
        assert_eq!(letter.enter(LetterStatus::Revoked, now), None);
    }
}
