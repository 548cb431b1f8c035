//! A credential as it is put on a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// What is put on a request. `Debug` shows nothing of the value, and the header's value is marked
/// sensitive, which keeps it out of HPACK's tables and of the logs of the libraries below.
#[derive(Clone, Debug)]
pub(crate) struct Credential(Option<HeaderCredential>);

#[derive(Clone, Debug)]
struct HeaderCredential {
    header: HeaderName,
    value: HeaderValue,
    /// Tells this credential from the one before and the one after it.
    serial: u64,
    /// Whether the provider has let a request with it through.
    accepted: Arc<AtomicBool>,
}

impl Credential {
    /// Puts the credential on, replacing every line of the header it sets, and of its twins spelt
    /// with underscores, which behind many servers are the same variable. Does nothing for `none`.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        let Some(credential) = &self.0 else { return };
        let is_twin = |name: &&HeaderName| name.as_str().replace('_', "-") == credential.header.as_str();
        let twins: Vec<HeaderName> = headers.keys().filter(is_twin).cloned().collect();
        for twin in twins {
            headers.remove(twin);
        }
        headers.insert(credential.header.clone(), credential.value.clone());
    }

    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn new(header: HeaderName, value: HeaderValue, serial: u64) -> Self {
        Self(Some(HeaderCredential { header, value, serial, accepted: Arc::default() }))
    }

    /// The provider let a request with it through. When it is refused later, it was revoked, and
    /// is not one that was never good.
    pub(crate) fn note_accepted(&self) {
        if let Some(credential) = &self.0 {
            credential.accepted.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn was_accepted(&self) -> bool {
        self.0.as_ref().is_some_and(|credential| credential.accepted.load(Ordering::Relaxed))
    }

    /// None for `none`.
    pub(super) fn serial(&self) -> Option<u64> {
        self.0.as_ref().map(|credential| credential.serial)
    }

    pub(super) fn carries(&self, value: &HeaderValue) -> bool {
        self.0.as_ref().is_some_and(|credential| credential.value == *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::static_credential::header_value;
    use http::header::AUTHORIZATION;

    #[test]
    fn every_line_of_the_header_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, "Basic caller".parse().unwrap());
        headers.append(AUTHORIZATION, "Bearer caller".parse().unwrap());
        let value = header_value("Bearer ", &Secret::new("canary".into())).unwrap();
        Credential::new(AUTHORIZATION, value, 1).apply(&mut headers);
        let lines: Vec<_> = headers.get_all(AUTHORIZATION).iter().collect();
        assert_eq!(lines, ["Bearer canary"]);
        assert!(lines[0].is_sensitive());
    }

    #[test]
    fn a_twin_spelt_with_underscores_is_replaced_too() {
        let mut headers = HeaderMap::new();
        headers.append(HeaderName::from_static("x_api_key"), "caller".parse().unwrap());
        let header = HeaderName::from_static("x-api-key");
        let value = header_value("", &Secret::new("canary".into())).unwrap();
        Credential::new(header.clone(), value, 1).apply(&mut headers);
        assert_eq!((headers.len(), &headers[header]), (1, &HeaderValue::from_static("canary")));
    }

    #[test]
    fn no_credential_changes_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer own".parse().unwrap());
        Credential::none().apply(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "Bearer own");
    }

    #[test]
    fn debug_shows_nothing_of_the_value() {
        let value = header_value("Bearer ", &Secret::new("canary".into())).unwrap();
        let credential = Credential::new(AUTHORIZATION, value, 1);
        assert!(!format!("{credential:?} {credential:#?}").contains("canary"));
    }
}
