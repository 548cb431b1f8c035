//! A credential, in the form in which it is added to a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// A header for a request, or nothing. `Debug` does not print the value. The value is marked as sensitive, which keeps
/// it out of HPACK tables and out of the logs of HTTP libraries.
#[derive(Clone, Debug)]
pub(crate) struct Credential(Option<HeaderCredential>);

#[derive(Clone, Debug)]
struct HeaderCredential {
    header: HeaderName,
    value: HeaderValue,
    /// Distinguishes this credential from earlier and later ones.
    serial: u64,
    /// Whether the provider has accepted a request with it.
    accepted: Arc<AtomicBool>,
}

impl Credential {
    /// Adds the credential. Replaces all lines of its header, and of headers that differ only in underscores: many
    /// servers treat both spellings as the same variable. Without a credential, changes nothing.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        let Some(credential) = &self.0 else { return };
        // `insert` below replaces the spelling with hyphens. Few requests have a name with underscores.
        let has_same_name = |name: &str| name.contains('_') && name.replace('_', "-") == credential.header.as_str();
        while let Some(name) = headers.keys().find(|name| has_same_name(name.as_str())).cloned() {
            headers.remove(name);
        }
        headers.insert(credential.header.clone(), credential.value.clone());
    }

    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn new(header: HeaderName, value: HeaderValue, serial: u64) -> Self {
        Self(Some(HeaderCredential { header, value, serial, accepted: Arc::default() }))
    }

    /// Records that the provider has accepted a request with it. If it is refused later, it was revoked.
    pub(super) fn note_accepted(&self) {
        if let Some(credential) = &self.0 {
            credential.accepted.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn was_accepted(&self) -> bool {
        self.0.as_ref().is_some_and(|credential| credential.accepted.load(Ordering::Relaxed))
    }

    /// `None` if there is no credential.
    pub(super) fn serial(&self) -> Option<u64> {
        self.0.as_ref().map(|credential| credential.serial)
    }

    pub(super) fn has_value(&self, value: &HeaderValue) -> bool {
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
    fn the_same_header_with_underscores_is_replaced_too() {
        let mut headers = HeaderMap::new();
        headers.append(HeaderName::from_static("x_api_key"), "caller".parse().unwrap());
        let header = HeaderName::from_static("x-api-key");
        let value = header_value("", &Secret::new("canary".into())).unwrap();
        Credential::new(header.clone(), value, 1).apply(&mut headers);
        assert_eq!((headers.len(), &headers[header]), (1, &HeaderValue::from_static("canary")));
    }

    #[test]
    fn without_a_credential_the_headers_stay_as_they_are() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer own".parse().unwrap());
        Credential::none().apply(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "Bearer own");
    }

    #[test]
    fn debug_does_not_print_the_value() {
        let value = header_value("Bearer ", &Secret::new("canary".into())).unwrap();
        let credential = Credential::new(AUTHORIZATION, value, 1);
        assert!(!format!("{credential:?} {credential:#?}").contains("canary"));
    }
}
