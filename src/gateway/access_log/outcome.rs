//! How a request ended.

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole response was handed to the connection.
    Complete,
    /// The response was not sent to its end: the caller disconnected or stopped reading, or the gateway stopped.
    CallerLeft,
    /// The provider's reply broke or fell silent, and the gateway broke off the response.
    Aborted,
}

impl Outcome {
    /// The value of the field `outcome` in the access log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::CallerLeft => "caller_left",
            Self::Aborted => "aborted",
        }
    }
}
